// The pipeline of Hugging Face's tokenizers: added tokens, normaliser, pre-tokenizer, model, post-processor; and decoding.
#include "text/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "text/is_bpe.h"

namespace pagoda {

Encoding Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  EncodeOptions options;
  options.add_special_tokens = add_special_tokens;
  options.offsets = true;
  return encode(text, options);
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second, bool add_special_tokens) const {
  EncodeOptions options;
  options.add_special_tokens = add_special_tokens;
  options.offsets = true;
  return encode_pair(first, second, options);
}

std::vector<int32_t> Tokenizer::encode_ids(std::string_view text, bool add_special_tokens) const {
  EncodeOptions options;
  options.add_special_tokens = add_special_tokens;
  return std::move(encode(text, options).ids);
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids, bool skip_special_tokens) const {
  StreamDecoder decoder(*this, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  text += decoder.finish();
  return text;
}

std::string Tokenizer::decode_tokens(const std::vector<std::string>& tokens) const {
  DecodeSink sink;
  const std::unique_ptr<DecodeStage> stage = decode_stage(&sink);
  std::string text;
  for (const std::string& token : tokens) {
    stage->put(token, true);
    text += sink.take();
  }
  stage->finish();
  return text + sink.take();
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens), sink_(std::make_unique<DecodeSink>()) {
  stage_ = tokenizer.decode_stage(sink_.get());
}

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens, bool clean_up)
    : owner_(std::move(tokenizer)),
      tokenizer_(owner_.get()),
      skip_special_tokens_(skip_special_tokens),
      sink_(std::make_unique<DecodeSink>()) {
  DecodeStage* last = sink_.get();
  if (clean_up) {
    clean_up_ = clean_up_decoder()->stage(last);
    last = clean_up_.get();
  }
  stage_ = tokenizer_->decode_stage(last);
}

StreamDecoder::StreamDecoder(const StreamDecoder& other)
    : owner_(other.owner_),
      tokenizer_(other.tokenizer_),
      skip_special_tokens_(other.skip_special_tokens_),
      sink_(std::make_unique<DecodeSink>()),
      clean_up_(other.clean_up_ ? other.clean_up_->copy(sink_.get()) : nullptr),
      stage_(other.stage_->copy(clean_up_ ? clean_up_.get() : sink_.get())),
      told_(other.told_) {}

std::string StreamDecoder::push(int32_t id) {
  std::string token;
  if (!tokenizer_->decode_token(id, skip_special_tokens_, token)) return {};
  stage_->put(token, true);
  return untold(sink_->take());
}

std::string StreamDecoder::finish() {
  stage_->finish();
  return untold(sink_->take());
}

void StreamDecoder::tell_no_more() { told_ = StreamDecoder(*this).finish(); }

std::string StreamDecoder::untold(std::string text) {
  if (told_.empty() || text.empty()) return text;
  const size_t same =
      static_cast<size_t>(std::mismatch(text.begin(), text.end(), told_.begin(), told_.end()).first - text.begin());
  if (same == text.size() || same == told_.size()) {
    told_.erase(0, same);
    return text.substr(same);
  }
  // Other bytes followed. Where a run of them is no text as a whole, each of the told ones became a character of its own.
  constexpr std::string_view kLost = "\xEF\xBF\xBD";
  size_t lost = 0;
  if (told_.find(kLost) == std::string::npos) {
    while (lost < told_.size() && text.compare(lost * kLost.size(), kLost.size(), kLost) == 0) ++lost;
  }
  told_.clear();
  return text.substr(lost * kLost.size());
}

ScratchPool::Lease::Lease(const ScratchPool& pool) : pool_(pool) {
  {
    const std::lock_guard<std::mutex> lock(pool_.mutex_);
    if (!pool_.free_.empty()) {
      scratch_ = std::move(pool_.free_.back());
      pool_.free_.pop_back();
    }
    // Room for all that are lent, so that giving back needs no memory.
    pool_.free_.reserve(pool_.free_.size() + pool_.lent_ + 1);
    ++pool_.lent_;
  }
  if (scratch_ == nullptr) scratch_ = std::make_unique<EncodeScratch>();
}

