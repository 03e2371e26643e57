// Which reader a file or folder gets, and what a folder's configuration changes.
#include "formats/tokenizer_loader.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/utf8.h"
#include "formats/gguf.h"
#include "formats/sentencepiece.h"
#include "formats/tiktoken.h"
#include "formats/tokenizer_class.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_rules.h"

namespace pagoda {

namespace {

using TokenizerPtr = std::shared_ptr<const Tokenizer>;

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t pos = 0; pos < text.size();) {
    size_t end = text.find('\n', pos);
    if (end == std::string_view::npos) end = text.size();
    std::string_view line = text.substr(pos, end - pos);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    lines.emplace_back(line);
    pos = end + 1;
  }
  return lines;
}

void check_utf8(std::string_view text, std::string_view where) {
  const size_t bad = utf8_invalid_at(text);
  if (bad != std::string_view::npos) invalid(where, "no valid UTF-8: got an ill-formed byte at {}", bad);
}

std::vector<post_processors::TemplatePiece> around(int32_t before, const std::string& before_text, int32_t after,
                                                   const std::string& after_text, bool pair) {
  using post_processors::TemplatePiece;
  std::vector<TemplatePiece> pieces;
  for (int sequence = 0; sequence < (pair ? 2 : 1); ++sequence) {
    if (before >= 0) pieces.push_back(TemplatePiece::of_token(before_text, before, sequence));
    pieces.push_back(TemplatePiece::of_sequence(sequence, sequence));
    if (after >= 0) pieces.push_back(TemplatePiece::of_token(after_text, after, sequence));
  }
  return pieces;
}

int32_t find_id(const PipelineParts& parts, const std::string& token) {
  if (token.empty()) return -1;
  const int32_t id = parts.added.find(token);
  return id >= 0 ? id : parts.model->vocab().find(token);
}

// transformers truncates and pads only where it is asked to, whatever the file says.
bool splits_special_tokens(const TokenizerConfig& config) {
  return config.raw.get_bool("split_special_tokens", false, "tokenizer_config.json");
}

TokenizerPtr finish(PipelineParts&& parts, const TokenizerConfig& config) {
  parts.special_as_text = splits_special_tokens(config);
  parts.truncation = std::nullopt;
  parts.padding.reset();
  return make_pipeline_tokenizer(std::move(parts));
}

// The tokens that transformers adds to a tokenizer that is there: those listed, known or not, then the named ones and the
// others that nobody knows.
void add_tokens(const TokenizerConfig& config, const std::vector<std::pair<int64_t, AddedToken>>& listed,
                PipelineParts& parts) {
  std::vector<AddedToken> tokens, wanted;
  std::unordered_set<std::string> known, names;
  for (const auto& [name, token] : config.named) {
    if (!token) continue;
    wanted.push_back(*token);
    names.insert(token->content);
  }
  wanted.insert(wanted.end(), config.extra_tokens.begin(), config.extra_tokens.end());
  for (const auto& [id, token] : listed) {
    tokens.push_back(token);
    tokens.back().special = token.special || names.count(token.content) != 0;
    known.insert(token.content);
  }
  std::set<AddedToken> taken;
  for (const AddedToken& token : wanted) {
    if (token.content.empty() || parts.added.find(token.content) >= 0 || known.count(token.content) != 0) continue;
    // Named twice with other flags, the later ones hold.
    if (taken.insert(token).second) tokens.push_back(token);
  }
  if (!tokens.empty()) parts.added.add(tokens, *parts.model);
}

// The configuration's added tokens; where it does not list them, those of the file too.
std::vector<std::pair<int64_t, AddedToken>> listed_tokens(const TokenizerConfig& config, const Json& tree,
                                                          std::string_view where) {
  if (config.lists_added_tokens) return config.added_tokens;
  std::map<int64_t, AddedToken> by_id(config.added_tokens.begin(), config.added_tokens.end());
  for (auto& [id, token] : json_added_tokens(tree, where)) by_id[id] = std::move(token);
  return {by_id.begin(), by_id.end()};
}

