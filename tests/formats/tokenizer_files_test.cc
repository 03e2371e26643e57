// Tokenizer files other than tokenizer.json: SentencePiece, tiktoken, GGUF, plain vocabularies, folders and their
// configuration.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "formats/clean_up.h"
#include "formats/sentencepiece.h"
#include "formats/tiktoken.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_jsonl.h"
#include "formats/tokenizer_loader.h"
#include "tests/test_data.h"

namespace pagoda {
namespace {

const std::string kFolder = PAGODA_SOURCE_DIR "/tests/fixtures/tokenizers/";

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "pagoda_tokenizer_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, std::string_view text) const {
    std::filesystem::create_directories(std::filesystem::path(path_ + "/" + name).parent_path());
    write_file_atomic(path_ + "/" + name, text);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<int32_t> ints(const Json& list) {
  std::vector<int32_t> out;
  for (const Json& item : list.as_array("list")) out.push_back(static_cast<int32_t>(item.as_int("list")));
  return out;
}

TEST(TokenizerFiles, SentencePieceAndTiktokenGiveTheirLibrariesIds) {
  std::istringstream lines(read_file(kFolder + "files.jsonl", 1 << 24));
  std::string line;
  int files = 0;
  for (; std::getline(lines, line); ++files) {
    const Json json = Json::parse(line, "files.jsonl");
    const std::string name = json.at("file", "file").as_string("file");
    SCOPED_TRACE(name);
    TokenizerOptions options;
    options.pattern = json.get_string("pattern", "", "file");
    const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(kFolder + name, options);
    for (const Json& row : json.at("rows", "file").as_array("file")) {
      const std::vector<int32_t> ids = ints(row.at("ids", "row"));
      if (const Json* text = row.find("text")) {
        const Encoding got = tokenizer->encode(text->as_string("text"), true);
        EXPECT_EQ(got.ids, ids) << row.dump();
        EXPECT_EQ(tokenizer->encode_ids(text->as_string("text"), false), ids);
        if (const Json* offsets = row.find("offsets")) {
          std::string own = "[";
          for (const auto& [begin, end] : got.offsets) own += fmt::format("{}[{},{}]", own.size() > 1 ? "," : "", begin, end);
          EXPECT_EQ(own + "]", offsets->dump()) << row.dump();
        }
      }
      EXPECT_EQ(tokenizer->decode(ids, false), row.at("decoded", "row").as_string("row")) << row.dump();
    }
  }
  EXPECT_EQ(files, 9);
}

std::string le(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}
std::string str(std::string_view text) { return le(text.size(), 8) + std::string(text); }

// Key-values of a GGUF file.
class GgufWriter {
 public:
  void text(std::string_view key, std::string_view value) { put(str(key) + le(8, 4) + str(value)); }
  void flag(std::string_view key, bool value) { put(str(key) + le(7, 4) + le(value ? 1 : 0, 1)); }
  void number(std::string_view key, uint32_t value) { put(str(key) + le(4, 4) + le(value, 4)); }
  void strings(std::string_view key, const std::vector<std::string>& values) {
    std::string body = str(key) + le(9, 4) + le(8, 4) + le(values.size(), 8);
    for (const std::string& value : values) body += str(value);
    put(body);
  }
  void numbers(std::string_view key, const std::vector<int32_t>& values) {
    std::string body = str(key) + le(9, 4) + le(5, 4) + le(values.size(), 8);
    for (const int32_t value : values) body += le(static_cast<uint32_t>(value), 4);
    put(body);
  }
  void floats(std::string_view key, const std::vector<float>& values) {
    std::string body = str(key) + le(9, 4) + le(6, 4) + le(values.size(), 8);
    for (const float value : values) {
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      body += le(bits, 4);
    }
    put(body);
  }
  std::string bytes() const { return "GGUF" + le(3, 4) + le(0, 8) + le(static_cast<uint64_t>(count_), 8) + body_; }

