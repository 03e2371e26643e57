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
#include "formats/sentencepiece_tree.h"
#include "formats/tekken.h"
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
  config.set_texts();
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

// A SentencePiece model without a class.
TokenizerPtr read_sentencepiece_folder(const SentencePieceModel& model, const std::string& path, const TokenizerConfig& given,
                                       const Limits& limits) {
  TokenizerConfig config = completed_by_model(model, given);
  config.set_texts();
  TokenizerJsonOptions options;
  options.decimal_scores = false;
  PipelineParts parts = parse_tokenizer_json(sentencepiece_own_tree(model, config, path), path, limits, options);
  std::vector<std::pair<int64_t, AddedToken>> listed = config.added_tokens;
  for (auto& [id, token] : listed) {
    if (model.add_dummy_prefix) token.normalized = false;  // so that each text between them gets its own prefix
  }
  add_tokens(config, listed, parts);
  parts.post_processor = beginning_and_end(config, parts);
  return finish(std::move(parts), config);
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

// Where neither class nor configuration says anything of it, transformers pads with the token of tokenizer.json.
TokenizerConfig with_pad_token(TokenizerConfig config, const Json& tree, std::string_view where) {
  const Json* const padding = tree.find("padding");
  if (padding == nullptr || !padding->is_object()) return config;
  const std::string token = padding->get_string("pad_token", "", where);
  complete_names(config, {nullptr, nullptr, nullptr, nullptr, token.c_str()});
  return config;
}

// A folder with a tokenizer.json: its text as a tree, and what its class makes of it.
struct JsonFolder {
  std::string file;
  Json tree;
  TokenizerClass known;
  bool rebuilt = false;    // by the class's rules
  TokenizerConfig config;  // with the names of the class
};

JsonFolder open_json_folder(std::string file, const TokenizerConfig& config, const Json& model_config, const Limits& limits) {
  JsonFolder folder;
  folder.file = std::move(file);
  const std::string text = read_file(folder.file, limits.max_json_bytes);
  folder.known = choose_tokenizer_class(config, model_config, text.find("\"ByteLevel\"") != std::string::npos);
  folder.tree = Json::parse(text, folder.file, limits);
  const Json* const model = folder.tree.find("model");
  folder.rebuilt = model != nullptr && rebuilds(folder.known, *model);
  const TokenizerKind kind = folder.known.kind;
  folder.config = folder.rebuilt ? completed(kind, config, folder.file) : config;
  if (kind == TokenizerKind::kGeneric || (folder.rebuilt && kind == TokenizerKind::kLlama))
    folder.config = with_pad_token(std::move(folder.config), folder.tree, folder.file);
  return folder;
}

TokenizerPtr read_json_folder(JsonFolder folder, const Limits& limits) {
  if (folder.rebuilt)
    return build(folder.known.kind, std::move(folder.config), std::move(folder.tree), true, folder.file, limits);
  PipelineParts parts = parse_tokenizer_json(folder.tree, folder.file, limits);
  add_tokens(folder.config, listed_tokens(folder.config, folder.tree, folder.file), parts);
  return finish(std::move(parts), folder.config);
}

// A folder with vocabulary files alone: those that its class reads.
struct VocabularyFolder {
  std::string path, class_name;
  TokenizerKind kind;
  std::string words, vocab, merges, pieces;  // files; empty: not there
};

std::optional<VocabularyFolder> find_vocabulary(const std::string& path, const TokenizerConfig& config,
                                                const Json& model_config) {
  const TokenizerClass known = choose_tokenizer_class(config, model_config, false);
  VocabularyFolder folder{
      path, known.name, known.kind, file_in(path, "vocab.txt"), file_in(path, "vocab.json"), file_in(path, "merges.txt"), ""};
  for (const char* name : kSentencePieceNames) {
    if (folder.pieces.empty()) folder.pieces = file_in(path, name);
  }
  const bool pair = !folder.vocab.empty() && !folder.merges.empty();
  if (folder.pieces.empty() && !pair && folder.words.empty()) return std::nullopt;
  if (folder.kind == TokenizerKind::kGeneric && folder.pieces.empty())
    folder.kind = pair ? TokenizerKind::kGpt2 : TokenizerKind::kBert;
  return folder;
}

TokenizerPtr read_pieces(const VocabularyFolder& folder, const TokenizerConfig& config, const Limits& limits) {
  const std::string& file = folder.pieces;
  if (file.empty()) not_found(folder.path, "tokenizer class {} needs a SentencePiece model: there is none", folder.class_name);
  const SentencePieceModel model = parse_sentencepiece(read_file(file, limits.max_bytes), file, limits);
  if (folder.kind == TokenizerKind::kGeneric) return read_sentencepiece_folder(model, file, config, limits);
  TokenizerConfig own = completed(folder.kind, config, file, &model);
  Json tree = sentencepiece_tree(folder.kind, own, model, file);
  return build(folder.kind, std::move(own), std::move(tree), false, file, limits);
}

TokenizerPtr read_vocabulary_folder(const VocabularyFolder& folder, const TokenizerConfig& config, const Limits& limits) {
  const TokenizerKind kind = folder.kind;
  if (kind == TokenizerKind::kOther) {
    unsupported(folder.path,
                "tokenizer class {} has rules of its own that are not known here: give the folder a tokenizer.json",
                folder.class_name);
  }
  if (kind == TokenizerKind::kGeneric || vocabulary_files(kind) == VocabularyFiles::kSentencePiece)
    return read_pieces(folder, config, limits);
  if (vocabulary_files(kind) == VocabularyFiles::kVocabTxt) {
    const std::string& words = folder.words;
    if (words.empty()) not_found(folder.path, "tokenizer class {} needs vocab.txt: there is none", folder.class_name);
    return build(kind, completed(kind, config, words), vocab_txt_tree(read_file(words, limits.max_json_bytes), words, limits),
                 false, words, limits);
  }
  if (folder.vocab.empty() || folder.merges.empty())
    not_found(folder.path, "tokenizer class {} needs vocab.json and merges.txt: got {}", folder.class_name,
              folder.vocab.empty() ? "no vocab.json" : "no merges.txt");
  return build(kind, completed(kind, config, folder.vocab), merges_tree(folder.vocab, folder.merges, limits), false,
               folder.vocab, limits);
}

TokenizerPtr read_tekken_folder(const std::string& file, const TokenizerConfig& config, const Limits& limits) {
  const Json tekken = Json::parse(read_file(file, limits.max_json_bytes), file, limits);
  PipelineParts parts = parse_tokenizer_json(tekken_tree(tekken, file, limits), file, limits);
  add_tokens(config, config.added_tokens, parts);
  if (config.add_bos_token || config.add_eos_token) parts.post_processor = beginning_and_end(config, parts);
  return finish(std::move(parts), config);
}

// Mistral's file, where no class has another; empty: not there.
std::string find_tekken(const std::string& path, const TokenizerConfig& config, const Json& model_config) {
  const bool generic = choose_tokenizer_class(config, model_config, false).kind == TokenizerKind::kGeneric;
  return generic ? file_in(path, "tekken.json") : std::string();
}

Json read_model_config(const std::string& folder, const Limits& limits) {
  const std::string file = file_in(folder, "config.json");
  return file.empty() ? Json() : Json::parse(read_file(file, limits.max_json_bytes), file, limits);
}

TokenizerConfig with_class_names(const std::string& path, TokenizerConfig config, const Limits& limits) {
  const Json model_config = read_model_config(path, limits);
  if (std::string file = file_in(path, "tokenizer.json"); !file.empty())
    return open_json_folder(std::move(file), config, model_config, limits).config;
  const std::optional<VocabularyFolder> folder = find_vocabulary(path, config, model_config);
  if (!folder || !find_tekken(path, config, model_config).empty()) return config;
  if (folder->kind != TokenizerKind::kGeneric) return completed(folder->kind, std::move(config), path);
  return completed_by_model(parse_sentencepiece(read_file(folder->pieces, limits.max_bytes), folder->pieces, limits),
                            std::move(config));
}

}  // namespace