ScratchPool::Lease::~Lease() {
  const std::lock_guard<std::mutex> lock(pool_.mutex_);
  --pool_.lent_;
  pool_.free_.push_back(std::move(scratch_));
}

namespace {

// "<0x0A>": what a byte is called that no token covers.
bool spells_byte(std::string_view token) { return token.size() == 6 && token.substr(0, 3) == "<0x" && token.back() == '>'; }

constexpr size_t kMaxTextBytes = size_t{1} << 30;  // positions are 32 bits, and rewriting may grow the text

// Byte positions to code point positions.
class CharIndex {
 public:
  explicit CharIndex(std::string_view text) {
    ascii_ = std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    if (ascii_) return;
    index_.resize(text.size() + 1);
    uint32_t count = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) ++count;
      index_[i] = count - 1;
    }
    index_[text.size()] = count;
  }
  int64_t at(uint32_t byte) const { return ascii_ ? byte : byte < index_.size() ? index_[byte] : index_.back(); }

 private:
  bool ascii_;
  std::vector<uint32_t> index_;
};

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(PipelineParts parts) : parts_(std::move(parts)) { parts_.added.prepare(parts_.normalizer.get()); }

  Encoding encode(std::string_view text, const EncodeOptions& options) const override {
    std::vector<Encoding> encodings(1);
    encodings[0] = encode_one(text, 0, options);
    return finish(std::move(encodings), options);
  }

  Encoding encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options) const override {
    std::vector<Encoding> encodings(2);
    encodings[0] = encode_one(first, 0, options);
    encodings[1] = encode_one(second, 1, options);
    return finish(std::move(encodings), options);
  }

  int64_t vocab_size() const override {
    int64_t size = parts_.model->vocab_size();
    for (const auto& [id, token] : parts_.added.tokens()) {
      if (parts_.model->vocab().find(token.content) < 0) ++size;
    }
    return size;
  }
  int64_t id_limit() const override {
    return std::max<int64_t>(parts_.model->vocab().id_limit(), int64_t{parts_.added.largest_id()} + 1);
  }

  std::optional<int32_t> token_to_id(std::string_view token) const override {
    int32_t id = parts_.added.find(token);
    if (id < 0) id = parts_.model->vocab().find(token);
    if (id < 0) return std::nullopt;
    return id;
  }

  std::string id_to_token(int32_t id) const override {
    if (const std::string* text = parts_.added.text(id)) return *text;
    const std::string* token = parts_.model->vocab().token(id);
    return token == nullptr ? std::string() : *token;
  }

  bool is_special(int32_t id) const override {
    const AddedToken* token = parts_.added.token(id);
    return token != nullptr && parts_.added.is_special(token->content);
  }

  bool marks_subwords() const override { return parts_.model->marks_subwords(); }
  const TokenModel& model() const { return *parts_.model; }

  std::optional<std::string> token_bytes(int32_t id) const override {
    std::string token;
    if (!decode_token(id, true, token)) return std::nullopt;
    bool fused = false;
    (parts_.decoder != nullptr ? parts_.decoder : decoders::join(" "))->middle_bytes(token, fused);
    return token;
  }

 protected:
  std::unique_ptr<DecodeStage> decode_stage(DecodeStage* next) const override {
    return (parts_.decoder != nullptr ? parts_.decoder : decoders::join(" "))->stage(next);
  }

  bool decode_token(int32_t id, bool skip_special_tokens, std::string& token) const override {
    const std::string* const added = parts_.added.text(id);
    const std::string* const text = added != nullptr ? added : parts_.model->vocab().token(id);
    if (text == nullptr || (skip_special_tokens && parts_.added.is_special(*text))) return false;
    token = *text;
    return true;
  }

 private:
  Encoding encode_one(std::string_view text, int32_t type_id, const EncodeOptions& options) const {
    const size_t bad = utf8_invalid_at(text);
    if (bad != std::string_view::npos) invalid("tokenizer", "text is no valid UTF-8: got an ill-formed byte at {}", bad);
    if (text.size() > kMaxTextBytes)
      invalid("tokenizer", "text too long: got {} bytes, need at most {}", text.size(), kMaxTextBytes);
    const ScratchPool::Lease scratch(pool_);
    const bool track = options.offsets || parts_.always_track;
    PreTokenized pre;
    parts_.added.extract(text, parts_.normalizer.get(), track, pre, scratch->regex,
                         options.special_as_text || parts_.special_as_text);
    if (parts_.pre_tokenizer != nullptr) parts_.pre_tokenizer->apply(pre, scratch->regex);

    Encoding out;
    out.with_offsets = options.offsets;
    std::vector<ModelToken>& tokens = scratch->tokens;
    std::optional<CharIndex> index;
    if (options.offsets) index.emplace(text);
    int32_t word_id = -1;
    for (const PreTokenized::Piece& piece : pre.pieces) {
      ++word_id;
      const std::string_view word = std::string_view(pre.text).substr(piece.begin, piece.end - piece.begin);
      tokens.clear();
      if (piece.token >= 0) {
        tokens.push_back({piece.token, 0, piece.end - piece.begin});
      } else {
        parts_.model->tokenize(word, tokens, *scratch);
      }
      for (const ModelToken& token : tokens) out.ids.push_back(token.id);
      if (!options.offsets) continue;
      for (const ModelToken& token : tokens) {
        uint32_t begin = piece.shift + token.begin, end = piece.shift + token.end;
        if (token.begin < token.end && piece.begin + token.end <= pre.align.size()) {
          begin = pre.align[piece.begin + token.begin].begin;
          end = pre.align[piece.begin + token.end - 1].end;
        }
        out.offsets.emplace_back(index->at(begin), index->at(end));
        out.word_ids.push_back(word_id);
        const std::string* value = piece.token >= 0 ? nullptr : parts_.model->vocab().token(token.id);
        if (value != nullptr && parts_.model->value_is_surface() && !spells_byte(*value)) value = nullptr;
        out.tokens.push_back(value != nullptr ? *value : std::string(word.substr(token.begin, token.end - token.begin)));
      }
    }
    out.type_ids.assign(out.ids.size(), type_id);
    out.special_tokens_mask.assign(out.ids.size(), 0);
    out.attention_mask.assign(out.ids.size(), 1);
    return out;
  }

  Encoding finish(std::vector<Encoding> encodings, const EncodeOptions& options) const {
    const bool pair = encodings.size() > 1;
    if (options.truncate_and_pad && parts_.truncation) {
      const int64_t added =
          options.add_special_tokens && parts_.post_processor != nullptr ? parts_.post_processor->added_tokens(pair) : 0;
      truncate(encodings[0], pair ? &encodings[1] : nullptr, *parts_.truncation, added);
    }
    if (parts_.post_processor != nullptr) parts_.post_processor->process(encodings, options.add_special_tokens);
    Encoding out;
    if (!encodings.empty()) out = std::move(encodings[0]);
    for (size_t i = 1; i < encodings.size(); ++i) out.append(encodings[i]);
    out.with_offsets = options.offsets;
    if (options.truncate_and_pad && parts_.padding) pad(out, *parts_.padding);
    return out;
  }

  PipelineParts parts_;
  ScratchPool pool_;
};

}  // namespace

bool is_bpe(const Tokenizer& tokenizer) {
  const auto* pipeline = dynamic_cast<const PipelineTokenizer*>(&tokenizer);
  return pipeline != nullptr && is_bpe(pipeline->model());
}

std::shared_ptr<const Tokenizer> make_pipeline_tokenizer(PipelineParts parts) {
  return std::make_shared<PipelineTokenizer>(std::move(parts));
}

}  // namespace pagoda