 private:
  void put(const std::string& entry) {
    body_ += entry;
    ++count_;
  }
  std::string body_;
  int count_ = 0;
};

TEST(TokenizerFiles, GgufOfEachKind) {
  GgufWriter bert;
  bert.text("tokenizer.ggml.model", "bert");
  bert.strings("tokenizer.ggml.tokens", {"[UNK]", "[CLS]", "[SEP]", "\u2581hello", "o", "\u2581hell"});
  bert.numbers("tokenizer.ggml.token_type", {3, 3, 3, 1, 1, 1});
  bert.number("tokenizer.ggml.cls_token_id", 1);
  bert.number("tokenizer.ggml.seperator_token_id", 2);
  bert.number("tokenizer.ggml.unknown_token_id", 0);
  const auto read = [](const GgufWriter& writer) { return read_gguf_tokenizer(*GgufFile::parse(writer.bytes(), "test")); };
  EXPECT_EQ(read(bert)->encode_ids("Hello helloo x", true), (std::vector<int32_t>{1, 3, 3, 4, 0, 2}));

  GgufWriter llama;
  llama.text("tokenizer.ggml.model", "llama");
  llama.strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "\u2581ab"});
  llama.floats("tokenizer.ggml.scores", {0, 0, 0, -9, -8, -7, -1, -2});
  llama.numbers("tokenizer.ggml.token_type", {2, 3, 3, 1, 1, 1, 1, 1});
  llama.number("tokenizer.ggml.bos_token_id", 1);
  const auto spm = read(llama);
  EXPECT_EQ(spm->encode_ids("ab a", true), (std::vector<int32_t>{1, 7, 3, 4}));
  EXPECT_EQ(spm->decode({1, 7, 3, 4}, true), "ab a");

  GgufWriter unknown;
  unknown.text("tokenizer.ggml.model", "gpt2");
  unknown.text("tokenizer.ggml.pre", "never-heard-of");
  unknown.strings("tokenizer.ggml.tokens", {"a"});
  unknown.strings("tokenizer.ggml.merges", {});
  try {
    read(unknown);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_NE(error.message().find("llama-bpe"), std::string::npos) << "the message lists what is known";
  }
}

std::shared_ptr<const Tokenizer> as_json(const GgufFile& file) {
  return read_tokenizer_json(gguf_tokenizer_json(file).dump(), "converted");
}

TEST(TokenizerFiles, GgufAsTokenizerJson) {
  GgufWriter llama;
  llama.text("tokenizer.ggml.model", "llama");
  llama.strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "\u2581ab", "ba", "<x>"});
  llama.floats("tokenizer.ggml.scores", {0, 0, 0, -9, -8, -7, -1, -2, -3, 0});
  llama.numbers("tokenizer.ggml.token_type", {2, 3, 3, 1, 1, 1, 1, 1, 1, 4});
  llama.number("tokenizer.ggml.bos_token_id", 1);
  const std::string bytes = llama.bytes();
  const auto file = GgufFile::parse(bytes, "test");
  const auto before = read_gguf_tokenizer(*file), after = as_json(*file);
  for (const char* text : {"", " ", "a", "ab ba", "  abab", "bab<x>ab", "c", "<s>ab</s>", "ab\n"}) {
    EXPECT_EQ(after->encode_ids(text, true), before->encode_ids(text, true)) << text;
    const std::vector<int32_t> ids = before->encode_ids(text, false);
    EXPECT_EQ(after->encode_ids(text, false), ids) << text;
    EXPECT_EQ(after->decode(ids, true), before->decode(ids, true)) << text;
  }
  GgufWriter level;
  level.text("tokenizer.ggml.model", "llama");
  level.strings("tokenizer.ggml.tokens", {"<unk>", "a", "b", "ab", "ba"});
  level.floats("tokenizer.ggml.scores", {0, -8, -7, -1, -1});
  level.numbers("tokenizer.ggml.token_type", {2, 1, 1, 1, 1});
  try {
    gguf_tokenizer_json(*GgufFile::parse(level.bytes(), "test"));
    FAIL() << "which of ab and ba is joined first is open";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_NE(error.message().find("one score"), std::string::npos) << error.message();
  }
}

