// Which reader a file or folder gets, and what a folder's configuration changes.
#include "formats/tokenizer_loader.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/utf8.h"
#include "formats/gguf.h"
#include "formats/sentencepiece.h"
#include "formats/tiktoken.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"

namespace pagoda {

namespace {

using TokenizerPtr = std::shared_ptr<const Tokenizer>;

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

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
  std::vector<post_processors::TemplatePiece> pieces;
  for (int sequence = 0; sequence < (pair ? 2 : 1); ++sequence) {
    if (before >= 0) pieces.push_back({-1, {{before_text, before}}, sequence});
    pieces.push_back({sequence, {}, sequence});
    if (after >= 0) pieces.push_back({-1, {{after_text, after}}, sequence});
  }
  return pieces;
}

int32_t find_id(const PipelineParts& parts, const std::string& token) {
  if (token.empty()) return -1;
  const int32_t id = parts.added.find(token);
  return id >= 0 ? id : parts.model->vocab().find(token);
}

// What transformers does with a folder's configuration once the tokenizer itself is there: tokens that it lacks are added, and
// a wish for beginning or end tokens replaces the post-processor.
void apply_config(const TokenizerConfig& config, PipelineParts& parts) {
  std::vector<AddedToken> missing;
  const auto known = [&](const std::string& content) {
    return parts.added.find(content) >= 0 ||
           std::any_of(missing.begin(), missing.end(), [&](const AddedToken& t) { return t.content == content; });
  };
  for (const auto& [id, token] : config.added_tokens) {
    const AddedToken* const have = parts.added.token(static_cast<int32_t>(std::min<int64_t>(id, Vocab::kMaxId)));
    if (have == nullptr || !(*have == token)) missing.push_back(token);
  }
  for (const std::vector<AddedToken>* list : {&config.named_tokens, &config.additional_tokens}) {
    for (const AddedToken& token : *list) {
      if (!known(token.content)) missing.push_back(token);
    }
  }
  for (AddedToken& token : missing) {
    for (const AddedToken& named : config.named_tokens) token.special = token.special || named.content == token.content;
  }
  if (!missing.empty()) parts.added.add(missing, *parts.model);
  const bool wished = config.add_bos_token.has_value() || config.add_eos_token.has_value();
  if (!wished) return;
  const int32_t bos = config.add_bos_token.value_or(false) ? find_id(parts, config.bos_token) : -1;
  const int32_t eos = config.add_eos_token.value_or(false) ? find_id(parts, config.eos_token) : -1;
  parts.post_processor = post_processors::pieces(around(bos, config.bos_token, eos, config.eos_token, false),
                                                 around(bos, config.bos_token, eos, config.eos_token, true));
}

AddedToken special_token(std::string content) {
  AddedToken token;
  token.content = std::move(content);
  token.special = true;
  token.normalized = false;
  return token;
}

std::string or_default(const std::string& text, const char* fallback) { return text.empty() ? std::string(fallback) : text; }

// transformers' defaults for BERT.
TokenizerPtr read_bert(std::string_view text, const TokenizerConfig& config, std::string_view where, const Limits& limits) {
  check_utf8(text, where);
  const std::vector<std::string> lines = lines_of(text);
  if (static_cast<int64_t>(lines.size()) > limits.max_items)
    invalid(where, "too many tokens: got {}, need at most {}", lines.size(), limits.max_items);
  if (lines.empty()) invalid(where, "no tokens in the file");
  Vocab vocab;
  vocab.reserve(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) vocab.add(lines[i], static_cast<int64_t>(i), where);
  WordPieceOptions options;
  options.unk_token = or_default(config.unk_token, "[UNK]");
  PipelineParts parts;
  normalizers::BertOptions bert;
  bert.lowercase = config.do_lower_case;
  if (config.raw.is_object()) {
    bert.handle_chinese_chars = config.raw.get_bool("tokenize_chinese_chars", true, where);
    const Json* strip = config.raw.find("strip_accents");
    if (strip != nullptr && strip->is_bool()) bert.strip_accents = strip->as_bool(where);
  }
  parts.normalizer = normalizers::bert(bert);
  parts.pre_tokenizer = pre_tokenizers::bert();
  parts.model = make_wordpiece(std::move(vocab), options);
  parts.decoder = decoders::wordpiece("##", true);
  const std::string sep = or_default(config.sep_token, "[SEP]"), cls = or_default(config.cls_token, "[CLS]");
  parts.added.add({special_token(options.unk_token), special_token(sep), special_token(or_default(config.pad_token, "[PAD]")),
                   special_token(cls), special_token(or_default(config.mask_token, "[MASK]"))},
                  *parts.model);
  parts.post_processor = post_processors::bert({cls, find_id(parts, cls)}, {sep, find_id(parts, sep)});
  return make_pipeline_tokenizer(std::move(parts));
}

// transformers' defaults for GPT-2 (and RoBERTa where the class says so).
TokenizerPtr read_gpt2(const std::string& vocab_path, const std::string& merges_path, const TokenizerConfig& config,
                       const Limits& limits) {
  const Json json = Json::parse(read_file(vocab_path, limits.max_json_bytes), vocab_path, limits);
  const Json::Object& object = json.as_object(vocab_path);
  if (static_cast<int64_t>(object.size()) > limits.max_items)
    invalid(vocab_path, "too many tokens: got {}, need at most {}", object.size(), limits.max_items);
  Vocab vocab;
  vocab.reserve(object.size());
  for (const JsonMember& member : object) vocab.add(member.key, member.value.as_int(vocab_path), vocab_path);
  const std::string text = read_file(merges_path, limits.max_json_bytes);
  check_utf8(text, merges_path);
  std::vector<Merge> merges;
  for (const std::string& line : lines_of(text)) {
    if (line.empty() || line.compare(0, 8, "#version") == 0) continue;
    const size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
      invalid(merges_path, "merge {}: got '{}', need two tokens with a space between", merges.size(), line.substr(0, 64));
    }
    merges.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  PipelineParts parts;
  BpeOptions options;
  options.raw_bytes = covers_all_bytes(vocab, "");
  const bool prefix_space = config.add_prefix_space.value_or(false);
  const std::shared_ptr<const Regex> pattern =
      Regex::compile(pre_tokenizers::kByteLevelPattern, PatternDialect::kOniguruma, vocab_path, limits);
  parts.pre_tokenizer = pre_tokenizers::byte_level(pattern, prefix_space, !options.raw_bytes);
  parts.model = make_bpe(std::move(vocab), merges, options, vocab_path);
  parts.decoder = decoders::byte_level();
  const bool roberta =
      config.tokenizer_class.find("Roberta") != std::string::npos || config.tokenizer_class.find("Bart") != std::string::npos;
  TokenizerConfig completed = config;
  std::vector<AddedToken> specials;
  if (roberta) {
    const std::string cls = or_default(config.cls_token, "<s>"), sep = or_default(config.sep_token, "</s>");
    AddedToken mask = special_token(or_default(config.mask_token, "<mask>"));
    mask.lstrip = true;
    specials = {special_token(cls), special_token(sep), special_token(or_default(config.unk_token, "<unk>")),
                special_token(or_default(config.pad_token, "<pad>")), mask};
    parts.added.add(specials, *parts.model);
    parts.post_processor = post_processors::roberta({cls, find_id(parts, cls)}, {sep, find_id(parts, sep)}, true, prefix_space);
  } else {
    completed.bos_token = or_default(config.bos_token, "<|endoftext|>");
    completed.eos_token = or_default(config.eos_token, "<|endoftext|>");
    specials = {special_token(completed.bos_token), special_token(completed.eos_token),
                special_token(or_default(config.unk_token, "<|endoftext|>"))};
    parts.added.add(specials, *parts.model);
  }
  apply_config(completed, parts);
  return make_pipeline_tokenizer(std::move(parts));
}

// A SentencePiece model in a folder: special tokens are looked for in the text, and put around it as its class does.
TokenizerPtr read_sentencepiece_folder(const std::string& path, const TokenizerConfig& config, const Limits& limits) {
  SentencePieceModel model = parse_sentencepiece(read_file(path, limits.max_bytes), path, limits);
  SentencePieceOptions options;
  const auto id_of = [&](const std::string& text) -> int32_t {
    for (size_t i = 0; i < model.pieces.size(); ++i) {
      if (model.pieces[i].text == text) return static_cast<int32_t>(i);
    }
    for (const auto& [id, token] : config.added_tokens) {
      if (token.content == text) return static_cast<int32_t>(id);
    }
    return -1;
  };
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePieceModel::Type type = model.pieces[i].type;
    if (type == SentencePieceModel::Type::kControl || type == SentencePieceModel::Type::kUnknown) {
      options.added.emplace_back(special_token(model.pieces[i].text), static_cast<int32_t>(i));
    }
  }
  for (const auto& [id, token] : config.added_tokens) {
    if (id > Vocab::kMaxId) invalid(path, "added_tokens_decoder: got id {}, need at most {}", id, Vocab::kMaxId);
    options.added.emplace_back(token, static_cast<int32_t>(id));
  }
  const bool t5 = config.tokenizer_class.find("T5") != std::string::npos;
  const bool brackets = config.tokenizer_class.find("Albert") != std::string::npos;  // [CLS] text [SEP]
  const bool fairseq = config.tokenizer_class.find("Roberta") != std::string::npos ||
                       config.tokenizer_class.find("MBart") != std::string::npos ||
                       config.tokenizer_class.find("Camembert") != std::string::npos;
  if (fairseq)
    unsupported(path, "tokenizer class {} renumbers its SentencePiece ids: give the folder a tokenizer.json",
                config.tokenizer_class);
  if (brackets) {
    options.bos_id = id_of(or_default(config.cls_token, "[CLS]"));
    options.eos_id = id_of(or_default(config.sep_token, "[SEP]"));
  } else {
    if (config.add_bos_token.value_or(!t5)) options.bos_id = id_of(or_default(config.bos_token, "<s>"));
    if (config.add_eos_token.value_or(t5)) options.eos_id = id_of(or_default(config.eos_token, "</s>"));
  }
  return make_sentencepiece_tokenizer(std::move(model), options, path);
}

