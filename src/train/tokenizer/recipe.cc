// The parts of tokenizer.json round a trained model. They are read back by the reader of tokenizer.json, so that words are
// counted by what the file says.
#include "train/tokenizer/recipe.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/utf8.h"
#include "formats/tokenizer_json.h"
#include "text/byte_chars.h"
#include "text/train/bpe_trainer.h"
#include "text/train/unigram_trainer.h"
#include "text/train/word_counts.h"

namespace pagoda::train {

namespace {

constexpr const char* kMetaspace = "\u2581";

Json typed(const char* type) { return Json::object().set("type", type); }

std::string all_of(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

Json normalizer(const std::string& name) {
  static const std::map<std::string, const char*> kPlain{{"nfc", "NFC"},
                                                         {"nfd", "NFD"},
                                                         {"nfkc", "NFKC"},
                                                         {"nfkd", "NFKD"},
                                                         {"nmt", "Nmt"},
                                                         {"lowercase", "Lowercase"},
                                                         {"strip_accents", "StripAccents"}};
  const auto plain = kPlain.find(name);
  if (plain != kPlain.end()) return typed(plain->second);
  if (name == "strip") return typed("Strip").set("strip_left", true).set("strip_right", true);
  if (name == "bert") {
    return typed("BertNormalizer")
        .set("clean_text", true)
        .set("handle_chinese_chars", true)
        .set("strip_accents", Json())
        .set("lowercase", true);
  }
  invalid("normalizer", "unknown: got '{}', need one of {}, none, or an object of tokenizer.json", name,
          all_of(normalizer_names()));
}

Json pre_tokenizer(const std::string& name, const TokenizerRecipe& recipe) {
  if (name == "byte_level") {
    return typed("ByteLevel").set("add_prefix_space", recipe.add_prefix_space).set("trim_offsets", true).set("use_regex", true);
  }
  if (name == "metaspace") {
    return typed("Metaspace").set("replacement", kMetaspace).set("prepend_scheme", recipe.prepend_scheme).set("split", true);
  }
  if (name == "whitespace") return typed("Whitespace");
  if (name == "whitespace_split") return typed("WhitespaceSplit");
  if (name == "bert") return typed("BertPreTokenizer");
  if (name == "digits") return typed("Digits").set("individual_digits", true);
  if (name == "punctuation") return typed("Punctuation").set("behavior", "Isolated");
  if (name == "unicode_scripts") return typed("UnicodeScripts");
  invalid("pre_tokenizer", "unknown: got '{}', need one of {}, none, or an object of tokenizer.json", name,
          all_of(pre_tokenizer_names()));
}

// One step as it is, several as a Sequence, none as null.
template <class Make>
Json steps_of(const std::vector<std::string>& names, const char* list, const std::string& where, Make&& make) {
  Json steps = Json::array();
  for (const std::string& name : names) {
    if (name == "none") {
      if (names.size() > 1) invalid(where, "got 'none' beside others");
      return Json();
    }
    steps.push_back(!name.empty() && name[0] == '{' ? Json::parse(name, where) : make(name));
  }
  if (steps.size() == 0) return Json();
  if (steps.size() == 1) return steps.as_array(where)[0];
  return typed("Sequence").set(list, std::move(steps));
}

bool names_type(const Json& part, std::string_view type) {
  if (!part.is_object()) return false;
  if (part.get_string("type", "", "part") == type) return true;
  const Json* const steps = part.find("pretokenizers");
  if (steps == nullptr || !steps->is_array()) return false;
  const Json::Array& list = steps->as_array("part");
  return std::any_of(list.begin(), list.end(), [&](const Json& step) { return names_type(step, type); });
}

class Recipe {
 public:
  explicit Recipe(TokenizerRecipe recipe) : recipe_(std::move(recipe)) {
    complete();
    check();
    normalizer_ = steps_of(recipe_.normalizers, "normalizers", "normalizer", normalizer);
    pre_tokenizer_ = steps_of(recipe_.pre_tokenizers, "pretokenizers", "pre_tokenizer",
                              [&](const std::string& name) { return pre_tokenizer(name, recipe_); });
    byte_level_ = names_type(pre_tokenizer_, "ByteLevel");
    metaspace_ = names_type(pre_tokenizer_, "Metaspace");
  }

  // Normaliser and pre-tokenizer as the reader of tokenizer.json makes them.
  PipelineParts parts() const {
    Json json = Json::object();
    Json model = typed("WordLevel").set("vocab", Json::object()).set("unk_token", "<unk>");
    json.set("version", "1.0")
        .set("normalizer", normalizer_)
        .set("pre_tokenizer", pre_tokenizer_)
        .set("model", std::move(model));
    return parse_tokenizer_json(json, "recipe");
  }

  text_train::BpeTrainerOptions bpe_options() const {
    text_train::BpeTrainerOptions options;
    options.vocab_size = recipe_.vocab_size;
    options.min_frequency = recipe_.min_frequency;
    options.special_tokens = recipe_.special_tokens;
    // In the vocabulary, but no added tokens: they are never looked for in a text.
    for (int b = 0; recipe_.byte_fallback && b < 256; ++b) options.special_tokens.push_back(fmt::format("<0x{:02X}>", b));
    options.limit_alphabet = recipe_.limit_alphabet;
    options.initial_alphabet = alphabet();
    options.continuing_subword_prefix = recipe_.continuing_subword_prefix;
    options.end_of_word_suffix = recipe_.end_of_word_suffix;
    options.max_token_length = recipe_.max_token_length;
    return options;
  }

  text_train::UnigramTrainerOptions unigram_options() const {
    text_train::UnigramTrainerOptions options;
    options.vocab_size = recipe_.vocab_size;
    options.special_tokens = recipe_.special_tokens;
    options.unk_token = recipe_.unk_token;
    options.initial_alphabet = alphabet();
    options.limit_alphabet = recipe_.limit_alphabet;
    options.shrinking_factor = recipe_.shrinking_factor;
    options.n_sub_iterations = recipe_.n_sub_iterations;
    options.max_piece_length = recipe_.max_piece_length;
    options.seed_size = recipe_.seed_size;
    options.byte_fallback = recipe_.byte_fallback;
    return options;
  }

  Json model(const text_train::TrainedBpe& trained) const {
    Json vocab = Json::object();
    // set() looks a name up: written as a list of members the vocabulary stays linear.
    Json::Object& members = vocab.as_object("vocab");
    for (size_t i = 0; i < trained.vocab.size(); ++i) members.push_back({trained.vocab[i], static_cast<int64_t>(i)});
    if (recipe_.type == "wordpiece") {
      return typed("WordPiece")
          .set("unk_token", recipe_.unk_token)
          .set("continuing_subword_prefix", recipe_.continuing_subword_prefix)
          .set("max_input_chars_per_word", 100)
          .set("vocab", std::move(vocab));
    }
    Json merges = Json::array();
    for (const auto& [left, right] : trained.merges) {
      Json pair = Json::array();
      pair.push_back(trained.vocab[static_cast<size_t>(left)]);
      pair.push_back(trained.vocab[static_cast<size_t>(right)]);
      merges.push_back(std::move(pair));
    }
    const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
    return typed("BPE")
        .set("dropout", Json())
        .set("unk_token", or_null(recipe_.unk_token))
        .set("continuing_subword_prefix", or_null(recipe_.continuing_subword_prefix))
        .set("end_of_word_suffix", or_null(recipe_.end_of_word_suffix))
        .set("fuse_unk", false)
        .set("byte_fallback", recipe_.byte_fallback)
        .set("ignore_merges", false)
        .set("vocab", std::move(vocab))
        .set("merges", std::move(merges));
  }

  Json model(const text_train::TrainedUnigram& trained) const {
    Json vocab = Json::array();
    for (const UnigramPiece& piece : trained.pieces) {
      Json entry = Json::array();
      entry.push_back(piece.token);
      entry.push_back(piece.score);
      vocab.push_back(std::move(entry));
    }
    return typed("Unigram")
        .set("unk_id", trained.unk_id >= 0 ? Json(trained.unk_id) : Json())
        .set("vocab", std::move(vocab))
        .set("byte_fallback", recipe_.byte_fallback);
  }

  // `ids`: of the special tokens, in their order.
  Json tokenizer(Json model, const std::vector<int64_t>& ids) const {
    Json added = Json::array();
    for (size_t i = 0; i < recipe_.special_tokens.size(); ++i) {
      added.push_back(Json::object()
                          .set("id", ids[i])
                          .set("content", recipe_.special_tokens[i])
                          .set("single_word", false)
                          .set("lstrip", false)
                          .set("rstrip", false)
                          .set("normalized", false)
                          .set("special", true));
    }
    return Json::object()
        .set("version", "1.0")
        .set("truncation", Json())
        .set("padding", Json())
        .set("added_tokens", std::move(added))
        .set("normalizer", normalizer_)
        .set("pre_tokenizer", pre_tokenizer_)
        .set("post_processor", post_processor(ids))
        .set("decoder", decoder())
        .set("model", std::move(model));
  }

  Json config() const {
    Json json = Json::object();
    json.set("tokenizer_class", "PreTrainedTokenizerFast").set("clean_up_tokenization_spaces", false);
    const auto role = [&](const char* name, std::initializer_list<const char*> contents) {
      for (const char* content : contents) {
        if (has(content)) {
          json.set(name, content);
          return;
        }
      }
    };
    role("bos_token", {"<s>", "<bos>", "<|endoftext|>"});
    role("eos_token", {"</s>", "<eos>", "<|endoftext|>"});
    role("pad_token", {"[PAD]", "<pad>"});
    role("cls_token", {"[CLS]"});
    role("sep_token", {"[SEP]"});
    role("mask_token", {"[MASK]", "<mask>"});
    if (has(recipe_.unk_token)) json.set("unk_token", recipe_.unk_token);
    if (recipe_.model_max_length > 0) json.set("model_max_length", recipe_.model_max_length);
    return json;
  }

  const TokenizerRecipe& get() const { return recipe_; }

 private:
  bool has(const std::string& token) const {
    return std::count(recipe_.special_tokens.begin(), recipe_.special_tokens.end(), token) != 0;
  }

  void complete() {
    TokenizerRecipe& r = recipe_;
    if (r.type != "bpe" && r.type != "unigram" && r.type != "wordpiece") {
      invalid("type", "unknown: got '{}', need bpe, unigram or wordpiece", r.type);
    }
    const bool bpe = r.type == "bpe", wordpiece = r.type == "wordpiece";
    if (r.vocab_size == 0) r.vocab_size = r.type == "unigram" ? 8000 : 30000;
    if (r.normalizers.empty()) r.normalizers = {bpe ? "none" : wordpiece ? "bert" : "nfkc"};
    if (r.pre_tokenizers.empty()) r.pre_tokenizers = {bpe ? "byte_level" : wordpiece ? "bert" : "metaspace"};
    if (r.default_prefix) r.continuing_subword_prefix = wordpiece ? "##" : "";
    if (r.default_special_tokens) {
      if (bpe) r.special_tokens = {"<|endoftext|>"};
      if (wordpiece) r.special_tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
      if (r.type == "unigram") r.special_tokens = {"[CLS]", "[SEP]", "<unk>", "<pad>", "[MASK]"};
    }
    if (!r.unk_token.empty()) {
      // What was asked for is there; the trainer of Unigram does the same.
      if (r.default_special_tokens && !has(r.unk_token)) r.special_tokens.insert(r.special_tokens.begin(), r.unk_token);
    } else if (has("<unk>")) {
      r.unk_token = "<unk>";
    } else if (has("[UNK]")) {
      r.unk_token = "[UNK]";
    }
  }

  void check() const {
    const TokenizerRecipe& r = recipe_;
    if (r.vocab_size < 1 || r.vocab_size > Vocab::kMaxId) {
      invalid("vocab_size", "got {}, need 1 to {}", r.vocab_size, Vocab::kMaxId);
    }
    std::set<std::string> seen;
    for (const std::string& token : r.special_tokens) {
      if (token.empty() || !utf8_valid(token)) invalid("special_tokens", "got an empty token or one that is not UTF-8");
      if (!seen.insert(token).second) invalid("special_tokens", "got '{}' twice", token);
    }
    if (!r.unk_token.empty() && !has(r.unk_token)) {
      invalid("unk_token", "got '{}', need one of the special tokens: {}", r.unk_token, all_of(r.special_tokens));
    }
    if (r.unk_token.empty() && r.type != "bpe") {
      invalid("unk_token", "{} needs one: name it, or have <unk> or [UNK] among the special tokens", r.type);
    }
    if (r.byte_fallback && r.type == "wordpiece") unsupported("byte_fallback", "WordPiece has none: need bpe or unigram");
    if (!utf8_valid(r.initial_alphabet)) invalid("initial_alphabet", "got text that is not UTF-8");
    if (r.min_frequency < 0 || r.n_sub_iterations < 1 || r.max_piece_length < 1 || r.seed_size < 1) {
      invalid("recipe", "got a negative min_frequency, or an n_sub_iterations, max_piece_length or seed_size below 1");
    }
  }

  std::vector<uint32_t> alphabet() const {
    std::vector<uint32_t> codes;
    for (size_t pos = 0; pos < recipe_.initial_alphabet.size();) codes.push_back(utf8_next(recipe_.initial_alphabet, pos));
    if (byte_level_) codes.insert(codes.end(), kByteChars.begin(), kByteChars.end());
    return codes;
  }

  Json post_processor(const std::vector<int64_t>& ids) const {
    const std::string& wish = recipe_.post_processor;
    if (!wish.empty() && wish[0] == '{') return Json::parse(wish, "post_processor");
    if (wish == "none") return Json();
    if (wish != "auto" && wish != "template") {
      invalid("post_processor", "unknown: got '{}', need auto, template, none, or an object of tokenizer.json", wish);
    }
    for (const auto& [begin, end] :
         {std::pair<const char*, const char*>{"[CLS]", "[SEP]"}, {"<s>", "</s>"}, {"<bos>", "<eos>"}}) {
      if (!has(begin) || !has(end)) continue;
      if (wish == "auto" && std::string_view(begin) != "[CLS]") continue;
      return template_of(begin, end, ids);
    }
    if (wish == "template") {
      invalid("post_processor", "template: need [CLS] and [SEP], <s> and </s>, or <bos> and <eos> among the special tokens");
    }
    return Json();
  }

  // begin A end, begin A end B end.
  Json template_of(const std::string& begin, const std::string& end, const std::vector<int64_t>& ids) const {
    const auto piece = [](const char* kind, const std::string& id, int type) {
      return Json::object().set(kind, Json::object().set("id", id).set("type_id", type));
    };
    Json single = Json::array(), specials = Json::object();
    single.push_back(piece("SpecialToken", begin, 0));
    single.push_back(piece("Sequence", "A", 0));
    single.push_back(piece("SpecialToken", end, 0));
    Json pair = single;
    pair.push_back(piece("Sequence", "B", 1));
    pair.push_back(piece("SpecialToken", end, 1));
    for (size_t i = 0; i < recipe_.special_tokens.size(); ++i) {
      const std::string& token = recipe_.special_tokens[i];
      if (token != begin && token != end) continue;
      Json id_list = Json::array(), tokens = Json::array();
      id_list.push_back(ids[i]);
      tokens.push_back(token);
      specials.set(token, Json::object().set("id", token).set("ids", std::move(id_list)).set("tokens", std::move(tokens)));
    }
    return typed("TemplateProcessing")
        .set("single", std::move(single))
        .set("pair", std::move(pair))
        .set("special_tokens", std::move(specials));
  }

  Json decoder() const {
    if (byte_level_) return typed("ByteLevel").set("add_prefix_space", true).set("trim_offsets", true).set("use_regex", true);
    if (recipe_.type == "wordpiece")
      return typed("WordPiece").set("prefix", recipe_.continuing_subword_prefix).set("cleanup", true);
    if (!recipe_.end_of_word_suffix.empty()) return typed("BPEDecoder").set("suffix", recipe_.end_of_word_suffix);
    if (recipe_.byte_fallback) return byte_fallback_decoder();
    if (metaspace_) {
      return typed("Metaspace").set("replacement", kMetaspace).set("prepend_scheme", recipe_.prepend_scheme).set("split", true);
    }
    return Json();
  }

  Json byte_fallback_decoder() const {
    Json steps = Json::array();
    if (metaspace_) {
      steps.push_back(typed("Replace").set("pattern", Json::object().set("String", kMetaspace)).set("content", " "));
    }
    steps.push_back(typed("ByteFallback"));
    steps.push_back(typed("Fuse"));
    if (metaspace_ && recipe_.prepend_scheme != "never") {
      steps.push_back(typed("Strip").set("content", " ").set("start", 1).set("stop", 0));
    }
    return typed("Sequence").set("decoders", std::move(steps));
  }

  TokenizerRecipe recipe_;
  Json normalizer_, pre_tokenizer_;
  bool byte_level_ = false, metaspace_ = false;
};

text_train::WordCounts count_words(const Recipe& recipe, RowReader& rows, ThreadPool& pool, const TaskHooks& hooks,
                                   TrainedTokenizer& trained) {
  constexpr size_t kBatchBytes = size_t{1} << 20;  // a thread's share
  constexpr size_t kRowBytes = 512;  // what a row costs beside its text, so that short and empty rows fill a batch too
  const PipelineParts parts = recipe.parts();
  text_train::WordCounter counter(parts.normalizer, parts.pre_tokenizer, pool);
  Row row;
  std::vector<std::string> batch;
  size_t bytes = 0;
  const auto flush = [&] {
    hooks.at("reading", rows.bytes_read(), rows.bytes_total());
    counter.add(batch);
    batch.clear();
    bytes = 0;
  };
  while (rows.next(row)) {
    if (row.tokenised) invalid(rows.where(), "got token ids, need text to train a tokenizer");
    ++trained.rows;
    bytes += row.text.size() + kRowBytes;
    batch.push_back(std::move(row.text));
    if (bytes >= kBatchBytes * static_cast<size_t>(pool.num_threads())) flush();
  }
  flush();
  text_train::WordCounts words = counter.finish();
  trained.distinct_words = static_cast<int64_t>(words.size());
  for (const text_train::WordCount& word : words) trained.words += word.count;
  if (words.empty()) invalid("files", "no words in them: need some text");
  return words;
}

std::vector<int64_t> ids_of(const std::vector<std::string>& tokens, const std::vector<std::string>& vocab) {
  std::vector<int64_t> ids;
  for (const std::string& token : tokens) {
    ids.push_back(std::find(vocab.begin(), vocab.end(), token) - vocab.begin());
  }
  return ids;
}

}  // namespace

const std::vector<std::string>& normalizer_names() {
  static const std::vector<std::string> kNames{"nfc",       "nfd",   "nfkc",          "nfkd", "nmt",
                                               "lowercase", "strip", "strip_accents", "bert"};
  return kNames;
}

const std::vector<std::string>& pre_tokenizer_names() {
  static const std::vector<std::string> kNames{"byte_level", "whitespace", "whitespace_split", "bert",
                                               "metaspace",  "digits",     "punctuation",      "unicode_scripts"};
  return kNames;
}

TrainedTokenizer train_tokenizer(const TokenizerRecipe& wish, RowReader& rows, ThreadPool& pool, const TaskHooks& hooks) {
  const Recipe recipe(wish);
  const std::vector<std::string>& specials = recipe.get().special_tokens;
  TrainedTokenizer trained;
  const text_train::WordCounts words = count_words(recipe, rows, pool, hooks, trained);
  std::vector<std::string> vocab;
  Json model;
  if (recipe.get().type == "unigram") {
    const text_train::TrainedUnigram unigram = text_train::train_unigram(words, recipe.unigram_options(), pool, hooks);
    for (const UnigramPiece& piece : unigram.pieces) vocab.push_back(piece.token);
    trained.bits_per_character = unigram.bits_per_character;
    model = recipe.model(unigram);
  } else {
    text_train::TrainedBpe bpe = text_train::train_bpe(words, recipe.bpe_options(), pool, hooks);
    model = recipe.model(bpe);
    vocab = std::move(bpe.vocab);
  }
  trained.vocab_size = static_cast<int64_t>(vocab.size());
  trained.tokenizer = recipe.tokenizer(std::move(model), ids_of(specials, vocab));
  trained.config = recipe.config();
  parse_tokenizer_json(trained.tokenizer, "tokenizer.json");  // what cannot be read back is not written
  return trained;
}

void write_tokenizer(const TrainedTokenizer& trained, const std::string& folder) {
  make_directories(folder);
  write_file_atomic(join_path(folder, "tokenizer.json"), trained.tokenizer.pretty() + "\n");
  write_file_atomic(join_path(folder, "tokenizer_config.json"), trained.config.pretty() + "\n");
}

}  // namespace pagoda::train