// Real vocabularies over real text, line by line.
TEST(TokenizerFiles, GgufAsTokenizerJsonOfRealVocabulariesSlow) {
  const char* data = test::test_data();
  if (data == nullptr) GTEST_SKIP() << "needs PAGODA_TEST_DATA";
  std::string text = read_file(std::string(data) + "/text/tinyshakespeare.txt", 1 << 24).substr(0, 40'000);
  text += "  two  spaces\nna\u00EFve caf\u00E9 \u4E2D\u6587 \U0001F642 1234567 x\t\ty\n<s>in</s> <|endoftext|>z\n'Re DON'T\n";
  int checked = 0;
  for (const char* name : {"llama-spm", "phi-3", "gpt-2", "starcoder", "mpt", "deepseek-llm"}) {
    SCOPED_TRACE(name);
    const auto file = GgufFile::open(std::string(data) + "/tokenizers/ggml_vocab/ggml-vocab-" + name + ".gguf");
    const auto before = read_gguf_tokenizer(*file), after = as_json(*file);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line); ++checked) {
      const std::vector<int32_t> ids = before->encode_ids(line, true);
      ASSERT_EQ(after->encode_ids(line, true), ids) << line;
      ASSERT_EQ(after->decode(ids, true), before->decode(ids, true)) << line;
    }
  }
  EXPECT_GT(checked, 1000);
}

TEST(TokenizerFiles, FoldersAndTheirConfiguration) {
  const Folder folder;
  EXPECT_FALSE(has_tokenizer(folder.path()));
  EXPECT_THROW(load_tokenizer(folder.path()), Error);
  folder.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n##s\n");
  EXPECT_TRUE(has_tokenizer(folder.path()));
  EXPECT_EQ(load_tokenizer(folder.path())->encode_ids("HELLOs x", true), (std::vector<int32_t>{2, 5, 6, 1, 3}));
  folder.write("tokenizer_config.json", R"({"do_lower_case": false})");
  EXPECT_EQ(load_tokenizer(folder.path())->encode_ids("HELLO hello", true), (std::vector<int32_t>{2, 1, 5, 3}));

  folder.write("tokenizer.json",
               R"({"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "<unk>": 2, "<s>": 3}, "unk_token": "<unk>"},
    "pre_tokenizer": {"type": "Whitespace"}, "added_tokens": []})");
  folder.write(
      "tokenizer_config.json",
      R"({"bos_token": {"content": "<s>"}, "eos_token": "<new>", "add_bos_token": true, "tokenizer_class": "PreTrainedTokenizerFast",
    "added_tokens_decoder": {"9": {"content": "<x>", "special": false}}, "model_max_length": 1e30,
    "chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]})");
  const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(folder.path());
  // As transformers has it, the file's own post-processor counts: it has none.
  EXPECT_EQ(tokenizer->encode_ids("a b", true), (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(tokenizer->encode_ids("a<new>", false).back(), *tokenizer->token_to_id("<new>"));
  EXPECT_TRUE(tokenizer->token_to_id("<x>").has_value());
  TokenizerConfig config = load_tokenizer_config(folder.path());
  EXPECT_EQ(config.tokenizer_class, "PreTrainedTokenizer");
  EXPECT_EQ(config.eos_token, "<new>");
  EXPECT_EQ(config.model_max_length, 0);
  EXPECT_EQ(config.find_chat_template(""), "D");
  EXPECT_EQ(config.find_chat_template("tool_use"), "T");
  EXPECT_THROW(config.find_chat_template("rag"), Error);
  folder.write("chat_template.jinja", "J");
  folder.write("additional_chat_templates/rag.jinja", "R");
  config = load_tokenizer_config(folder.path());
  EXPECT_EQ(config.find_chat_template(""), "J");
  EXPECT_EQ(config.find_chat_template("rag"), "R");
}

// The ids of transformers' AutoTokenizer, class by class.
TEST(TokenizerFiles, FoldersAreReadAsAutoTokenizerReadsThem) {
  std::istringstream lines(read_file(kFolder + "folders.jsonl", 1 << 24));
  int folders = 0;
  for (std::string line; std::getline(lines, line); ++folders) {
    const Json json = Json::parse(line, "folders.jsonl");
    SCOPED_TRACE(json.at("label", "folder").as_string("folder"));
    const Folder folder;
    for (const JsonMember& file : json.at("files", "folder").as_object("folder")) {
      const std::string& text = file.value.as_string("file");
      folder.write(file.key, text[0] == '@' ? read_file(kFolder + text.substr(1), 1 << 20) : text);
    }
    const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(folder.path());
    EXPECT_EQ(load_complete_tokenizer_config(folder.path()).named_texts().dump(), json.at("special_tokens", "folder").dump());
    for (const Json& row : json.at("rows", "folder").as_array("folder")) {
      const std::vector<int32_t> ids = ints(row.at("ids", "row"));
      EXPECT_EQ(tokenizer->encode(row.at("text", "row").as_string("text"), EncodeOptions()).ids, ids) << row.dump();
      EXPECT_EQ(tokenizer->decode(ids, false), row.at("decoded", "row").as_string("row")) << row.dump();
      EXPECT_EQ(tokenizer->decode(ids, true), row.at("plain", "row").as_string("row")) << row.dump();
    }
  }
  EXPECT_EQ(folders, 41);
}

TEST(TokenizerFiles, ClassesThatAreNotKnownAreNotGuessed) {
  const Folder folder;
  const auto kind = [&] {
    try {
      load_tokenizer(folder.path());
    } catch (const Error& error) {
      EXPECT_NE(error.message().find("Tokenizer"), std::string::npos) << error.message();
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  folder.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n");
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "MPNetTokenizer"})");
  EXPECT_EQ(kind(), ErrorKind::kUnsupported);
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "Qwen2TokenizerFast"})");
  EXPECT_EQ(kind(), ErrorKind::kNotFound) << "vocab.txt is no file of that class";
  folder.write("tokenizer_config.json", "{}");
  folder.write("config.json", R"({"model_type": "funnel"})");
  EXPECT_EQ(kind(), ErrorKind::kUnsupported);
  folder.write("config.json", R"({"model_type": "distilbert"})");
  EXPECT_EQ(load_tokenizer(folder.path())->encode_ids("Hello", true), (std::vector<int32_t>{2, 5, 3}));
}

