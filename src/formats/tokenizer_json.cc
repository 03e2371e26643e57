// tokenizer.json read field by field; defaults are those of the tokenizers library.
#include "formats/tokenizer_json.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/utf8.h"
#include "formats/base64.h"

namespace pagoda {

namespace {

uint32_t one_character(const Json& json, std::string_view key, std::string_view where) {
  const std::string text = json.at(key, where).as_string(where);
  size_t pos = 0;
  if (text.empty()) invalid(where, "{}: got an empty string, need one character", key);
  const uint32_t code = utf8_next(text, pos);
  if (pos != text.size()) invalid(where, "{}: got '{}', need one character", key, text);
  return code;
}

// The double that serde_json makes of the number's decimal digits: the digits as an integer, rounded, times or over a power of
// ten, rounded again. A last bit differs from the nearest double now and then, and Unigram's ties are decided by it.
double as_serde_reads(double exact) {
  const std::string text = fmt::format("{}", std::abs(exact));
  uint64_t digits = 0;
  int exponent = 0;
  size_t pos = 0;
  bool fraction = false;
  for (; pos < text.size() && text[pos] != 'e'; ++pos) {
    if (text[pos] == '.') {
      fraction = true;
      continue;
    }
    if (text[pos] < '0' || text[pos] > '9') return exact;           // inf, nan
    digits = digits * 10 + static_cast<uint64_t>(text[pos] - '0');  // the shortest spelling has at most 17
    if (fraction) --exponent;
  }
  if (pos < text.size()) exponent += std::atoi(text.c_str() + pos + 1);
  if (exponent < -308 || exponent > 308) return exact;
  const double power = static_cast<double>(std::pow(10.0L, std::abs(exponent)));
  const double value = exponent < 0 ? static_cast<double>(digits) / power : static_cast<double>(digits) * power;
  return std::signbit(exact) ? -value : value;
}

AddedToken added_token(const Json& json, std::string_view where) {
  AddedToken token;
  token.content = json.at("content", where).as_string(where);
  token.special = json.get_bool("special", false, where);
  token.single_word = json.get_bool("single_word", false, where);
  token.lstrip = json.get_bool("lstrip", false, where);
  token.rstrip = json.get_bool("rstrip", false, where);
  token.normalized = json.get_bool("normalized", true, where);
  return token;
}

class Reader {
 public:
  Reader(std::string_view where, const Limits& limits, const TokenizerJsonOptions& options)
      : where_(where), limits_(limits), options_(options) {}

  PipelineParts read(const Json& json) {
    if (!json.is_object()) invalid(where_, "wrong type: got {}, need an object", json.type_name());
    const std::string version = json.get_string("version", "1.0", where_);
    if (version != "1.0") invalid(where_, "unknown tokenizer version: got '{}', need '1.0'", version);
    PipelineParts parts;
    if (const Json* part = present(json, "normalizer")) parts.normalizer = normalizer(*part, 0);
    const Json* const pre = present(json, "pre_tokenizer");
    const bool raw = options_.fast_paths && raw_bytes_possible(pre, json.at("model", where_));
    if (pre != nullptr) parts.pre_tokenizer = pre_tokenizer(*pre, 0, raw);
    parts.model = model(json.at("model", where_), raw);
    if (const Json* part = present(json, "post_processor")) parts.post_processor = post_processor(*part, 0);
    if (const Json* part = present(json, "decoder")) parts.decoder = decoder(*part, 0);
    if (const Json* part = present(json, "truncation")) parts.truncation = truncation(*part);
    if (const Json* part = present(json, "padding")) parts.padding = padding(*part);
    parts.always_track = needs_origin_;
    if (const Json* list = present(json, "added_tokens")) {
      std::vector<AddedToken> tokens;
      for (const Json& token : list->as_array(path("added_tokens"))) tokens.push_back(added_token(token, path("added_tokens")));
      parts.added.add(tokens, *parts.model);
    }
    return parts;
  }