PostProcessorPtr beginning_and_end(const TokenizerConfig& config, const PipelineParts& parts) {
  const std::string &bos = config.bos_token, &eos = config.eos_token;
  const int32_t bos_id = config.add_bos_token.value_or(false) ? find_id(parts, bos) : -1;
  const int32_t eos_id = config.add_eos_token.value_or(false) ? find_id(parts, eos) : -1;
  return post_processors::pieces(around(bos_id, bos, eos_id, eos, false), around(bos_id, bos, eos_id, eos, true));
}

void check_count(size_t count, std::string_view where, const Limits& limits) {
  if (static_cast<int64_t>(count) > limits.max_items)
    invalid(where, "too many tokens: got {}, need at most {}", count, limits.max_items);
}

// vocab.txt: a token a line.
Json vocab_txt_tree(std::string_view text, std::string_view where, const Limits& limits) {
  check_utf8(text, where);
  const std::vector<std::string> lines = lines_of(text);
  check_count(lines.size(), where, limits);
  if (lines.empty()) invalid(where, "no tokens in the file");
  Json::Object vocab;
  vocab.reserve(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) vocab.push_back({lines[i], Json(static_cast<int64_t>(i))});
  Json model = Json::object(), tree = Json::object();
  model.set("vocab", Json(std::move(vocab)));
  tree.set("model", std::move(model));
  return tree;
}

Json merges_tree(const std::string& vocab_path, const std::string& merges_path, const Limits& limits) {
  Json vocab = Json::parse(read_file(vocab_path, limits.max_json_bytes), vocab_path, limits);
  check_count(vocab.as_object(vocab_path).size(), vocab_path, limits);
  const std::string text = read_file(merges_path, limits.max_json_bytes);
  check_utf8(text, merges_path);
  Json::Array merges;
  for (const std::string& line : lines_of(text)) {
    if (line.empty() || line.compare(0, 8, "#version") == 0) continue;
    const size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
      invalid(merges_path, "merge {}: got '{}', need two tokens with a space between", merges.size(), line.substr(0, 64));
    }
    merges.push_back(Json(Json::Array{Json(line.substr(0, space)), Json(line.substr(space + 1))}));
  }
  Json model = Json::object(), tree = Json::object();
  model.set("vocab", std::move(vocab)).set("merges", Json(std::move(merges)));
  tree.set("model", std::move(model));
  return tree;
}

// A tokenizer as its class makes it of a vocabulary; `config` is complete, `tree` is a tokenizer.json, or what stands for one.
TokenizerPtr build(TokenizerKind kind, TokenizerConfig config, Json tree, bool from_json, std::string_view where,
                   const Limits& limits) {
  for (const auto& [name, token] : config.named) {
    if (name == "bos_token") config.bos_token = token ? token->content : "";
    if (name == "eos_token") config.eos_token = token ? token->content : "";
  }
  const std::vector<std::pair<int64_t, AddedToken>> listed = listed_tokens(config, tree, where);
  rebuild(kind, config, tree, where);
  TokenizerJsonOptions options;
  options.decimal_scores = false;
  PipelineParts parts = parse_tokenizer_json(tree, where, limits, options);
  add_tokens(config, listed, parts);
  if (kind == TokenizerKind::kQwen2) {  // names its special tokens once more, without flags
    std::vector<AddedToken> specials;
    for (const auto& [name, token] : config.named) {
      if (token && !token->content.empty()) specials.push_back(special_token(token->content));
    }
    for (const AddedToken& token : config.extra_tokens) specials.push_back(special_token(token.content));
    parts.added.add(specials, *parts.model);
  }
  const auto id_of = [&](const std::string& token) { return find_id(parts, token); };
  // Beside a tokenizer.json its own post-processor counts, not the wish for beginning and end.
  const bool wished = !from_json && (config.add_bos_token || config.add_eos_token);
  if (from_json) config.add_bos_token = config.add_eos_token = std::nullopt;
  const bool albert = kind == TokenizerKind::kAlbert;  // whose own comes first, and gives way
  PostProcessorPtr own = own_post_processor(kind, config, id_of, where);
  if (own != nullptr && !(albert && parts.post_processor != nullptr)) parts.post_processor = own;
  if ((own == nullptr || albert) && (wished || kind == TokenizerKind::kGptNeoX))
    parts.post_processor = beginning_and_end(config, parts);
  return finish(std::move(parts), config);
}