TEST(TokenizerFiles, TekkenFilesOfTheFirstVersionAndBadOnesAreRefused) {
  const Folder folder;
  const auto kind = [&](const std::string& specials) {
    folder.write(
        "tekken.json",
        R"({"config": {"pattern": ".", "default_num_special_tokens": 2}, "vocab": [{"token_bytes": "YQ=="}])" + specials + "}");
    try {
      load_tokenizer(folder.path());
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  EXPECT_EQ(kind(""), ErrorKind::kUnsupported);
  EXPECT_EQ(kind(R"(, "special_tokens": [{"rank": 1, "token_str": "<s>"}])"), ErrorKind::kInvalidInput);
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "MPNetTokenizer"})");
  EXPECT_EQ(kind(R"(, "special_tokens": [{"rank": 0, "token_str": "<s>"}])"), ErrorKind::kNotFound) << "another class's folder";
}

TEST(TokenizerFiles, VocabAndMergesAreGpt2) {
  const Folder folder;
  folder.write("vocab.json", R"({"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u0120a": 4, "<|endoftext|>": 5})");
  folder.write("merges.txt", "#version: 0.2\na b\n\u0120 a\n");
  const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->encode_ids("ab a<|endoftext|>", true), (std::vector<int32_t>{2, 4, 5}));
  folder.write("merges.txt", "a b c\n");
  EXPECT_THROW(load_tokenizer(folder.path()), Error);
}

TEST(JsonLines, BadLinesAreErrorsAndTheRestGoesOn) {
  const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(kFolder + "sp_bpe.model");
  std::istringstream in("\"Hello\"\nnot json\n5\n\"\\ud800\"\n\"world\"\n");
  std::ostringstream out;
  TokenizeOptions options;
  options.offsets = true;
  EXPECT_EQ(tokenize_jsonl(in, out, *tokenizer, options), 3);
  std::istringstream lines(out.str());
  std::vector<std::string> all;
  for (std::string line; std::getline(lines, line);) all.push_back(line);
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(all[0], R"({"ids":[8],"offsets":[[0,5]]})");
  for (const size_t bad : {1, 2, 3}) EXPECT_EQ(all[bad].compare(0, 10, "{\"error\":\""), 0) << all[bad];
  std::istringstream ids("[8,15]\n[-1]\n{}\n[8]\n");
  std::ostringstream texts;
  EXPECT_EQ(detokenize_jsonl(ids, texts, tokenizer, {}), 2);
  EXPECT_EQ(texts.str().substr(0, 14), "\"Hello world\"\n");
}