TokenizerPtr load_file(const std::string& path, const TokenizerOptions& options) {
  const Limits& limits = options.limits;
  const std::string name = file_name(path);
  if (ends_with(name, ".gguf")) return read_gguf_tokenizer(*GgufFile::open(path, limits), limits);
  if (ends_with(name, ".json")) return read_tokenizer_json(read_file(path, limits.max_json_bytes), path, limits);
  if (ends_with(name, ".tiktoken")) return read_tiktoken(read_file(path, limits.max_json_bytes), options.pattern, path, limits);
  if (ends_with(name, ".txt")) return read_bert(read_file(path, limits.max_json_bytes), {}, path, limits);
  if (ends_with(name, ".model") || name.find(".model.") != std::string::npos) {
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
    if (!ends_with(name, ending)) continue;
    if (!found.empty()) return {};
    found = join_path(folder, name);
  }
  return found;
}

constexpr const char* kSentencePieceNames[] = {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
                                               "sentencepiece.model", "spm.model"};

}  // namespace

TokenizerPtr load_tokenizer(const std::string& path, const TokenizerOptions& options) {
  if (!directory_exists(path)) {
    if (!file_exists(path)) not_found(path, "no such file or folder");
    return load_file(path, options);
  }
  const Limits& limits = options.limits;
  const auto in_folder = [&](const char* name) {
    const std::string file = join_path(path, name);
    return file_exists(file) ? file : std::string();
  };
  const TokenizerConfig config = load_tokenizer_config(path, limits);
  if (const std::string file = in_folder("tokenizer.json"); !file.empty()) {
    PipelineParts parts = parse_tokenizer_json(Json::parse(read_file(file, limits.max_json_bytes), file, limits), file, limits);
    apply_config(config, parts);
    return make_pipeline_tokenizer(std::move(parts));
  }
  for (const char* name : kSentencePieceNames) {
    if (const std::string file = in_folder(name); !file.empty()) return read_sentencepiece_folder(file, config, limits);
  }
  const std::string vocab = in_folder("vocab.json"), merges = in_folder("merges.txt");
  if (!vocab.empty() && !merges.empty()) return read_gpt2(vocab, merges, config, limits);
  if (const std::string file = in_folder("vocab.txt"); !file.empty())
    return read_bert(read_file(file, limits.max_json_bytes), config, file, limits);
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