// A SentencePiece model without a class: SentencePiece's ids, special tokens looked for in the text.
TokenizerPtr read_sentencepiece_folder(SentencePieceModel model, const std::string& path, const TokenizerConfig& config) {
  if (splits_special_tokens(config)) {
    unsupported(path,
                "split_special_tokens of tokenizer_config.json is true: a SentencePiece model without a tokenizer class "
                "reads special tokens within a text as tokens here");
  }
  SentencePieceOptions options;
  options.pieces_are_text = true;
  int32_t next = static_cast<int32_t>(model.pieces.size());
  std::unordered_map<std::string, int32_t> ids;
  for (size_t i = 0; i < model.pieces.size(); ++i) ids.emplace(model.pieces[i].text, static_cast<int32_t>(i));
  const auto id_of = [&](const std::string& text) {
    const auto found = ids.find(text);
    return found == ids.end() ? -1 : found->second;
  };
  std::unordered_set<std::string> there;
  std::unordered_set<int64_t> renamed;
  // Byte-pair pieces alone are called as the configuration calls their ids.
  const bool may_rename = model.kind == SentencePieceModel::Kind::kBpe;
  for (const auto& [id, token] : config.added_tokens) {
    if (may_rename) renamed.insert(id);
  }
  for (const auto& [listed, token] : config.added_tokens) {
    if (listed > Vocab::kMaxId) invalid(path, "added tokens: got id {}, need at most {}", listed, Vocab::kMaxId);
    // A piece keeps its id, unless that is given to another token; behind the pieces ids have no gaps.
    const int32_t piece = id_of(token.content);
    const bool keeps = piece >= 0 && renamed.count(piece) == 0;
    const bool renames = may_rename && listed < static_cast<int64_t>(model.pieces.size());
    const int32_t id = keeps ? piece : renames ? static_cast<int32_t>(listed) : next++;
    options.added.emplace_back(token, id);
    if (!keeps && renames && !token.content.empty() && there.count(token.content) == 0) {
      SentencePieceModel::Piece& old = model.pieces[static_cast<size_t>(id)];
      if (const auto known = ids.find(old.text); known != ids.end() && known->second == id) ids.erase(known);
      if (old.type != SentencePieceModel::Type::kByte) old.text = token.content;
    }
    ids[token.content] = id;
    there.insert(token.content);
  }
  std::vector<AddedToken> others;
  for (const auto& [name, token] : config.named) {
    if (token && !token->content.empty()) others.push_back(*token);
  }
  const auto is_named = [&](std::string_view name) {  // null too
    return std::any_of(config.named.begin(), config.named.end(), [&](const auto& entry) { return entry.first == name; });
  };
  for (const auto& [name, text] : {std::pair{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}}) {
    if (!is_named(name) && id_of(text) >= 0) others.push_back(special_token(text));
  }
  if (config.extra_tokens_given) others.insert(others.end(), config.extra_tokens.begin(), config.extra_tokens.end());
  for (const SentencePieceModel::Piece& piece : model.pieces) {
    if (!config.extra_tokens_given && piece.type == SentencePieceModel::Type::kControl)
      others.push_back(special_token(piece.text));
  }
  for (const AddedToken& token : others) {
    if (!there.insert(token.content).second) continue;
    const auto [known, is_new] = ids.emplace(token.content, next);
    if (is_new) ++next;
    options.added.emplace_back(token, known->second);
  }
  if (config.raw.is_object()) {
    const Json* const legacy = config.raw.find("legacy");
    options.prefix_first_only = legacy != nullptr && (legacy->is_null() || *legacy == Json(false));
  }
  if (config.add_bos_token.value_or(false)) options.bos_id = id_of(is_named("bos_token") ? config.bos_token : "<s>");
  if (config.add_eos_token.value_or(false)) options.eos_id = id_of(is_named("eos_token") ? config.eos_token : "</s>");
  return make_sentencepiece_tokenizer(std::move(model), options, path);
}