// Texts of transformers 5.24: AutoTokenizer.from_pretrained(folder).decode(ids).
TEST(CleanUp, IsWhatTheFolderSaysButForBpe) {
  const Folder folder;
  const auto decode = [&](const std::string& ids) {
    const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(folder.path());
    DetokenizeOptions options;
    options.clean_up_spaces = cleans_up_spaces(load_tokenizer_config(folder.path()), *tokenizer);
    std::istringstream in(ids);
    std::ostringstream out;
    detokenize_jsonl(in, out, tokenizer, options);
    return out.str();
  };
  folder.write("vocab.txt", "[UNK]\n[CLS]\n[SEP]\nit\n'\ns\n.\na\n,\n");
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer"})");
  EXPECT_EQ(decode("[1,3,4,5,7,8,7,6,2]"), "\"[CLS] it ' s a, a. [SEP]\"\n");
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer", "clean_up_tokenization_spaces": true})");
  EXPECT_EQ(decode("[1,3,4,5,7,8,7,6,2]"), "\"[CLS] it's a, a. [SEP]\"\n");
  const auto json = [&](const std::string& model) {
    folder.write("tokenizer.json", R"({"model": )" + model + R"(, "decoder": {"type": "Fuse"}})");
  };
  folder.write("tokenizer_config.json",
               R"({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": true})");
  json(R"({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], [" .", -2.0]]})");
  EXPECT_EQ(decode("[0,1]"), "\"a.\"\n");
  json(R"({"type": "BPE", "vocab": {"a": 0, " .": 1}, "merges": []})");
  EXPECT_EQ(decode("[0,1]"), "\"a .\"\n");
  folder.write("tokenizer_config.json",
               R"({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": true,
                   "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": true})");
  EXPECT_EQ(decode("[0,1]"), "\"a.\"\n");
}

TEST(TokenizerFiles, SplitSpecialTokensReadsThemAsText) {
  const Folder folder;
  folder.write("vocab.txt", "[UNK]\n[CLS]\n[SEP]\nit\n[\nse\n##p\n]\n");
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer", "split_special_tokens": false})");
  EXPECT_EQ(load_tokenizer(folder.path())->encode_ids("it [SEP]", true), (std::vector<int32_t>{1, 3, 2, 2}));
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer", "split_special_tokens": true})");
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->encode_ids("it [SEP]", true), (std::vector<int32_t>{1, 3, 4, 5, 6, 7, 2}));
  EXPECT_EQ(tokenizer->decode({3, 2}, true), "it");
}

// Scores are the doubles that serde_json reads, a bit off the nearest ones: of equal sums of equal pieces that bit chooses.
TEST(TokenizerFiles, UnigramTiesAreHuggingFaces) {
  const auto tokenizer = read_tokenizer_json(
      R"({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["\u2581", -2.0122928619384766], ["-", -5.129043102264404], ["---", -12.130167007446289]]}})",
      "test");
  EXPECT_EQ(tokenizer->encode_ids("\u2581-------", false), (std::vector<int32_t>{1, 3, 3, 2}));
}

// A mark goes before a text only where it begins: here the normaliser takes the beginning away.
TEST(TokenizerFiles, FirstIsTheBeginningOfTheOriginal) {
  const auto tokenizer = read_tokenizer_json(
      R"({"normalizer": {"type": "Replace", "pattern": {"Regex": "^~"}, "content": ""},
          "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": false},
          "model": {"type": "WordLevel", "vocab": {"?": 0, "a": 1, "\u2581a": 2}, "unk_token": "?"}})",
      "test");
  EXPECT_EQ(tokenizer->encode_ids("a", false), (std::vector<int32_t>{2}));
  EXPECT_EQ(tokenizer->encode_ids("~a", false), (std::vector<int32_t>{1}));
}

