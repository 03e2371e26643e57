// Class by class. Source: transformers 5.24, models/*/tokenization_*.py and convert_slow_tokenizer.py.
#include "formats/tokenizer_rules.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "formats/tokenizer_tree.h"

namespace pagoda {

AddedToken special_token(std::string content) {
  AddedToken token;
  token.content = std::move(content);
  token.special = true;
  token.normalized = false;
  return token;
}

namespace {

using tokenizer_tree::kMark;
using tokenizer_tree::metaspace;
using tokenizer_tree::part;
using tokenizer_tree::precompiled;
using tokenizer_tree::replace;
using tokenizer_tree::sequence;
using tokenizer_tree::split_regex;
using tokenizer_tree::strip_first_space;

using Kind = TokenizerKind;

constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Json byte_level(bool add_prefix_space, bool use_regex) {
  return std::move(part("ByteLevel").set("add_prefix_space", add_prefix_space).set("use_regex", use_regex));
}

bool flag(const TokenizerConfig& config, const char* key, bool fallback, std::string_view where) {
  return config.raw.is_object() ? config.raw.get_bool(key, fallback, where) : fallback;
}

// SentencePiece's own map of characters, as a step of the tree has it; null: none.
Json charsmap_of(const Json& tree, std::string_view where) {
  const auto is_map = [](const Json& step) {
    const Json* const type = step.find("type");
    return type != nullptr && *type == Json("Precompiled") && step.contains("precompiled_charsmap");
  };
  const Json* const normalizer = tree.find("normalizer");
  if (normalizer == nullptr || !normalizer->is_object()) return {};
  if (is_map(*normalizer)) return *normalizer;
  const Json* const steps = normalizer->find("normalizers");
  if (steps == nullptr || !steps->is_array()) return {};
  for (const Json& step : steps->as_array(where)) {
    if (is_map(step)) return step;
  }
  return {};
}

// Words at white space, then marked: how Unigram's classes split.
Json marked_words(bool add_prefix_space) {
  return sequence("pretokenizers", {part("WhitespaceSplit"), metaspace(add_prefix_space ? "always" : "never", true)});
}

const char* name_of(const TokenizerConfig& config, std::string_view name) {
  for (const auto& [known, token] : config.named) {
    if (known == name) return token ? token->content.c_str() : "";
  }
  return "";
}

// ---- The model and its options.

void set_bpe(Json& model, bool fuse_unk, bool byte_fallback) {
  model.set("type", "BPE").set("fuse_unk", fuse_unk).set("byte_fallback", byte_fallback);
}

void set_unigram(Json& model, int64_t unk_id) {
  model.set("type", "Unigram").set("unk_id", unk_id).set("byte_fallback", false);
}

int64_t place_of(const Json& pieces, std::string_view token, std::string_view where) {
  int64_t index = 0;
  for (const Json& piece : pieces.as_array(where)) {
    if (piece.is_array() && piece.size() > 0 && piece.as_array(where)[0] == Json(token)) return index;
    ++index;
  }
  return 0;
}

// ---- One class each.

void bert(const TokenizerConfig& config, Json& tree, Json& model, std::string_view where) {
  model.set("type", "WordPiece").set("unk_token", name_of(config, "unk_token")).set("continuing_subword_prefix", "##");
  Json normalizer = part("BertNormalizer");
  normalizer.set("lowercase", config.do_lower_case);
  normalizer.set("handle_chinese_chars", flag(config, "tokenize_chinese_chars", true, where));
  const Json* const strip = config.raw.find("strip_accents");
  if (strip != nullptr && strip->is_bool()) normalizer.set("strip_accents", *strip);
  tree.set("normalizer", std::move(normalizer));
  tree.set("pre_tokenizer", part("BertPreTokenizer"));
  tree.set("decoder", part("WordPiece"));
}

void byte_level_bpe(Kind kind, const TokenizerConfig& config, Json& tree, Json& model) {
  set_bpe(model, false, false);
  const bool prefix = config.add_prefix_space.value_or(false);
  Json splitting = byte_level(prefix, kind != Kind::kQwen2);
  if (kind == Kind::kQwen2) {
    splitting = sequence("pretokenizers", {split_regex(kQwen2Pattern), std::move(splitting)});
  }
  tree.set("normalizer", kind == Kind::kQwen2 || kind == Kind::kGptNeoX ? part("NFC") : Json());
  tree.set("pre_tokenizer", std::move(splitting));
  tree.set("decoder", part("ByteLevel"));
  if (kind != Kind::kCodeGen) return;
  const Json* const given = tree.find("post_processor");
  if (given == nullptr || given->is_null())
    tree.set("post_processor", std::move(byte_level(true, true).set("trim_offsets", false)));
}

void llama(const TokenizerConfig& config, Json& tree, Json& model, std::string_view where) {
  set_bpe(model, true, true);
  const bool prefix = config.add_prefix_space.value_or(true);
  const char* const scheme = !prefix ? "never" : flag(config, "legacy", false, where) ? "always" : "first";
  tree.set("normalizer", Json());
  tree.set("pre_tokenizer", metaspace(scheme, false));
  Json::Array steps = {replace(kMark, " "), part("ByteFallback"), part("Fuse")};
  if (prefix) steps.push_back(std::move(part("Strip").set("content", " ").set("start", 1).set("stop", 0)));
  tree.set("decoder", sequence("decoders", std::move(steps)));
}

void albert(const TokenizerConfig& config, Json& tree, Json& model, std::string_view where) {
  set_unigram(model, 1);
  Json::Array steps = {replace("``", "\""), replace("''", "\"")};
  if (!flag(config, "keep_accents", false, where)) {
    steps.push_back(part("NFKD"));
    steps.push_back(part("StripAccents"));
  }
  if (config.do_lower_case) steps.push_back(part("Lowercase"));
  if (Json map = charsmap_of(tree, where); map.is_object()) steps.push_back(std::move(map));
  tree.set("normalizer", sequence("normalizers", std::move(steps)));
}

Json::Array pieces_of(const SentencePieceModel& model, size_t from) {
  Json::Array pieces;
  for (size_t i = from; i < model.pieces.size(); ++i) {
    pieces.push_back(Json(Json::Array{Json(model.pieces[i].text), Json(static_cast<double>(model.pieces[i].score))}));
  }
  return pieces;
}

// Every way to cut a piece into two pieces, the shorter left half first: the merges that a byte-pair model implies.
Json::Array implied_merges(const SentencePieceModel& model, const Vocab& vocab) {
  Json::Array merges;
  for (const SentencePieceModel::Piece& piece : model.pieces) {
    const std::string_view text = piece.text;
    size_t cut = 0;
    while (cut < text.size()) {
      utf8_next(text, cut);
      if (cut >= text.size()) break;
      if (vocab.find(text.substr(0, cut)) < 0 || vocab.find(text.substr(cut)) < 0) continue;
      merges.push_back(Json(Json::Array{Json(text.substr(0, cut)), Json(text.substr(cut))}));
    }
  }
  return merges;
}

struct Defaults {
  Kind kind;
  DefaultTokens tokens;
};
constexpr const char* kEnd = "<|endoftext|>";
constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
constexpr Defaults kDefaults[] = {
    {Kind::kBert, {nullptr, nullptr, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"}},
    {Kind::kGpt2, {kEnd, kEnd, kEnd, nullptr, nullptr, nullptr, nullptr}},
    {Kind::kCodeGen, {kEnd, kEnd, kEnd, nullptr, nullptr, nullptr, nullptr}},
    {Kind::kQwen2, {nullptr, kEnd, kEnd, nullptr, kEnd, nullptr, nullptr}},
    {Kind::kGptNeoX, {kEnd, kEnd, kEnd, nullptr, "<|padding|>", nullptr, nullptr}},
    {Kind::kRoberta, {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"}},
    {Kind::kLlama, {"<s>", "</s>", "<unk>", nullptr, nullptr, nullptr, nullptr}},
    {Kind::kAlbert, {"[CLS]", "[SEP]", "<unk>", "[SEP]", "<pad>", "[CLS]", "[MASK]"}},
    {Kind::kXlmRoberta, {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"}},
    {Kind::kCamembert, {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"}},
    {Kind::kT5, {nullptr, "</s>", "<unk>", nullptr, "<pad>", nullptr, nullptr}},
};

int64_t extra_ids(const TokenizerConfig& config, std::string_view where) {
  const int64_t count = config.raw.is_object() ? config.raw.get_int("extra_ids", 100, where) : 100;
  if (count < 0 || count > 10'000) invalid(where, "extra_ids: got {}, need 0 to 10000", count);
  return count;
}

bool has_sentinels(const TokenizerConfig& config) {
  return std::any_of(config.extra_tokens.begin(), config.extra_tokens.end(),
                     [](const AddedToken& token) { return token.content.find("<extra_id_") != std::string::npos; });
}

// What stands around one or two sequences, which begin where `sequence` is 0 and 1; no token: nothing stands there.
struct Part {
  int sequence = -1;
  std::string token = {};
};
Part first_text() { return {0}; }
Part second_text() { return {1}; }
Part token_part(const std::string& token) { return {-1, token}; }

using FindId = std::function<int32_t(const std::string&)>;

int32_t id_of_special(const std::string& token, const char* name, const FindId& find_id, std::string_view where) {
  const int32_t id = token.empty() ? -1 : find_id(token);
  if (id < 0) invalid(where, "{}: got '{}', need a token that the tokenizer has", name, token);
  return id;
}

std::vector<post_processors::TemplatePiece> pieces_of(const std::vector<Part>& parts, bool type_of_second,
                                                      const FindId& find_id, std::string_view where) {
  using post_processors::TemplatePiece;
  std::vector<TemplatePiece> pieces;
  int32_t type = 0;
  for (const Part& part : parts) {
    if (part.sequence >= 0) {
      type = type_of_second ? part.sequence : 0;
      pieces.push_back(TemplatePiece::of_sequence(part.sequence, type));
    } else if (!part.token.empty()) {
      const int32_t id = id_of_special(part.token, "special token", find_id, where);
      pieces.push_back(TemplatePiece::of_token(part.token, id, type));
    }
  }
  return pieces;
}

}  // namespace

VocabularyFiles vocabulary_files(TokenizerKind kind) {
  switch (kind) {
    case Kind::kBert: return VocabularyFiles::kVocabTxt;
    case Kind::kGpt2:
    case Kind::kCodeGen:
    case Kind::kQwen2:
    case Kind::kGptNeoX:
    case Kind::kRoberta: return VocabularyFiles::kVocabAndMerges;
    default: return VocabularyFiles::kSentencePiece;
  }
}

bool rebuilds(const TokenizerClass& known, const Json& model) {
  if (known.kind == Kind::kGeneric || known.kind == Kind::kOther) return false;
  const Json *const vocab = model.find("vocab"), *const merges = model.find("merges");
  if (vocab == nullptr) return false;
  if (vocabulary_files(known.kind) == VocabularyFiles::kVocabTxt) return vocab->is_object();
  if (known.kind == Kind::kLlama || vocabulary_files(known.kind) == VocabularyFiles::kVocabAndMerges)
    return vocab->is_object() && merges != nullptr && merges->is_array();
  return vocab->is_array();
}

void rebuild(TokenizerKind kind, const TokenizerConfig& config, Json& tree, std::string_view where) {
  Json* const old = tree.find("model");
  Json model = Json::object();
  for (const char* key : {"vocab", "merges"}) {
    if (Json* const value = old->find(key)) model.set(key, std::move(*value));
  }
  // Of Unigram's classes, for which null is no.
  const Json* const given = config.raw.find("add_prefix_space");
  const bool prefix = config.add_prefix_space.value_or(given == nullptr || !given->is_null());
  switch (kind) {
    case Kind::kBert: bert(config, tree, model, where); break;
    case Kind::kLlama: llama(config, tree, model, where); break;
    case Kind::kAlbert: albert(config, tree, model, where); break;
    case Kind::kXlmRoberta: set_unigram(model, 3); break;
    case Kind::kT5: set_unigram(model, 2); break;
    case Kind::kCamembert: set_unigram(model, place_of(*model.find("vocab"), name_of(config, "unk_token"), where)); break;
    default: byte_level_bpe(kind, config, tree, model); break;
  }
  if (*model.find("type") == Json("Unigram")) {
    if (kind != Kind::kAlbert) tree.set("normalizer", charsmap_of(tree, where));
    const bool marks = kind == Kind::kT5 || prefix;
    tree.set("pre_tokenizer", marked_words(marks));
    tree.set("decoder", metaspace(marks ? "always" : "never", true));
  }
  tree.set("model", std::move(model));
  tree.set("added_tokens", Json::array());
}

Json sentencepiece_tree(TokenizerKind kind, const TokenizerConfig& config, const SentencePieceModel& model,
                        std::string_view where) {
  Json tree = Json::object(), node = Json::object();
  if (kind == Kind::kLlama) {
    Vocab vocab;
    Json::Object ids;
    check_pieces(model, where);
    for (size_t i = 0; i < model.pieces.size(); ++i) {
      vocab.add(model.pieces[i].text, static_cast<int64_t>(i), where);
      ids.push_back({model.pieces[i].text, Json(static_cast<int64_t>(i))});
    }
    node.set("vocab", Json(std::move(ids))).set("merges", Json(implied_merges(model, vocab)));
    tree.set("model", std::move(node));
    return tree;
  }
  Json::Array pieces;
  const auto put = [&](const char* text, double score) { pieces.push_back(Json(Json::Array{Json(text), Json(score)})); };
  const auto name = [&](const char* key) { return name_of(config, key); };
  size_t from = 0;
  if (kind == Kind::kXlmRoberta) {
    for (const char* key : {"bos_token", "pad_token", "eos_token", "unk_token"}) put(name(key), 0);
    from = 3;
  } else if (kind == Kind::kCamembert) {
    put("<s>NOTUSED", 0);
    put(name("pad_token"), 0);
    put("</s>NOTUSED", 0);
    put(name("unk_token"), 0);
    put("<unk>NOTUSED", -100);
    from = 1;
  }
  Json::Array own = pieces_of(model, from);
  pieces.insert(pieces.end(), std::make_move_iterator(own.begin()), std::make_move_iterator(own.end()));
  if (kind == Kind::kXlmRoberta || kind == Kind::kCamembert) put(name("mask_token"), 0);
  if (kind == Kind::kT5) {
    for (int64_t i = extra_ids(config, where) - 1; i >= 0; --i) put(fmt::format("<extra_id_{}>", i).c_str(), 0);
  }
  node.set("vocab", Json(std::move(pieces)));
  tree.set("model", std::move(node));
  if (!model.charsmap_bytes.empty()) tree.set("normalizer", precompiled(model.charsmap_bytes));
  return tree;
}

void check_pieces(const SentencePieceModel& model, std::string_view where) {
  constexpr size_t kMost = 1000;  // bytes
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const size_t size = model.pieces[i].text.size();
    if (size > kMost) invalid(where, "piece {} too long: got {} bytes, need at most {}", i, size, kMost);
    if (!std::isfinite(model.pieces[i].score)) invalid(where, "piece {} has no finite score", i);
  }
}

void complete_names(TokenizerConfig& config, const DefaultTokens& defaults) {
  std::vector<std::pair<std::string, std::optional<AddedToken>>> named;
  for (size_t i = 0; i < std::size(kNames); ++i) {
    const auto given =
        std::find_if(config.named.begin(), config.named.end(), [&](const auto& entry) { return entry.first == kNames[i]; });
    if (given != config.named.end()) {
      named.push_back(std::move(*given));
      config.named.erase(given);
    } else if (defaults[i] != nullptr) {
      named.emplace_back(kNames[i], special_token(defaults[i]));
    }
  }
  named.insert(named.end(), config.named.begin(), config.named.end());
  config.named = std::move(named);
}

TokenizerConfig completed(TokenizerKind kind, TokenizerConfig config, std::string_view where, const SentencePieceModel* model) {
  const bool masked =
      std::any_of(config.named.begin(), config.named.end(), [](const auto& entry) { return entry.first == "mask_token"; });
  for (const Defaults& defaults : kDefaults) {
    if (defaults.kind == kind) complete_names(config, defaults.tokens);
  }
  for (auto& [name, token] : config.named) {
    if (kind == Kind::kCamembert && !masked && name == "mask_token") token->lstrip = true;
  }
  if (config.extra_tokens_given) return config;
  if (model != nullptr) {
    config.extra_tokens.clear();
    for (const SentencePieceModel::Piece& piece : model->pieces) {
      const bool control = piece.type == SentencePieceModel::Type::kControl;
      if (!control && piece.type != SentencePieceModel::Type::kUserDefined) continue;
      config.extra_tokens.push_back(special_token(piece.text));
      config.extra_tokens.back().special = control;
    }
  }
  if (kind == Kind::kT5 && !has_sentinels(config)) {
    for (int64_t i = 0; i < extra_ids(config, where); ++i)
      config.extra_tokens.push_back(special_token(fmt::format("<extra_id_{}>", i)));
  }
  if (kind == Kind::kCamembert && config.extra_tokens.empty()) {
    for (const char* token : {"<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"}) config.extra_tokens.push_back(special_token(token));
  }
  return config;
}

PostProcessorPtr own_post_processor(TokenizerKind kind, const TokenizerConfig& config,
                                    const std::function<int32_t(const std::string&)>& find_id, std::string_view where) {
  const Part a = first_text(), b = second_text();
  const Part bos = token_part(name_of(config, "bos_token")), eos = token_part(name_of(config, "eos_token"));
  const Part cls = token_part(name_of(config, "cls_token")), sep = token_part(name_of(config, "sep_token"));
  const auto both = [&](const std::vector<Part>& single, const std::vector<Part>& pair, bool type_of_second) {
    return post_processors::pieces(pieces_of(single, type_of_second, find_id, where),
                                   pieces_of(pair, type_of_second, find_id, where));
  };
  switch (kind) {
    case Kind::kBert:
    case Kind::kAlbert: return both({cls, a, sep}, {cls, a, sep, b, sep}, true);
    case Kind::kRoberta:
      return post_processors::roberta({cls.token, id_of_special(cls.token, "cls_token", find_id, where)},
                                      {sep.token, id_of_special(sep.token, "sep_token", find_id, where)},
                                      config.raw.is_object() ? config.raw.get_bool("trim_offsets", true, "trim_offsets") : true,
                                      config.add_prefix_space.value_or(false));
    case Kind::kXlmRoberta:
    case Kind::kCamembert: return both({bos, a, eos}, {bos, a, eos, eos, b, eos}, false);
    case Kind::kT5: return both({a, eos}, {a, eos, b, eos}, false);
    default: return nullptr;
  }
}

}  // namespace pagoda