TokenizerPtr read_bert(std::string_view text, std::string_view where, const Limits& limits) {
  return build(TokenizerKind::kBert, completed(TokenizerKind::kBert, {}, where), vocab_txt_tree(text, where, limits), false,
               where, limits);
}

TokenizerPtr load_file(const std::string& path, const TokenizerOptions& options) {
  const Limits& limits = options.limits;
  const std::string name = file_name(path);
  if (name.ends_with(".gguf")) return read_gguf_tokenizer(*GgufFile::open(path, limits), limits);
  if (name.ends_with(".json")) return read_tokenizer_json(read_file(path, limits.max_json_bytes), path, limits);
  if (name.ends_with(".tiktoken")) return read_tiktoken(read_file(path, limits.max_json_bytes), options.pattern, path, limits);
  if (name.ends_with(".txt")) return read_bert(read_file(path, limits.max_json_bytes), path, limits);
  if (name.ends_with(".model") || name.find(".model.") != std::string::npos) {
    return make_sentencepiece_tokenizer(parse_sentencepiece(read_file(path, limits.max_json_bytes), path, limits), {}, path);
  }
  // By its first bytes.
  const std::string bytes = read_file(path, limits.max_json_bytes);
  if (bytes.compare(0, 4, "GGUF") == 0) return read_gguf_tokenizer(*GgufFile::open(path, limits), limits);
  if (!bytes.empty() && bytes[0] == '{') return read_tokenizer_json(bytes, path, limits);
  if (!bytes.empty() && bytes[0] == '\n')
    return make_sentencepiece_tokenizer(parse_sentencepiece(bytes, path, limits), {}, path);
  invalid(path, "no tokenizer known: need tokenizer.json, .gguf, .tiktoken, .model or vocab.txt");
}

// The one file of this folder with that ending, or empty.
std::string only_file(const std::string& folder, std::string_view ending) {
  std::string found;
  for (const std::string& name : list_directory(folder)) {
    if (!name.ends_with(ending)) continue;
    if (!found.empty()) return {};
    found = join_path(folder, name);
  }
  return found;
}

constexpr const char* kSentencePieceNames[] = {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
                                               "sentencepiece.model", "spm.model"};

std::string file_in(const std::string& folder, const char* name) {
  std::string file = join_path(folder, name);
  return file_exists(file) ? file : std::string();
}

// Without a class of its own transformers pads with the token of tokenizer.json, where the configuration says nothing of it.
TokenizerConfig with_pad_token(TokenizerConfig config, const PipelineParts& parts) {
  const auto is = [](const char* name) { return [=](const auto& entry) { return entry.first == name; }; };
  auto& named = config.named;
  if (!parts.padding || std::any_of(named.begin(), named.end(), is("pad_token"))) return config;
  auto behind = named.begin();
  for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token"}) {
    const auto at = std::find_if(named.begin(), named.end(), is(name));
    if (at != named.end()) behind = std::max(behind, at + 1);
  }
  named.emplace(behind, "pad_token", special_token(parts.padding->pad_token));
  return config;
}

TokenizerPtr read_json_folder(const std::string& file, const TokenizerConfig& config, const Json& model_config,
                              const Limits& limits) {
  const std::string text = read_file(file, limits.max_json_bytes);
  const TokenizerClass known = choose_tokenizer_class(config, model_config, text.find("\"ByteLevel\"") != std::string::npos);
  Json tree = Json::parse(text, file, limits);
  const Json* const model = tree.find("model");
  if (model != nullptr && rebuilds(known, *model)) {
    return build(known.kind, completed(known.kind, config, file), std::move(tree), true, file, limits);
  }
  PipelineParts parts = parse_tokenizer_json(tree, file, limits);
  const TokenizerConfig named = known.kind == TokenizerKind::kGeneric ? with_pad_token(config, parts) : config;
  add_tokens(named, listed_tokens(config, tree, file), parts);
  return finish(std::move(parts), config);
}