// Bytes that stand for a character are named by themselves: there is no white space in them to leave out.
TEST(TokenizerFiles, OffsetsOfBytesAreNotTrimmed) {
  const auto tokenizer = read_tokenizer_json(
      R"({"post_processor": {"type": "ByteLevel", "trim_offsets": true, "add_prefix_space": false},
          "model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.0], ["<0xC2>", 0.0], ["<0xA0>", 0.0]],
                    "unk_id": 0, "byte_fallback": true}})",
      "test");
  const Encoding got = tokenizer->encode("\u00A0a ", true);
  EXPECT_EQ(got.ids, (std::vector<int32_t>{2, 3, 1, 0}));
  EXPECT_EQ(got.tokens, (std::vector<std::string>{"<0xC2>", "<0xA0>", "a", " "}));
  ASSERT_EQ(got.offsets.size(), 4u);
  EXPECT_EQ(got.offsets[0], got.offsets[1]);
  EXPECT_EQ(got.offsets[1].first, 0);
  EXPECT_EQ(got.offsets[1].second, 1);
  EXPECT_EQ(got.offsets[3].first, 3) << "an unknown space is white space";
}

// Without an unknown token a text fails only where no token would do.
TEST(TokenizerFiles, UnigramWithoutAnUnknownToken) {
  const auto tokenizer = read_tokenizer_json(R"({"model": {"type": "Unigram", "vocab": [["a", -1.0], ["ab", -1.5]]}})", "test");
  EXPECT_EQ(tokenizer->encode_ids("ab", false), (std::vector<int32_t>{1})) << "b alone is no token, but ab is the better way";
  EXPECT_THROW(tokenizer->encode_ids("b", false), Error);
}

std::string word_level(const std::string& added, const std::string& more = "") {
  return R"({"added_tokens": [)" + added + "]" + more +
         R"(, "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "b": 2, "c": 3}, "unk_token": "[UNK]"}})";
}

// A token of white space takes what stands round it; what is left of the next one is nothing, and no token.
TEST(TokenizerFiles, WhiteSpaceThatOneTokenTookIsNoOther) {
  const auto tokenizer = read_tokenizer_json(
      word_level(R"({"id": 4, "content": " ", "lstrip": true, "rstrip": true, "normalized": true, "special": false})"), "test");
  for (const char* text : {"a  b", "a   b", "a \t b"}) {
    const Encoding got = tokenizer->encode(text, true);
    EXPECT_EQ(got.ids, (std::vector<int32_t>{1, 4, 2})) << text;
    EXPECT_EQ(got.offsets[1].second + 1, got.offsets[2].second) << text;
    EXPECT_EQ(tokenizer->encode_ids(text, true), got.ids);
  }
}

// Special tokens of tokenizer_config.json and special_tokens_map.json as strings and as objects; expected: AutoTokenizer's ids
// of "a<x>b<y> c<x>", and whether token 4 is text without special tokens.
TEST(TokenizerFiles, NamedAndListedTokensAreWhatTransformersMakesOfThem) {
  const std::string x = R"({"content": "<x>", "lstrip": false, "rstrip": false, "single_word": false, "normalized": false)";
  const std::string typed = x + R"(, "__type": "AddedToken")";
  const std::vector<int32_t> found{1, 4, 0, 4}, other{0, 4, 0}, none{0};
  struct Case {
    std::string config, map;
    std::vector<int32_t> ids;
    bool special;
  };
  const std::vector<Case> cases = {
      {R"("image_token": "<x>")", "", found, true},
      {R"("image_token": )" + typed + "}", "", found, true},
      {R"("image_token": )" + typed + R"(, "special": false})", "", found, true},
      {R"("image_token": )" + x + "}", "", none, false},  // of no class: no token
      {"", R"("image_token": )" + x + "}", found, true},
      {"", R"("image_token": )" + typed + "}", found, true},
      {R"("image_token": "<y>")", R"("image_token": "<x>")", other, true},
      {R"("eos_token": "<y>")", R"("eos_token": "<x>")", found, true},
      {R"("additional_special_tokens": ["<x>"])", "", found, true},
      {R"("additional_special_tokens": [)" + typed + "}]", "", found, false},
      {R"("extra_special_tokens": [)" + typed + R"(, "special": false}])", "", found, false},
      {R"("extra_special_tokens": [)" + typed + R"(, "special": true}])", "", found, true},
      {"", R"("additional_special_tokens": [)" + typed + "}]", found, false},
      {"", R"("extra_special_tokens": [)" + x + "}]", found, true},
  };
  for (const Case& c : cases) {
    const Folder folder;
    folder.write("tokenizer.json", word_level(""));
    folder.write("tokenizer_config.json",
                 R"({"tokenizer_class": "PreTrainedTokenizerFast")" + (c.config.empty() ? "" : ", " + c.config) + "}");
    if (!c.map.empty()) folder.write("special_tokens_map.json", "{" + c.map + "}");
    const auto tokenizer = load_tokenizer(folder.path());
    EXPECT_EQ(tokenizer->encode_ids("a<x>b<y> c<x>", false), c.ids) << c.config << c.map;
    if (c.ids == none) continue;
    EXPECT_EQ(tokenizer->decode({4}, true).empty(), c.special) << c.config << c.map;
  }
}

