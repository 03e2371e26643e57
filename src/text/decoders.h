// Decoders of tokenizer.json: tokens back to text, as chains of stages that stream.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace pagoda {

// Takes tokens piece by piece and hands on what can no longer change. A token's text may come in several calls; `end` closes
// it.
class DecodeStage {
 public:
  explicit DecodeStage(DecodeStage* next) : next_(next) {}
  virtual ~DecodeStage() = default;
  virtual void put(std::string_view text, bool end) = 0;
  virtual void finish() { next_->finish(); }  // no more tokens
  // One that stands where this one does, before another `next`: answers that begin with one prompt decode it once.
  virtual std::unique_ptr<DecodeStage> copy(DecodeStage* next) const = 0;

 protected:
  DecodeStage* next_;
};

// A stage that is its values alone.
template <class Self, class Base = DecodeStage>
class PlainStage : public Base {
 public:
  using Base::Base;
  std::unique_ptr<DecodeStage> copy(DecodeStage* next) const override {
    auto made = std::make_unique<Self>(static_cast<const Self&>(*this));
    made->next_ = next;
    return made;
  }
};

// The last stage: collects the text.
class DecodeSink final : public DecodeStage {
 public:
  DecodeSink() : DecodeStage(nullptr) {}
  void put(std::string_view text, bool) override { text_ += text; }
  void finish() override {}
  std::unique_ptr<DecodeStage> copy(DecodeStage*) const override { return std::make_unique<DecodeSink>(*this); }
  std::string take() {
    std::string out;
    out.swap(text_);
    return out;
  }

 private:
  std::string text_;
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  // A fresh stage, or several that own one another; `next` must outlive it.
  virtual std::unique_ptr<DecodeStage> stage(DecodeStage* next) const = 0;
  // Turns a token into the raw bytes that it adds in the middle of a text (an unfinished character stays as it is). `fused`:
  // an earlier step made all tokens one, so that what happens at a token's ends no longer does.
  virtual void middle_bytes(std::string& token, bool& fused) const {
    (void)token;
    (void)fused;
  }
};

using DecoderPtr = std::shared_ptr<const Decoder>;

namespace decoders {

DecoderPtr sequence(std::vector<DecoderPtr> steps);
DecoderPtr byte_level();
DecoderPtr metaspace(uint32_t replacement, bool drops_first);  // drops_first: a replacement in the first token is no space
DecoderPtr wordpiece(std::string prefix, bool cleanup);
DecoderPtr bpe(std::string suffix);
DecoderPtr ctc(std::string pad_token, std::string word_delimiter, bool cleanup);
DecoderPtr replace(std::shared_ptr<const Regex> pattern, std::string content);
DecoderPtr replace(std::string literal, std::string content);
DecoderPtr fuse();
DecoderPtr strip(uint32_t content, int64_t start, int64_t stop);
DecoderPtr byte_fallback();
DecoderPtr join(std::string separator);  // what HF does without a decoder: tokens with spaces between

}  // namespace decoders

// transformers' clean_up_tokenization: drops the space before punctuation and English contractions.
DecoderPtr clean_up_decoder();

}  // namespace pagoda