TokenizerPtr read_vocabulary_folder(const std::string& path, const TokenizerConfig& config, const Json& model_config,
                                    const Limits& limits) {
  const TokenizerClass known = choose_tokenizer_class(config, model_config, false);
  const std::string words = file_in(path, "vocab.txt"), vocab = file_in(path, "vocab.json"),
                    merges = file_in(path, "merges.txt");
  std::string pieces;
  for (const char* name : kSentencePieceNames) {
    if (pieces.empty()) pieces = file_in(path, name);
  }
  const bool pair = !vocab.empty() && !merges.empty();
  if (pieces.empty() && !pair && words.empty()) return nullptr;
  TokenizerKind kind = known.kind;
  if (kind == TokenizerKind::kOther) {
    unsupported(path, "tokenizer class {} has rules of its own that are not known here: give the folder a tokenizer.json",
                known.name);
  }
  if (kind == TokenizerKind::kGeneric && pieces.empty()) kind = pair ? TokenizerKind::kGpt2 : TokenizerKind::kBert;
  if (kind == TokenizerKind::kGeneric || vocabulary_files(kind) == VocabularyFiles::kSentencePiece) {
    if (pieces.empty()) not_found(path, "tokenizer class {} needs a SentencePiece model: there is none", known.name);
    SentencePieceModel model = parse_sentencepiece(read_file(pieces, limits.max_bytes), pieces, limits);
    if (kind == TokenizerKind::kGeneric) return read_sentencepiece_folder(std::move(model), pieces, config);
    TokenizerConfig own = completed(kind, config, pieces, &model);
    Json tree = sentencepiece_tree(kind, own, model, pieces);
    return build(kind, std::move(own), std::move(tree), false, pieces, limits);
  }
  if (vocabulary_files(kind) == VocabularyFiles::kVocabTxt) {
    if (words.empty()) not_found(path, "tokenizer class {} needs vocab.txt: there is none", known.name);
    return build(kind, completed(kind, config, words), vocab_txt_tree(read_file(words, limits.max_json_bytes), words, limits),
                 false, words, limits);
  }
  if (!pair)
    not_found(path, "tokenizer class {} needs vocab.json and merges.txt: got {}", known.name,
              vocab.empty() ? "no vocab.json" : "no merges.txt");
  return build(kind, completed(kind, config, vocab), merges_tree(vocab, merges, limits), false, vocab, limits);
}

}  // namespace

TokenizerPtr load_tokenizer(const std::string& path, const TokenizerOptions& options) {
  if (!directory_exists(path)) {
    if (!file_exists(path)) not_found(path, "no such file or folder");
    return load_file(path, options);
  }
  const Limits& limits = options.limits;
  const TokenizerConfig config = load_tokenizer_config(path, limits);
  Json model_config;
  if (const std::string file = file_in(path, "config.json"); !file.empty())
    model_config = Json::parse(read_file(file, limits.max_json_bytes), file, limits);
  if (const std::string file = file_in(path, "tokenizer.json"); !file.empty())
    return read_json_folder(file, config, model_config, limits);
  if (TokenizerPtr read = read_vocabulary_folder(path, config, model_config, limits)) return read;
  for (const char* ending : {".tiktoken", ".gguf"}) {
    if (const std::string file = only_file(path, ending); !file.empty()) return load_file(file, options);
  }
  not_found(path,
            "no tokenizer: need tokenizer.json, tokenizer.model, vocab.json with merges.txt, vocab.txt, or one .tiktoken or "
            ".gguf file");
}

bool has_tokenizer(const std::string& path) {
  if (is_gguf(path)) return GgufFile::open(path)->find("tokenizer.ggml.tokens") != nullptr;
  if (!directory_exists(path)) return file_exists(path);
  if (file_exists(join_path(path, "tokenizer.json")) || file_exists(join_path(path, "vocab.txt"))) return true;
  for (const char* name : kSentencePieceNames) {
    if (file_exists(join_path(path, name))) return true;
  }
  if (file_exists(join_path(path, "vocab.json")) && file_exists(join_path(path, "merges.txt"))) return true;
  return !only_file(path, ".tiktoken").empty() || !only_file(path, ".gguf").empty();
}

}  // namespace pagoda