TokenizerPtr load_tokenizer(const std::string& path, const TokenizerOptions& options) {
  if (!directory_exists(path)) {
    if (!file_exists(path)) not_found(path, "no such file or folder");
    return load_file(path, options);
  }
  const Limits& limits = options.limits;
  const TokenizerConfig config = load_tokenizer_config(path, limits);
  const Json model_config = read_model_config(path, limits);
  if (std::string file = file_in(path, "tokenizer.json"); !file.empty())
    return read_json_folder(open_json_folder(std::move(file), config, model_config, limits), limits);
  if (const std::string file = find_tekken(path, config, model_config); !file.empty())
    return read_tekken_folder(file, config, limits);
  if (const auto folder = find_vocabulary(path, config, model_config)) return read_vocabulary_folder(*folder, config, limits);
  for (const char* ending : {".tiktoken", ".gguf"}) {
    if (const std::string file = only_file(path, ending); !file.empty()) return load_file(file, options);
  }
  not_found(path,
            "no tokenizer: need tokenizer.json, tekken.json, tokenizer.model, vocab.json with merges.txt, vocab.txt, or one "
            ".tiktoken or "
            ".gguf file");
}

TokenizerConfig load_complete_tokenizer_config(const std::string& path, const Limits& limits) {
  TokenizerConfig config = load_tokenizer_config(path, limits);
  if (directory_exists(path)) config = with_class_names(path, std::move(config), limits);
  config.set_texts();
  return config;
}

bool has_tokenizer(const std::string& path) {
  if (is_gguf(path)) return GgufFile::open(path)->find("tokenizer.ggml.tokens") != nullptr;
  if (!directory_exists(path)) return file_exists(path);
  for (const char* name : {"tokenizer.json", "tekken.json", "vocab.txt"}) {
    if (file_exists(join_path(path, name))) return true;
  }
  for (const char* name : kSentencePieceNames) {
    if (file_exists(join_path(path, name))) return true;
  }
  if (file_exists(join_path(path, "vocab.json")) && file_exists(join_path(path, "merges.txt"))) return true;
  return !only_file(path, ".tiktoken").empty() || !only_file(path, ".gguf").empty();
}

}  // namespace pagoda
