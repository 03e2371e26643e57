// GGUF keeps vocabularies, not pipelines: the rest follows from the kind of model and the name of its pattern.
#include "formats/tokenizer_gguf.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/utf8.h"
#include "text/sentencepiece.h"

namespace pagoda {

namespace {

// ggml's token types.
enum TokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr size_t kLongestLeft = 256;  // bytes of a piece's left part

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kBloom = R"( ?[^(\s|[.,!?…。，、।۔،])]+)";
// Cased letters of DeepSeek's first pattern, which spells them as ranges.
constexpr const char* kDeepseekLetters =
    R"(\s?[)"
    R"(\x{41}-\x{5A}\x{61}-\x{7A}\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"
    R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-)"
    R"(\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5})"
    R"(\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A})"
    R"(\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B})"
    R"(\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC})"
    R"(\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107})"
    R"(\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139})"
    R"(\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-)"
    R"(\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-)"
    R"(\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-)"
    R"(\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943})"
    R"(]+)";
constexpr const char* kDeepseekPunctuation =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";
constexpr const char* kDeepseekAsian = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";

struct PatternSet {
  std::vector<const char*> names;
  std::vector<const char*> patterns;  // applied one after another, every match a piece of its own
  bool nfc = false;
  bool ignore_merges = false;
};

const std::vector<PatternSet>& pattern_sets() {
  static const std::vector<PatternSet> kSets = {
      {{"", "gpt-2", "gpt2", "phi-2", "jais", "trillion", "gigachat", "roberta-bpe", "jina-es", "jina-de", "jina-v1-en",
        "jina-v2-es", "jina-v2-de", "jina-v2-code", "granite-docling", "exaone4"},
       {kGpt2}},
      {{"mpt", "olmo"}, {kGpt2}, true},
      {{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"}, {R"(\p{N})", kGpt2}},
      {{"falcon"}, {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, "[0-9][0-9][0-9]"}},
      {{"default"}, {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
      {{"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"}, {kLlama3}, false, true},
      {{"dbrx", "smaug-bpe", "chatglm-bpe", "glm4", "tinyllama-llama3"}, {kLlama3}},
      {{"qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "kormo"}, {kQwen2}, true},
      {{"gpt-4o", "llama4", "o200k"}, {kO200k}},
      {{"tekken"}, {kTekken}, false, true},
      {{"bloom", "poro-chat", "gpt3-finnish"}, {kBloom}},
      {{"viking"}, {kBloom, R"(\p{N})"}},
      {{"deepseek-llm"}, {R"([\r\n])", kDeepseekLetters, kDeepseekPunctuation, R"(\s+$)", kDeepseekAsian, R"(\p{N}+)"}},
      {{"deepseek-coder"}, {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepseekAsian, R"(\p{N})"}},
      {{"deepseek-v3"},
       {R"(\p{N}{1,3})", R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)",
        R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
      {{"chameleon"},
       {R"(<sentinel:[0-9]+>)", R"((IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z)", "([\\t\\n]|    |  )", R"(\p{N})",
        R"([\p{P}!-/:-@\[-`{-~])", kGpt2}},
  };
  return kSets;
}

const PatternSet& pattern_set(const std::string& name, std::string_view where) {
  for (const PatternSet& set : pattern_sets()) {
    if (std::find(set.names.begin(), set.names.end(), name) != set.names.end()) return set;
  }
  std::string known;
  for (const std::string& each : known_gguf_patterns()) known += (known.empty() ? "" : ", ") + each;
  unsupported(where, "tokenizer.ggml.pre: got '{}', know {}", name, known);
}

class Reader {
 public:
  Reader(const GgufFile& file, const Limits& limits) : file_(file), limits_(limits), where_(file.where()) {
    const std::vector<std::string_view>* tokens = file.strings("tokenizer.ggml.tokens");
    if (tokens == nullptr) not_found(where_, "no tokenizer in the file: tokenizer.ggml.tokens is missing");
    tokens_ = *tokens;
    types_ = file.integers("tokenizer.ggml.token_type");
    if (!types_.empty() && types_.size() != tokens_.size())
      invalid(where_, "got {} token types for {} tokens", types_.size(), tokens_.size());
    bos_ = token_id("tokenizer.ggml.bos_token_id");
    eos_ = token_id("tokenizer.ggml.eos_token_id");
  }

  std::shared_ptr<const Tokenizer> read() const {
    const std::string model = file_.text("tokenizer.ggml.model", "");
    if (model == "gpt2") return gpt2();
    if (model == "llama") return sentencepiece(SentencePieceModel::Kind::kBpe);
    if (model == "t5") return sentencepiece(SentencePieceModel::Kind::kUnigram);
    if (model == "bert") return bert();
    unsupported(where_, "tokenizer.ggml.model: got '{}', know bert, gpt2, llama, t5", model);
  }

  Json tokenizer_json() const {
    const std::string model = file_.text("tokenizer.ggml.model", "");
    if (model == "gpt2") return gpt2_json();
    if (model == "llama") return sentencepiece_json();
    unsupported(where_, "tokenizer.ggml.model: got '{}', need gpt2 or llama for a tokenizer.json", model);
  }

 private:
  int32_t token_id(std::string_view key) const {
    const int64_t id = file_.integer(key, -1);
    if (id >= static_cast<int64_t>(tokens_.size())) invalid(where_, "{}: got {}, need less than {}", key, id, tokens_.size());
    return static_cast<int32_t>(std::max<int64_t>(id, -1));
  }
  int64_t type(size_t id) const { return types_.empty() ? int64_t{kNormal} : types_[id]; }
  std::string token(int32_t id) const { return std::string(tokens_[static_cast<size_t>(id)]); }

  Vocab vocab() const {
    Vocab vocab;
    vocab.reserve(tokens_.size());
    for (size_t i = 0; i < tokens_.size(); ++i) vocab.add(tokens_[i], static_cast<int64_t>(i), where_);
    return vocab;
  }

  AddedToken added(size_t id) const {
    AddedToken token;
    token.content = std::string(tokens_[id]);
    token.special = type(id) != kUserDefined;
    token.normalized = false;
    return token;
  }

  void add_special(PipelineParts& parts) const {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (type(i) == kControl || type(i) == kUserDefined) parts.added.add_with_id(added(i), static_cast<int32_t>(i));
    }
    using post_processors::TemplatePiece;
    std::vector<TemplatePiece> single, pair;
    const bool bos = bos_ >= 0 && file_.flag("tokenizer.ggml.add_bos_token", false);
    const bool eos = eos_ >= 0 && file_.flag("tokenizer.ggml.add_eos_token", false);
    for (int sequence = 0; sequence < 2; ++sequence) {
      if (bos) pair.push_back(TemplatePiece::of_token(token(bos_), bos_, sequence));
      pair.push_back(TemplatePiece::of_sequence(sequence, sequence));
      if (eos) pair.push_back(TemplatePiece::of_token(token(eos_), eos_, sequence));
      if (sequence == 0) single = pair;
    }
    parts.post_processor = post_processors::pieces(single, pair);
  }

  std::vector<Merge> gpt2_merges() const {
    const std::vector<std::string_view>* lines = file_.strings("tokenizer.ggml.merges");
    if (lines == nullptr) invalid(where_, "tokenizer.ggml.merges is missing");
    std::vector<Merge> merges;
    for (const std::string_view line : *lines) {
      const size_t space = line.find(' ', 1);
      if (space == std::string_view::npos)
        invalid(where_, "merge {}: got '{}', need two tokens with a space between", merges.size(), line.substr(0, 64));
      merges.push_back({std::string(line.substr(0, space)), std::string(line.substr(space + 1))});
    }
    return merges;
  }

  std::shared_ptr<const Tokenizer> gpt2() const {
    const PatternSet& set = pattern_set(file_.text("tokenizer.ggml.pre", ""), where_);
    const std::vector<Merge> merges = gpt2_merges();
    PipelineParts parts;
    if (set.nfc) parts.normalizer = normalizers::unicode_form(NormalForm::kNfc);
    std::vector<PreTokenizerPtr> steps;
    for (const char* pattern : set.patterns) {
      steps.push_back(pre_tokenizers::split(Regex::compile(pattern, PatternDialect::kOniguruma, where_, limits_),
                                            SplitBehavior::kIsolated, false));
    }
    Vocab tokens = vocab();
    BpeOptions options;
    options.raw_bytes = covers_all_bytes(tokens, "");
    options.ignore_merges = set.ignore_merges;
    steps.push_back(
        pre_tokenizers::byte_level(nullptr, file_.flag("tokenizer.ggml.add_space_prefix", false), !options.raw_bytes));
    parts.pre_tokenizer = pre_tokenizers::sequence(std::move(steps));
    parts.model = make_bpe(std::move(tokens), merges, options, where_);
    parts.decoder = decoders::byte_level();
    add_special(parts);
    return make_pipeline_tokenizer(std::move(parts));
  }

  // Some files mark the unknown token as a control token, or several tokens as unknown: there is one.
  int64_t unknown_piece() const {
    int64_t unknown = token_id("tokenizer.ggml.unknown_token_id");
    for (size_t i = 0; i < tokens_.size() && unknown < 0; ++i) {
      if (type(i) == kUnknown) unknown = static_cast<int64_t>(i);
    }
    return unknown;
  }
  int64_t piece_type(size_t id, int64_t unknown) const {
    if (static_cast<int64_t>(id) == unknown) return kUnknown;
    const int64_t kind = type(id);
    if (kind < kNormal || kind > kByte) return kNormal;
    return kind == kUnknown ? int64_t{kControl} : kind;
  }

  std::shared_ptr<const Tokenizer> sentencepiece(SentencePieceModel::Kind kind) const {
    const std::vector<float> scores = file_.floats("tokenizer.ggml.scores");
    if (scores.size() != tokens_.size()) invalid(where_, "got {} scores for {} tokens", scores.size(), tokens_.size());
    SentencePieceModel model;
    model.kind = kind;
    const bool t5 = kind == SentencePieceModel::Kind::kUnigram;
    model.add_dummy_prefix = file_.flag("tokenizer.ggml.add_space_prefix", true);
    model.remove_extra_whitespaces = file_.flag("tokenizer.ggml.remove_extra_whitespaces", t5);
    SentencePieceOptions options;
    size_t bytes = 0;
    const int64_t unknown = unknown_piece();
    for (size_t i = 0; i < tokens_.size(); ++i) {
      int64_t kind_of = piece_type(i, unknown);
      if (kind_of == kByte) ++bytes;
      if (kind_of == kControl || kind_of == kUserDefined || kind_of == kUnknown)
        options.added.emplace_back(added(i), static_cast<int32_t>(i));
      // A user-defined token is taken out before the model; inside it counts as normal text never made by merging.
      if (kind_of == kUserDefined) kind_of = kControl;
      model.pieces.push_back({std::string(tokens_[i]), scores[i], static_cast<SentencePieceModel::Type>(kind_of)});
    }
    model.byte_fallback = bytes == 256;
    const GgufValue* map = file_.find("tokenizer.ggml.precompiled_charsmap");
    if (map != nullptr) {
      if (!map->is_array_of(GgufValue::Type::kUint8) && !map->is_array_of(GgufValue::Type::kInt8))
        invalid(where_, "tokenizer.ggml.precompiled_charsmap: need an array of bytes");
      model.charsmap = Charsmap::parse(map->bytes, where_);
    }
    if (file_.flag("tokenizer.ggml.add_bos_token", !t5)) options.bos_id = bos_;
    if (file_.flag("tokenizer.ggml.add_eos_token", t5)) options.eos_id = eos_;
    return make_sentencepiece_tokenizer(std::move(model), options, where_);
  }

  // Word beginnings are marked with U+2581 here, continuations are bare: the reverse of a vocab.txt.
  std::shared_ptr<const Tokenizer> bert() const {
    constexpr std::string_view kMark = "\xE2\x96\x81";
    const bool marked = std::any_of(tokens_.begin(), tokens_.end(), [&](std::string_view t) {
      return t.size() > kMark.size() && t.substr(0, kMark.size()) == kMark;
    });
    Vocab tokens;
    tokens.reserve(tokens_.size());
    for (size_t i = 0; i < tokens_.size(); ++i) {
      std::string text(tokens_[i]);
      if (marked && text.compare(0, kMark.size(), kMark) == 0) {
        text.erase(0, kMark.size());
      } else if (marked && type(i) == kNormal) {
        text.insert(0, "##");
      }
      tokens.add(text, static_cast<int64_t>(i), where_);
    }
    PipelineParts parts;
    parts.normalizer = normalizers::bert({});
    parts.pre_tokenizer = pre_tokenizers::bert();
    WordPieceOptions options;
    const int32_t unknown = token_id("tokenizer.ggml.unknown_token_id");
    if (unknown >= 0) options.unk_token = token(unknown);
    parts.model = make_wordpiece(std::move(tokens), options, where_);
    parts.decoder = decoders::wordpiece("##", true);
    int32_t cls = token_id("tokenizer.ggml.cls_token_id"), sep = token_id("tokenizer.ggml.seperator_token_id");
    if (sep < 0) sep = token_id("tokenizer.ggml.separator_token_id");
    if (cls < 0) cls = bos_;
    if (sep < 0) sep = eos_;
    for (const char* key :
         {"tokenizer.ggml.padding_token_id", "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.mask_token_id"}) {
      const int32_t id = token_id(key);
      if (id >= 0) parts.added.add_with_id(added(static_cast<size_t>(id)), id);
    }
    for (const int32_t id : {cls, sep}) {
      if (id < 0) continue;
      AddedToken special = added(static_cast<size_t>(id));
      special.special = true;
      parts.added.add_with_id(special, id);
    }
    if (cls >= 0 && sep >= 0) parts.post_processor = post_processors::bert({token(cls), cls}, {token(sep), sep});
    return make_pipeline_tokenizer(std::move(parts));
  }

  static Json typed(const char* type) { return Json::object().set("type", type); }
  static Json list(std::initializer_list<Json> items) {
    Json array = Json::array();
    for (const Json& item : items) array.push_back(item);
    return array;
  }

  Json vocab_json() const {
    std::set<std::string_view> seen;
    Json json = Json::object();
    // set() looks a name up: written as a list of members the vocabulary stays linear.
    Json::Object& members = json.as_object("vocab");
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (!utf8_valid(tokens_[i])) unsupported(where_, "token {} is no UTF-8: tokenizer.json cannot hold it", i);
      if (!seen.insert(tokens_[i]).second)
        unsupported(where_, "token '{}' is there twice: tokenizer.json cannot hold it", tokens_[i]);
      members.push_back({std::string(tokens_[i]), static_cast<int64_t>(i)});
    }
    return json;
  }

  static Json merges_json(const std::vector<std::pair<std::string, std::string>>& merges) {
    Json json = Json::array();
    for (const auto& [left, right] : merges) json.push_back(list({left, right}));
    return json;
  }

  // `taken`: ids that are looked for in the text before the model sees it.
  Json added_json(const std::vector<size_t>& taken) const {
    Json json = Json::array();
    for (const size_t id : taken) {
      const AddedToken token = added(id);
      json.push_back(Json::object()
                         .set("id", static_cast<int64_t>(id))
                         .set("content", token.content)
                         .set("single_word", false)
                         .set("lstrip", false)
                         .set("rstrip", false)
                         .set("normalized", token.normalized)
                         .set("special", token.special));
    }
    return json;
  }

  Json template_json(bool bos, bool eos) const {
    Json single = Json::array(), pair = Json::array(), specials = Json::object();
    const auto special = [&](Json& pieces, int32_t id, int sequence) {
      pieces.push_back(Json::object().set("SpecialToken", Json::object().set("id", token(id)).set("type_id", sequence)));
      specials.set(token(id), Json::object().set("id", token(id)).set("ids", list({id})).set("tokens", list({token(id)})));
    };
    for (int sequence = 0; sequence < 2; ++sequence) {
      if (bos) special(pair, bos_, sequence);
      pair.push_back(
          Json::object().set("Sequence", Json::object().set("id", sequence == 0 ? "A" : "B").set("type_id", sequence)));
      if (eos) special(pair, eos_, sequence);
      if (sequence == 0) single = pair;
    }
    return typed("TemplateProcessing").set("single", single).set("pair", pair).set("special_tokens", specials);
  }

  static Json whole_json(Json added, Json normalizer, Json pre_tokenizer, Json post_processor, Json decoder, Json model) {
    return Json::object()
        .set("version", "1.0")
        .set("truncation", nullptr)
        .set("padding", nullptr)
        .set("added_tokens", std::move(added))
        .set("normalizer", std::move(normalizer))
        .set("pre_tokenizer", std::move(pre_tokenizer))
        .set("post_processor", std::move(post_processor))
        .set("decoder", std::move(decoder))
        .set("model", std::move(model));
  }

  static Json bpe_json(Json unk, bool fuse_unk, bool byte_fallback, bool ignore_merges, Json vocab, Json merges) {
    return typed("BPE")
        .set("dropout", nullptr)
        .set("unk_token", std::move(unk))
        .set("continuing_subword_prefix", nullptr)
        .set("end_of_word_suffix", nullptr)
        .set("fuse_unk", fuse_unk)
        .set("byte_fallback", byte_fallback)
        .set("ignore_merges", ignore_merges)
        .set("vocab", std::move(vocab))
        .set("merges", std::move(merges));
  }

  Json gpt2_json() const {
    const PatternSet& set = pattern_set(file_.text("tokenizer.ggml.pre", ""), where_);
    Json steps = Json::array();
    for (const char* pattern : set.patterns) {
      steps.push_back(
          typed("Split").set("pattern", Json::object().set("Regex", pattern)).set("behavior", "Isolated").set("invert", false));
    }
    const auto byte_level = [](bool prefix_space) {
      return typed("ByteLevel").set("add_prefix_space", prefix_space).set("trim_offsets", true).set("use_regex", false);
    };
    steps.push_back(byte_level(file_.flag("tokenizer.ggml.add_space_prefix", false)));
    std::vector<std::pair<std::string, std::string>> merges;
    for (const Merge& merge : gpt2_merges()) merges.emplace_back(merge.left, merge.right);
    std::vector<size_t> taken;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (type(i) == kControl || type(i) == kUserDefined) taken.push_back(i);
    }
    return whole_json(added_json(taken), set.nfc ? typed("NFC") : Json(),
                      typed("Sequence").set("pretokenizers", std::move(steps)),
                      template_json(bos_ >= 0 && file_.flag("tokenizer.ggml.add_bos_token", false),
                                    eos_ >= 0 && file_.flag("tokenizer.ggml.add_eos_token", false)),
                      byte_level(false), bpe_json(nullptr, false, false, set.ignore_merges, vocab_json(), merges_json(merges)));
  }

  // One character again and again.
  static bool is_run(std::string_view piece) {
    size_t pos = 0;
    const uint32_t first = utf8_next(piece, pos);
    while (pos < piece.size()) {
      if (utf8_next(piece, pos) != first) return false;
    }
    return true;
  }

  // SentencePiece joins the two neighbours whose union scores best, from the left where unions score the same: every way to
  // make a piece of two is a merge, ordered by the piece's score. Of one score are mostly runs of spaces: there the longer left
  // part goes first, so that a run grows from the left (transformers orders them so too). Other pieces of one score would be
  // joined from the left wherever they stand, which no order of merges says.
  std::vector<std::pair<std::string, std::string>> score_merges(const std::vector<float>& scores,
                                                                const std::vector<int64_t>& types) const {
    struct Split {
      size_t piece, left, right;
    };
    std::unordered_map<std::string_view, size_t> ids;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (types[i] == kNormal && utf8_valid(tokens_[i])) ids.emplace(tokens_[i], i);
    }
    std::vector<Split> splits;
    for (const auto& [piece, id] : ids) {
      for (size_t at = 1; at < piece.size() && at <= kLongestLeft; ++at) {
        if ((static_cast<unsigned char>(piece[at]) & 0xC0) == 0x80) continue;
        const auto left = ids.find(piece.substr(0, at)), right = ids.find(piece.substr(at));
        if (left != ids.end() && right != ids.end()) splits.push_back({id, left->second, right->second});
      }
    }
    std::sort(splits.begin(), splits.end(), [&](const Split& a, const Split& b) {
      if (scores[a.piece] != scores[b.piece]) return scores[a.piece] > scores[b.piece];
      const size_t left_a = tokens_[a.left].size(), left_b = tokens_[b.left].size();
      if (left_a != left_b) return left_a > left_b;
      const size_t right_a = tokens_[a.right].size(), right_b = tokens_[b.right].size();
      return right_a != right_b ? right_a > right_b : a.piece < b.piece;
    });
    std::vector<std::pair<std::string, std::string>> merges;
    for (size_t i = 0; i < splits.size(); ++i) {
      const std::string_view piece = tokens_[splits[i].piece];
      if (i > 0 && splits[i].piece != splits[i - 1].piece && scores[splits[i].piece] == scores[splits[i - 1].piece]) {
        const std::string_view before = tokens_[splits[i - 1].piece];
        if (!is_run(piece) || !is_run(before))
          unsupported(where_, "'{}' and '{}' have one score: their order as merges of a tokenizer.json is open", before, piece);
      }
      merges.emplace_back(tokens_[splits[i].left], tokens_[splits[i].right]);
    }
    return merges;
  }

  Json sentencepiece_json() const {
    constexpr const char* kMark = "\xE2\x96\x81";
    const std::vector<float> scores = file_.floats("tokenizer.ggml.scores");
    if (scores.size() != tokens_.size()) invalid(where_, "got {} scores for {} tokens", scores.size(), tokens_.size());
    if (file_.find("tokenizer.ggml.precompiled_charsmap") != nullptr ||
        file_.flag("tokenizer.ggml.remove_extra_whitespaces", false)) {
      unsupported(where_, "its normaliser has no form as tokenizer.json here");
    }
    const int64_t unknown = unknown_piece();
    std::vector<int64_t> types(tokens_.size());
    std::vector<size_t> taken;
    size_t bytes = 0;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      types[i] = piece_type(i, unknown);
      if (types[i] == kByte) ++bytes;
      if (types[i] == kControl || types[i] == kUserDefined || types[i] == kUnknown) taken.push_back(i);
    }
    const bool prefix = file_.flag("tokenizer.ggml.add_space_prefix", true);
    const auto replace = [](const char* from, const char* to) {
      return typed("Replace").set("pattern", Json::object().set("String", from)).set("content", to);
    };
    Json normalizers = Json::array();
    if (prefix) normalizers.push_back(typed("Prepend").set("prepend", kMark));
    normalizers.push_back(replace(" ", kMark));
    Json decoders = list({replace(kMark, " "), typed("ByteFallback"), typed("Fuse")});
    if (prefix) decoders.push_back(typed("Strip").set("content", " ").set("start", 1).set("stop", 0));
    return whole_json(added_json(taken), typed("Sequence").set("normalizers", std::move(normalizers)), nullptr,
                      template_json(bos_ >= 0 && file_.flag("tokenizer.ggml.add_bos_token", true),
                                    eos_ >= 0 && file_.flag("tokenizer.ggml.add_eos_token", false)),
                      typed("Sequence").set("decoders", std::move(decoders)),
                      bpe_json(unknown >= 0 ? Json(tokens_[static_cast<size_t>(unknown)]) : Json(), true, bytes == 256, false,
                               vocab_json(), merges_json(score_merges(scores, types))));
  }

  const GgufFile& file_;
  const Limits& limits_;
  std::string where_;
  std::vector<std::string_view> tokens_;
  std::vector<int64_t> types_;
  int32_t bos_ = -1, eos_ = -1;
};

}  // namespace

std::shared_ptr<const Tokenizer> read_gguf_tokenizer(const GgufFile& file, const Limits& limits) {
  return Reader(file, limits).read();
}

Json gguf_tokenizer_json(const GgufFile& file, const Limits& limits) { return Reader(file, limits).tokenizer_json(); }

std::vector<std::string> known_gguf_patterns() {
  std::vector<std::string> names;
  for (const PatternSet& set : pattern_sets()) {
    for (const char* name : set.names) {
      if (name[0] != '\0') names.emplace_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace pagoda
