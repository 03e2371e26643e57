// Recipes to tokenizers: the files read back, encode and decode, and the committed ids of a small text.
#include "train/tokenizer/recipe.h"

#include "formats/tokenizer_loader.h"
#include "tests/folder.h"

namespace pagoda::train {
namespace {

using pagoda::testing::Folder;
using pagoda::testing::message_of;

// Short, with repetitions, accents, another script and an emoji.
constexpr std::string_view kText =
    "the cat sat on the mat. the dog sat on the log.\n"
    "The caf\u00E9's cat ate the caf\u00E9's cake; the dog ate the log, and the cat sat.\n"
    "\u4E2D\u6587 and \u4E2D\u6587, 12 cats and 123 dogs.\n\n"
    "what the cat sat on, the dog sat on: the mat, the log, the cake. \U0001F642\U0001F642\n";

class RecipeTest : public ::testing::Test {
 protected:
  RecipeTest() : folder_("recipe"), file_(folder_.write("text.txt", kText)), pool_(2) {}
  TrainedTokenizer train(const TokenizerRecipe& recipe) {
    RowOptions options;
    options.keep_linebreaks = true;
    RowReader rows({file_}, options);
    return train_tokenizer(recipe, rows, pool_);
  }
  std::shared_ptr<const Tokenizer> make(const TokenizerRecipe& recipe) {
    write_tokenizer(train(recipe), folder_ / "tokenizer");
    return load_tokenizer(folder_ / "tokenizer");
  }
  TokenizerRecipe recipe(const std::string& type, int64_t size) const {
    TokenizerRecipe recipe;
    recipe.type = type;
    recipe.vocab_size = size;
    return recipe;
  }
  Folder folder_;
  std::string file_;
  ThreadPool pool_;
};

TEST_F(RecipeTest, ByteLevelSpellsEverything) {
  const auto tokenizer = make(recipe("bpe", 300));
  EXPECT_EQ(tokenizer->vocab_size(), 300);
  EXPECT_EQ(tokenizer->token_to_id("<|endoftext|>"), 0);
  for (const std::string text : {"the cat sat", " \u0416\u0416 never seen \U0001F600\n", ""}) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode_ids(text, true), false), text);
  }
  // Of tokenizers.trainers.BpeTrainer (0.23.3): same text, vocab_size 300, ByteLevel alphabet, special token <|endoftext|>.
  EXPECT_EQ(tokenizer->encode_ids("the cat sat on the log. \u4E2D\u6587 caf\u00E9\n", true),
            (std::vector<int32_t>{259, 265, 264, 269, 260, 274, 14, 221, 295, 294, 199}));
}

// 2048 rows without text and more are no longer held until the end.
TEST_F(RecipeTest, EmptyRowsFillABatchToo) {
  RowOptions options;
  options.keep_linebreaks = true;
  RowReader rows({folder_.write("empty.txt", std::string(5000, '\n') + "the cat\n")}, options);
  ThreadPool one(1);
  int batches = 0;
  TaskHooks hooks;
  hooks.progress = [&](std::string_view stage, int64_t, int64_t) { batches += stage == "reading"; };
  train_tokenizer(recipe("bpe", 260), rows, one, hooks);
  EXPECT_EQ(batches, 3);
}

TEST_F(RecipeTest, WordPieceIsBert) {
  const auto tokenizer = make(recipe("wordpiece", 60));
  const Encoding encoding = tokenizer->encode("The Cat sat", true);
  EXPECT_EQ(encoding.tokens.front(), "[CLS]");
  EXPECT_EQ(encoding.tokens.back(), "[SEP]");
  EXPECT_EQ(tokenizer->decode(encoding.ids, true), "the cat sat");
  EXPECT_EQ(tokenizer->encode_ids("\u0416", false), std::vector<int32_t>{1});  // [UNK]
  const Encoding pair = tokenizer->encode_pair("the", "cat", true);
  EXPECT_EQ(pair.type_ids.front(), 0);
  EXPECT_EQ(pair.type_ids.back(), 1);
}