TEST(TokenizerFiles, ThePaddingOfTokenizerJsonNamesThePadToken) {
  const std::string padding = R"(, "padding": {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null,
                                  "pad_id": 2, "pad_type_id": 0, "pad_token": "b"})";
  const std::vector<int32_t> split{1, 2}, whole{0};
  for (const auto& [config, ids] :
       {std::pair{"", split}, {R"(, "pad_token": "c")", whole}, {R"(, "pad_token": null)", whole}}) {
    const Folder folder;
    folder.write("tokenizer.json", word_level("", padding));
    folder.write("tokenizer_config.json", std::string(R"({"tokenizer_class": "PreTrainedTokenizerFast")") + config + "}");
    EXPECT_EQ(load_tokenizer(folder.path())->encode_ids("ab", false), ids) << config;
  }
}

// Where bytes stand for some characters alone, an unknown one is told once a known one comes, however long the word is.
TEST(TokenizerFiles, ATableOfSomeBytes) {
  const auto tokenizer = read_tokenizer_json(
      R"({"model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
          "vocab": {"<unk>": 0, "a": 1, "<0xC3>": 2, "<0xB1>": 3}, "merges": []}})",
      "test");
  EXPECT_EQ(tokenizer->encode_ids("\u00e9\u00f1", false), (std::vector<int32_t>{2, 3, 0}));
  EXPECT_EQ(tokenizer->encode_ids("\u00e9\u00f1\u00f1\u00f1\u00f1", false), (std::vector<int32_t>{2, 3, 2, 3, 2, 3, 2, 3, 0}));
}

// Files that lie: each must end in an Error.
TEST(HostileTokenizers, JsonFiles) {
  const std::string model = R"("model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"})";
  // @ stands for a good model. Plain literals: a list of made strings takes a sanitizing compiler minutes.
  const char* const bad[] = {
      "",
      "[]",
      "{}",
      "null",
      R"({"version": "2.0", @})",
      R"({"model": {"type": "Nope"}})",
      R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": {"a": 1}}})",
      R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})",
      R"({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}})",
      R"({"model": {"type": "BPE", "vocab": {"a": 99999999999}, "merges": []}})",
      R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.5}})",
      R"({"model": {"type": "Unigram", "vocab": [["a", 0]], "unk_id": 5}})",
      R"({"model": {"type": "Unigram", "vocab": [["a"]]}})",
      R"({"model": {"type": "WordLevel", "vocab": [1]}})",
      R"({"normalizer": {"type": "Nope"}, @})",
      R"({"normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": ""}, @})",
      R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}, @})",
      R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "!"}, @})",
      R"({"pre_tokenizer": {"type": "FixedLength", "length": 0}, @})",
      R"({"pre_tokenizer": {"type": "Metaspace", "replacement": ""}, @})",
      R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "ab"}, @})",
      R"({"pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "No"}, @})",
      R"({"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}], "pair": [], "special_tokens": {}}, @})",
      R"({"post_processor": {"type": "BertProcessing", "sep": ["a"], "cls": ["a", 0]}, @})",
      R"({"decoder": {"type": "Strip", "content": " ", "start": -1, "stop": 0}, @})",
      R"({"truncation": {"max_length": -3}, @})",
      R"({"padding": {"strategy": {"Fixed": 99999999999}, "pad_id": 0, "pad_type_id": 0, "pad_token": ""}, @})",
      R"({"added_tokens": [{"id": 0}], @})",
  };
  for (std::string text : bad) {
    const size_t at = text.find('@');
    if (at != std::string::npos) text.replace(at, 1, model);
    EXPECT_THROW(read_tokenizer_json(text, "test"), Error) << text;
  }
  std::string deep = "{" + model + R"(, "normalizer": )";
  for (int i = 0; i < 60; ++i) deep += R"({"type": "Sequence", "normalizers": [)";
  deep += R"({"type": "NFC"})";
  for (int i = 0; i < 60; ++i) deep += "]}";
  EXPECT_THROW(read_tokenizer_json(deep + "}", "test"), Error);
}