 private:
  static const Json* present(const Json& json, std::string_view key) {
    const Json* value = json.find(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }
  std::string path(std::string_view field) const { return fmt::format("{}: {}", where_, field); }
  void check_depth(int depth) const {
    if (depth > 32) invalid(where_, "sequences nested too deeply: need at most 32");
  }
  std::string type_of(const Json& json, std::string_view field) const {
    if (!json.is_object()) invalid(path(field), "wrong type: got {}, need an object with a type", json.type_name());
    return json.at("type", path(field)).as_string(path(field));
  }

  std::shared_ptr<const Regex> regex(const std::string& pattern, std::string_view field) const {
    return Regex::compile(pattern, PatternDialect::kOniguruma, path(field), limits_);
  }
  // {"String": s} or {"Regex": p}, or a bare string.
  std::shared_ptr<const Regex> pattern(const Json& json, std::string& literal, std::string_view field) const {
    const Json& value = json.at("pattern", path(field));
    if (value.is_string()) {
      literal = value.as_string(path(field));
      return nullptr;
    }
    if (const Json* text = value.find("String")) {
      literal = text->as_string(path(field));
      return nullptr;
    }
    return regex(value.at("Regex", path(field)).as_string(path(field)), field);
  }

  NormalizerPtr normalizer(const Json& json, int depth) {
    check_depth(depth);
    const std::string type = type_of(json, "normalizer"), where = path("normalizer");
    if (type == "Sequence") {
      std::vector<NormalizerPtr> steps;
      for (const Json& step : json.at("normalizers", where).as_array(where)) steps.push_back(normalizer(step, depth + 1));
      return normalizers::sequence(std::move(steps));
    }
    if (type == "NFC") return normalizers::unicode_form(NormalForm::kNfc);
    if (type == "NFD") return normalizers::unicode_form(NormalForm::kNfd);
    if (type == "NFKC") return normalizers::unicode_form(NormalForm::kNfkc);
    if (type == "NFKD") return normalizers::unicode_form(NormalForm::kNfkd);
    if (type == "Lowercase") return normalizers::lowercase();
    if (type == "Strip")
      return normalizers::strip(json.get_bool("strip_left", true, where), json.get_bool("strip_right", true, where));
    if (type == "StripAccents") return normalizers::strip_accents();
    if (type == "Nmt") return normalizers::nmt();
    if (type == "ByteLevel") return normalizers::byte_level();
    if (type == "Prepend") return normalizers::prepend(json.at("prepend", where).as_string(where));
    if (type == "Precompiled") {
      const Json& blob = json.at("precompiled_charsmap", where);
      return normalizers::precompiled(
          Charsmap::parse(blob.is_null() ? std::string() : decode_base64(blob.as_string(where), where), where));
    }
    if (type == "Replace") {
      std::string literal;
      const std::shared_ptr<const Regex> compiled = pattern(json, literal, "normalizer");
      const std::string content = json.at("content", where).as_string(where);
      return compiled != nullptr ? normalizers::replace(compiled, content) : normalizers::replace(literal, content);
    }
    if (type == "BertNormalizer") {
      normalizers::BertOptions bert;
      bert.clean_text = json.get_bool("clean_text", true, where);
      bert.handle_chinese_chars = json.get_bool("handle_chinese_chars", true, where);
      bert.lowercase = json.get_bool("lowercase", true, where);
      if (const Json* strip = present(json, "strip_accents")) bert.strip_accents = strip->as_bool(where);
      return normalizers::bert(bert);
    }
    invalid(where,
            "unknown type: got '{}', need one of BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, "
            "Prepend, Replace, Sequence, Strip, StripAccents",
            type);
  }

  static SplitBehavior behavior(const std::string& name, std::string_view where) {
    if (name == "Removed") return SplitBehavior::kRemoved;
    if (name == "Isolated") return SplitBehavior::kIsolated;
    if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
    if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
    if (name == "Contiguous") return SplitBehavior::kContiguous;
    invalid(where, "unknown behavior: got '{}', need Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous",
            name);
  }

  struct MetaspaceFields {
    uint32_t replacement;
    pre_tokenizers::PrependScheme scheme = pre_tokenizers::PrependScheme::kAlways;
    bool split = true;
  };
  static MetaspaceFields metaspace(const Json& json, std::string_view where) {
    MetaspaceFields fields{one_character(json, "replacement", where)};
    const std::string scheme = json.get_string("prepend_scheme", "always", where);
    if (scheme == "first") {
      fields.scheme = pre_tokenizers::PrependScheme::kFirst;
    } else if (scheme == "never") {
      fields.scheme = pre_tokenizers::PrependScheme::kNever;
    } else if (scheme != "always") {
      invalid(where, "unknown prepend_scheme: got '{}', need always, first or never", scheme);
    }
    if (!json.get_bool("add_prefix_space", true, where)) fields.scheme = pre_tokenizers::PrependScheme::kNever;
    fields.split = json.get_bool("split", true, where);
    return fields;
  }

  // `raw`: a ByteLevel at the end leaves the bytes to the model.
  PreTokenizerPtr pre_tokenizer(const Json& json, int depth, bool raw) {
    check_depth(depth);
    const std::string type = type_of(json, "pre_tokenizer"), where = path("pre_tokenizer");
    if (type == "Sequence") {
      std::vector<PreTokenizerPtr> steps;
      const Json::Array& list = json.at("pretokenizers", where).as_array(where);
      for (size_t i = 0; i < list.size(); ++i) steps.push_back(pre_tokenizer(list[i], depth + 1, raw && i + 1 == list.size()));
      return pre_tokenizers::sequence(std::move(steps));
    }
    if (type == "ByteLevel") {
      const bool use_regex = json.get_bool("use_regex", true, where);
      return pre_tokenizers::byte_level(use_regex ? regex(pre_tokenizers::kByteLevelPattern, "pre_tokenizer") : nullptr,
                                        json.get_bool("add_prefix_space", true, where), !raw);
    }
    if (type == "Split") {
      std::string literal;
      const std::shared_ptr<const Regex> compiled = pattern(json, literal, "pre_tokenizer");
      const SplitBehavior how = behavior(json.at("behavior", where).as_string(where), where);
      const bool invert = json.get_bool("invert", false, where);
      return compiled != nullptr ? pre_tokenizers::split(compiled, how, invert) : pre_tokenizers::split(literal, how, invert);
    }
    if (type == "Whitespace") return pre_tokenizers::whitespace();
    if (type == "WhitespaceSplit") return pre_tokenizers::whitespace_split();
    if (type == "BertPreTokenizer") return pre_tokenizers::bert();
    if (type == "UnicodeScripts") return pre_tokenizers::unicode_scripts();
    if (type == "Punctuation")
      return pre_tokenizers::punctuation(behavior(json.get_string("behavior", "Isolated", where), where));
    if (type == "Digits") return pre_tokenizers::digits(json.get_bool("individual_digits", false, where));
    if (type == "CharDelimiterSplit") return pre_tokenizers::char_delimiter(one_character(json, "delimiter", where));
    if (type == "FixedLength") {
      const int64_t length = json.get_int("length", 5, where);
      if (length < 1) invalid(where, "length: got {}, need at least 1", length);
      return pre_tokenizers::fixed_length(length);
    }
    if (type == "Metaspace") {
      const MetaspaceFields fields = metaspace(json, where);
      needs_origin_ = needs_origin_ || fields.scheme == pre_tokenizers::PrependScheme::kFirst;
      return pre_tokenizers::metaspace(fields.replacement, fields.scheme, fields.split);
    }
    invalid(
        where,
        "unknown type: got '{}', need one of BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, FixedLength, Metaspace, "
        "Punctuation, Sequence, Split, UnicodeScripts, Whitespace, WhitespaceSplit",
        type);
  }

  post_processors::Special special(const Json& json, std::string_view key, std::string_view where) const {
    const Json::Array& pair = json.at(key, where).as_array(where);
    if (pair.size() != 2) invalid(where, "{}: got {} values, need a token and its id", key, pair.size());
    return {pair[0].as_string(where), token_id(pair[1], where)};
  }
  static int32_t token_id(const Json& json, std::string_view where) {
    const int64_t id = json.as_int(where);
    if (id < 0 || id > Vocab::kMaxId) invalid(where, "token id out of range: got {}, need 0 to {}", id, Vocab::kMaxId);
    return static_cast<int32_t>(id);
  }

  using Specials = std::shared_ptr<const std::vector<post_processors::Special>>;

  // The special tokens of a template by their names.
  std::map<std::string_view, Specials> template_specials(const Json& json, std::string_view where) const {
    std::map<std::string_view, Specials> all;
    const Json* const named = json.find("special_tokens");
    if (named == nullptr) return all;
    for (const JsonMember& member : named->as_object(where)) {
      const Json::Array& ids = member.value.at("ids", where).as_array(where);
      const Json::Array& tokens = member.value.at("tokens", where).as_array(where);
      if (ids.size() != tokens.size()) {
        invalid(where, "special token '{}': got {} ids and {} tokens, need as many", member.key, ids.size(), tokens.size());
      }
      std::vector<post_processors::Special> specials;
      for (size_t i = 0; i < ids.size(); ++i) specials.push_back({tokens[i].as_string(where), token_id(ids[i], where)});
      all[member.key] = std::make_shared<const std::vector<post_processors::Special>>(std::move(specials));
    }
    return all;
  }

  std::vector<post_processors::TemplatePiece> template_pieces(const Json& json, std::string_view key,
                                                              const std::map<std::string_view, Specials>& specials,
                                                              std::string_view where) const {
    std::vector<post_processors::TemplatePiece> pieces;
    int64_t tokens = 0, bytes = 0;  // that it puts around every text
    for (const Json& item : json.at(key, where).as_array(where)) {
      post_processors::TemplatePiece piece;
      if (const Json* sequence = item.find("Sequence")) {
        const std::string id = sequence->at("id", where).as_string(where);
        if (id != "A" && id != "B") invalid(where, "{}: got sequence '{}', need A or B", key, id);
        piece.sequence = id == "A" ? 0 : 1;
        piece.type_id = token_id(sequence->at("type_id", where), where);
      } else {
        const Json& token = item.at("SpecialToken", where);
        const std::string id = token.at("id", where).as_string(where);
        piece.type_id = token_id(token.at("type_id", where), where);
        const auto known = specials.find(id);
        if (known == specials.end()) invalid(where, "{}: special token '{}' is not in special_tokens", key, id);
        piece.specials = known->second;
        for (const post_processors::Special& special : *piece.specials) {
          bytes += static_cast<int64_t>(special.token.size());
          if (++tokens > limits_.max_items || bytes > limits_.max_output_bytes) {
            invalid(where, "{}: too many special tokens: need at most {}, and {} bytes of them", key, limits_.max_items,
                    limits_.max_output_bytes);
          }
        }
      }
      pieces.push_back(std::move(piece));
    }
    return pieces;
  }

  PostProcessorPtr post_processor(const Json& json, int depth) {
    check_depth(depth);
    const std::string type = type_of(json, "post_processor"), where = path("post_processor");
    if (type == "Sequence") {
      std::vector<PostProcessorPtr> steps;
      for (const Json& step : json.at("processors", where).as_array(where)) steps.push_back(post_processor(step, depth + 1));
      return post_processors::sequence(std::move(steps));
    }
    if (type == "TemplateProcessing") {
      const std::map<std::string_view, Specials> specials = template_specials(json, where);
      return post_processors::pieces(template_pieces(json, "single", specials, where),
                                     template_pieces(json, "pair", specials, where));
    }
    if (type == "BertProcessing") return post_processors::bert(special(json, "cls", where), special(json, "sep", where));
    if (type == "RobertaProcessing") {
      return post_processors::roberta(special(json, "cls", where), special(json, "sep", where),
                                      json.get_bool("trim_offsets", true, where),
                                      json.get_bool("add_prefix_space", true, where));
    }
    if (type == "ByteLevel") {
      return post_processors::byte_level(json.get_bool("trim_offsets", true, where),
                                         json.get_bool("add_prefix_space", true, where));
    }
    invalid(where,
            "unknown type: got '{}', need one of BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing",
            type);
  }

  DecoderPtr decoder(const Json& json, int depth) {
    check_depth(depth);
    const std::string type = type_of(json, "decoder"), where = path("decoder");
    if (type == "Sequence") {
      std::vector<DecoderPtr> steps;
      for (const Json& step : json.at("decoders", where).as_array(where)) steps.push_back(decoder(step, depth + 1));
      return decoders::sequence(std::move(steps));
    }
    if (type == "ByteLevel") return decoders::byte_level();
    if (type == "ByteFallback") return decoders::byte_fallback();
    if (type == "Fuse") return decoders::fuse();
    if (type == "BPEDecoder") return decoders::bpe(json.get_string("suffix", "</w>", where));
    if (type == "WordPiece")
      return decoders::wordpiece(json.get_string("prefix", "##", where), json.get_bool("cleanup", true, where));
    if (type == "CTC") {
      return decoders::ctc(json.get_string("pad_token", "<pad>", where), json.get_string("word_delimiter_token", "|", where),
                           json.get_bool("cleanup", true, where));
    }
    if (type == "Metaspace") {
      const MetaspaceFields fields = metaspace(json, where);
      return decoders::metaspace(fields.replacement, fields.scheme != pre_tokenizers::PrependScheme::kNever);
    }
    if (type == "Replace") {
      std::string literal;
      const std::shared_ptr<const Regex> compiled = pattern(json, literal, "decoder");
      const std::string content = json.at("content", where).as_string(where);
      return compiled != nullptr ? decoders::replace(compiled, content) : decoders::replace(literal, content);
    }
    if (type == "Strip") {
      const int64_t start = json.get_int("start", 0, where), stop = json.get_int("stop", 0, where);
      if (start < 0 || stop < 0) invalid(where, "Strip: got start {} and stop {}, need at least 0", start, stop);
      return decoders::strip(one_character(json, "content", where), start, stop);
    }
    invalid(where,
            "unknown type: got '{}', need one of BPEDecoder, ByteFallback, ByteLevel, CTC, Fuse, Metaspace, Replace, Sequence, "
            "Strip, "
            "WordPiece",
            type);
  }

  static bool is_left(const Json& json, std::string_view where) {
    const std::string direction = json.get_string("direction", "Right", where);
    if (direction != "Left" && direction != "Right")
      invalid(where, "unknown direction: got '{}', need Left or Right", direction);
    return direction == "Left";
  }

  Truncation truncation(const Json& json) const {
    const std::string where = path("truncation");
    Truncation truncation;
    truncation.max_length = json.at("max_length", where).as_int(where);
    truncation.stride = json.get_int("stride", 0, where);
    truncation.left = is_left(json, where);
    if (truncation.max_length < 0 || truncation.stride < 0) {
      invalid(where, "got max_length {} and stride {}, need at least 0", truncation.max_length, truncation.stride);
    }
    const std::string strategy = json.get_string("strategy", "LongestFirst", where);
    if (strategy == "OnlyFirst") {
      truncation.strategy = Truncation::Strategy::kOnlyFirst;
    } else if (strategy == "OnlySecond") {
      truncation.strategy = Truncation::Strategy::kOnlySecond;
    } else if (strategy != "LongestFirst") {
      invalid(where, "unknown strategy: got '{}', need LongestFirst, OnlyFirst or OnlySecond", strategy);
    }
    return truncation;
  }

  Padding padding(const Json& json) const {
    const std::string where = path("padding");
    Padding padding;
    const Json& strategy = json.at("strategy", where);
    if (strategy.is_object()) {
      padding.length = strategy.at("Fixed", where).as_int(where);
      if (padding.length < 0 || padding.length > limits_.max_items) {
        invalid(where, "Fixed: got {}, need 0 to {}", padding.length, limits_.max_items);
      }
    } else if (strategy.as_string(where) != "BatchLongest") {
      invalid(where, "unknown strategy: got '{}', need BatchLongest or Fixed", strategy.as_string(where));
    }
    padding.multiple_of = json.get_int("pad_to_multiple_of", 0, where);
    if (padding.multiple_of < 0 || padding.multiple_of > limits_.max_items) {
      invalid(where, "pad_to_multiple_of: got {}, need 0 to {}", padding.multiple_of, limits_.max_items);
    }
    padding.pad_id = token_id(json.at("pad_id", where), where);
    padding.pad_type_id = token_id(json.at("pad_type_id", where), where);
    padding.pad_token = json.at("pad_token", where).as_string(where);
    padding.left = is_left(json, where);
    return padding;
  }

  static std::string model_type(const Json& json, std::string_view where) {
    if (const Json* type = present(json, "type")) return type->as_string(where);
    // Files of old carry no type.
    const Json* vocab = json.find("vocab");
    if (json.contains("merges")) return "BPE";
    if (vocab != nullptr && vocab->is_array()) return "Unigram";
    if (json.contains("continuing_subword_prefix") || json.contains("max_input_chars_per_word")) return "WordPiece";
    return "WordLevel";
  }

  Vocab vocab(const Json& json, std::string_view where) const {
    const Json::Object& object = json.at("vocab", where).as_object(path("model: vocab"));
    if (static_cast<int64_t>(object.size()) > limits_.max_items) {
      invalid(where, "vocabulary too large: got {} tokens, need at most {}", object.size(), limits_.max_items);
    }
    Vocab vocab;
    vocab.reserve(object.size());
    for (const JsonMember& member : object) {
      const int64_t id = member.value.as_int("model: vocab");
      if (id > limits_.max_items) invalid(where, "vocab: got id {}, need at most {}", id, limits_.max_items);
      vocab.add(member.key, id, where);
    }
    return vocab;
  }

  // Whether GPT-2's byte characters can be skipped: the last step maps bytes, and the model knows every such character.
  bool raw_bytes_possible(const Json* pre, const Json& model) const {
    if (pre == nullptr || !model.is_object() || model_type(model, where_) != "BPE") return false;
    for (int depth = 0; depth < 32; ++depth) {
      const std::string type = type_of(*pre, "pre_tokenizer");
      if (type == "ByteLevel") break;
      const Json* steps = type == "Sequence" ? pre->find("pretokenizers") : nullptr;
      if (steps == nullptr || !steps->is_array() || steps->size() == 0) return false;
      pre = &steps->as_array(where_).back();
    }
    if (!model.get_string("continuing_subword_prefix", "", where_).empty()) return false;
    const std::string suffix = model.get_string("end_of_word_suffix", "", where_);
    const Json* const tokens = model.find("vocab");
    if (tokens == nullptr || !tokens->is_object()) return false;
    Vocab small;  // what covers_all_bytes asks for
    for (const JsonMember& member : tokens->as_object(where_)) {
      if (member.key.size() <= 2 + suffix.size() && member.value.is_int()) small.add(member.key, 0, where_);
    }
    return covers_all_bytes(small, suffix);
  }

  ModelPtr model(const Json& json, bool raw) const {
    const std::string where = path("model");
    if (!json.is_object()) invalid(where, "wrong type: got {}, need an object", json.type_name());
    const std::string type = model_type(json, where);
    if (type == "BPE") return bpe(json, raw, where);
    if (type == "WordPiece") {
      WordPieceOptions options;
      options.unk_token = json.get_string("unk_token", "[UNK]", where);
      options.continuing_subword_prefix = json.get_string("continuing_subword_prefix", "##", where);
      options.max_input_chars_per_word = json.get_int("max_input_chars_per_word", 100, where);
      return make_wordpiece(vocab(json, where), options, where);
    }
    if (type == "WordLevel") return make_wordlevel(vocab(json, where), json.get_string("unk_token", "<unk>", where));
    if (type == "Unigram") {
      std::vector<UnigramPiece> pieces;
      for (const Json& item : json.at("vocab", where).as_array(where)) {
        const Json::Array& pair = item.as_array(where);
        if (pair.size() != 2) invalid(where, "vocab: got {} values, need a token and its score", pair.size());
        const double score = pair[1].as_double(where);
        pieces.push_back({pair[0].as_string(where), options_.decimal_scores ? as_serde_reads(score) : score});
      }
      std::optional<int64_t> unk_id;
      if (const Json* const id = present(json, "unk_id")) unk_id = id->as_int(where + ": unk_id");
      return make_unigram(std::move(pieces), unk_id, json.get_bool("byte_fallback", false, where), where);
    }
    invalid(where, "unknown type: got '{}', need BPE, WordPiece, WordLevel or Unigram", type);
  }

  ModelPtr bpe(const Json& json, bool raw, std::string_view where) const {
    const double dropout = json.get_double("dropout", 0, where);
    if (dropout != 0) unsupported(where, "dropout makes encodings random: got {}, need null or 0", dropout);
    BpeOptions options;
    options.unk_token = json.get_string("unk_token", "", where);
    options.continuing_subword_prefix = json.get_string("continuing_subword_prefix", "", where);
    options.end_of_word_suffix = json.get_string("end_of_word_suffix", "", where);
    options.fuse_unk = json.get_bool("fuse_unk", false, where);
    options.byte_fallback = json.get_bool("byte_fallback", false, where);
    options.ignore_merges = json.get_bool("ignore_merges", false, where);
    options.raw_bytes = raw;
    options.cut = options_.fast_paths;
    std::vector<Merge> merges;
    const Json::Array& list = json.at("merges", where).as_array(path("model: merges"));
    merges.reserve(list.size());
    for (const Json& item : list) {
      if (item.is_string()) {
        const std::string& line = item.as_string(where);
        if (line.compare(0, 8, "#version") == 0) continue;
        const size_t space = line.find(' ');
        if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
          invalid(where, "merge {}: got '{}', need two tokens with a space between", merges.size(), line);
        }
        merges.push_back({line.substr(0, space), line.substr(space + 1)});
        continue;
      }
      const Json::Array& pair = item.as_array(where);
      if (pair.size() != 2) invalid(where, "merge {}: got {} values, need two tokens", merges.size(), pair.size());
      merges.push_back({pair[0].as_string(where), pair[1].as_string(where)});
    }
    return make_bpe(vocab(json, where), merges, options, where);
  }

  std::string where_;
  const Limits& limits_;
  const TokenizerJsonOptions& options_;
  bool needs_origin_ = false;
};

}  // namespace

PipelineParts parse_tokenizer_json(const Json& json, std::string_view where, const Limits& limits,
                                   const TokenizerJsonOptions& options) {
  return Reader(where, limits, options).read(json);
}

std::vector<std::pair<int64_t, AddedToken>> json_added_tokens(const Json& json, std::string_view where) {
  const std::string field = fmt::format("{}: added_tokens", where);
  std::vector<std::pair<int64_t, AddedToken>> tokens;
  const Json* const list = json.find("added_tokens");
  if (list == nullptr || list->is_null()) return tokens;
  for (const Json& token : list->as_array(field)) tokens.emplace_back(token.get_int("id", 0, field), added_token(token, field));
  return tokens;
}

std::shared_ptr<const Tokenizer> read_tokenizer_json(std::string_view text, std::string_view where, const Limits& limits,
                                                     const TokenizerJsonOptions& options) {
  return make_pipeline_tokenizer(parse_tokenizer_json(Json::parse(text, where, limits), where, limits, options));
}

}  // namespace pagoda