TEST_F(RecipeTest, UnigramAsPublished) {
  TokenizerRecipe wish = recipe("unigram", 60);
  wish.normalizers = {R"({"type": "Replace", "pattern": {"String": "``"}, "content": "\""})"};
  const TrainedTokenizer trained = train(wish);
  EXPECT_EQ(trained.tokenizer.at("normalizer", "t").get_string("type", "", "t"), "Replace");
  EXPECT_EQ(trained.config.get_string("mask_token", "", "c"), "[MASK]");
  EXPECT_EQ(trained.config.get_string("unk_token", "", "c"), "<unk>");
  EXPECT_GT(trained.bits_per_character, 0);
  write_tokenizer(trained, folder_ / "tokenizer");
  const auto tokenizer = load_tokenizer(folder_ / "tokenizer");
  EXPECT_EQ(tokenizer->vocab_size(), trained.vocab_size);  // a short text has no more pieces
  const std::vector<int32_t> ids = tokenizer->encode_ids("the cat sat on the mat", true);
  EXPECT_EQ(ids.front(), 0);
  EXPECT_EQ(ids.back(), 1);
  EXPECT_EQ(tokenizer->decode(ids, true), "the cat sat on the mat");
}

TEST_F(RecipeTest, BytesForWhatIsUnknown) {
  for (const char* type : {"bpe", "unigram"}) {
    TokenizerRecipe wish = recipe(type, 320);
    wish.pre_tokenizers = {"metaspace"};
    wish.byte_fallback = true;
    const auto tokenizer = make(wish);
    const std::string text = "the cat \u0416\U0001F600";
    EXPECT_EQ(tokenizer->decode(tokenizer->encode_ids(text, false), false), text) << type;
    EXPECT_FALSE(tokenizer->is_special(*tokenizer->token_to_id("<0x41>"))) << type;
  }
}

TEST_F(RecipeTest, StepsInOrder) {
  TokenizerRecipe wish = recipe("bpe", 80);
  wish.normalizers = {"nfd", "strip_accents", "lowercase"};
  wish.pre_tokenizers = {"whitespace", "digits"};
  wish.end_of_word_suffix = "</w>";
  const auto tokenizer = make(wish);
  EXPECT_EQ(tokenizer->encode("CAF\u00C9 12", false).tokens.back(), "2</w>");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode_ids("CAF\u00C9 12", false), false), "cafe 1 2");
}

TEST_F(RecipeTest, RefusesWhatCannotBe) {
  const auto error = [&](const std::function<void(TokenizerRecipe&)>& change, const char* type = "bpe") {
    TokenizerRecipe wish = recipe(type, 300);
    change(wish);
    return message_of([&] { train(wish); });
  };
  EXPECT_NE(error([](TokenizerRecipe& r) { r.type = "other"; }).find("need bpe, unigram or wordpiece"), std::string::npos);
  EXPECT_NE(error([](TokenizerRecipe& r) { r.normalizers = {"nfx"}; }).find("got 'nfx'"), std::string::npos);
  EXPECT_NE(error([](TokenizerRecipe& r) { r.normalizers = {"{\"type\": \"NFX\"}"}; }).find("got 'NFX'"), std::string::npos);
  EXPECT_NE(error([](TokenizerRecipe& r) { r.pre_tokenizers = {"none", "bert"}; }).find("'none' beside"), std::string::npos);
  EXPECT_NE(error([](TokenizerRecipe& r) { r.vocab_size = 100; }).find("[vocab_size] got 100, need at least 257"),
            std::string::npos);
  EXPECT_NE(error([](TokenizerRecipe& r) { r.byte_fallback = true; }, "wordpiece").find("WordPiece has none"),
            std::string::npos);
  EXPECT_NE(error([](TokenizerRecipe& r) { r.post_processor = "template"; }).find("<s> and </s>"), std::string::npos);
  const auto specials = [&](std::vector<std::string> tokens, const char* type) {
    return error(
        [&](TokenizerRecipe& r) {
          r.default_special_tokens = false;
          r.special_tokens = tokens;
        },
        type);
  };
  EXPECT_NE(specials({"<s>", "<s>"}, "bpe").find("got '<s>' twice"), std::string::npos);
  EXPECT_NE(specials({"<s>"}, "unigram").find("needs one"), std::string::npos);
  file_ = folder_.write("ids.jsonl", "{\"input_ids\": [1]}");
  EXPECT_NE(error([](TokenizerRecipe&) {}).find("need text to train"), std::string::npos);
}

}  // namespace
}  // namespace pagoda::train