TEST(HostileTokenizers, BinaryFilesCutAndFlippedAnywhere) {
  for (const char* const name : {"sp_bpe.model", "sp_unigram.model", "sp_char.model"}) {
    const std::string good = read_file(kFolder + name, 1 << 20);
    for (size_t cut = 0; cut < good.size(); ++cut) {
      try {
        make_sentencepiece_tokenizer(parse_sentencepiece(good.substr(0, cut), name), {}, name)
            ->encode_ids("Hello <sep> ab", true);
      } catch (const Error&) {
      }
    }
    for (size_t at = 0; at < good.size(); ++at) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
      try {
        make_sentencepiece_tokenizer(parse_sentencepiece(bytes, name), {}, name)->encode_ids("Hello <sep> ab", true);
      } catch (const Error&) {
      }
    }
  }
  GgufWriter writer;
  writer.text("tokenizer.ggml.model", "llama");
  writer.strings("tokenizer.ggml.tokens", {"<unk>", "a"});
  writer.floats("tokenizer.ggml.scores", {0, 0});
  const std::string good = writer.bytes();
  EXPECT_NO_THROW(GgufFile::parse(good, "test"));
  for (size_t cut = 0; cut < good.size(); ++cut) EXPECT_THROW(GgufFile::parse(good.substr(0, cut), "test"), Error) << cut;
  for (size_t at = 0; at < good.size(); ++at) {
    for (const int bit : {0, 7}) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      try {
        read_gguf_tokenizer(*GgufFile::parse(bytes, "test"));
      } catch (const Error&) {
      }
    }
  }
  // A billion strings in a short file.
  EXPECT_THROW(
      GgufFile::parse("GGUF" + le(3, 4) + le(0, 8) + le(1, 8) + str("k") + le(9, 4) + le(8, 4) + le(1000000000, 8), "test"),
      Error);
}

TEST(HostileTokenizers, TiktokenFiles) {
  for (const char* const bad :
       {"", "\n", "YQ==", "YQ== x", "YQ== 0\nYQ== 1\n", "YQ== 0\nYg== 0\n", "!!!! 0\n", "YQ== 99999999999\n", "YQ== 0\n"}) {
    EXPECT_THROW(read_tiktoken(bad, "", "test"), Error) << bad;
  }
}

TEST(HostileTokenizers, TextFiles) {
  const Folder folder;
  folder.write("vocab.txt", "a\xFF\n");
  EXPECT_THROW(load_tokenizer(folder.path()), Error);
  folder.write("vocab.txt", "");
  EXPECT_THROW(load_tokenizer(folder.path()), Error);
  folder.write("weird.bin", "nothing known");
  EXPECT_THROW(load_tokenizer(folder.path() + "/weird.bin"), Error);
  EXPECT_THROW(load_tokenizer(folder.path() + "/missing.json"), Error);
  folder.write("tokenizer_config.json", "[1]");
  EXPECT_THROW(load_tokenizer(folder.path()), Error);
}

}  // namespace
}  // namespace pagoda
