// A tokenizer: text to token ids and back. Safe to use from many threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoders.h"
#include "text/encoding.h"
#include "text/model.h"
#include "text/normalizers.h"
#include "text/pre_tokenizers.h"

namespace pagoda {

struct EncodeOptions {
  bool add_special_tokens = true;
  bool offsets = false;          // fill Encoding::offsets and ::tokens
  bool truncate_and_pad = true;  // apply the file's own truncation and padding (transformers does not, tokenizers does)
  bool special_as_text = false;  // special tokens in the text are read as plain text
};

class StreamDecoder;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Invalid UTF-8 is kInvalidInput.
  virtual Encoding encode(std::string_view text, const EncodeOptions& options) const = 0;
  virtual Encoding encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options) const = 0;
  // Offsets and tokens filled.
  Encoding encode(std::string_view text, bool add_special_tokens) const;
  Encoding encode_pair(std::string_view first, std::string_view second, bool add_special_tokens) const;
  // Ids alone: the fast way.
  std::vector<int32_t> encode_ids(std::string_view text, bool add_special_tokens) const;

  // Ids that no token has are left out, as HF does.
  std::string decode(const std::vector<int32_t>& ids, bool skip_special_tokens) const;
  // Text of tokens as id_to_token spells them: transformers' convert_tokens_to_string.
  std::string decode_tokens(const std::vector<std::string>& tokens) const;

  virtual int64_t vocab_size() const = 0;  // added tokens included: largest id + 1 where ids have no gaps
  virtual int64_t id_limit() const = 0;    // largest id + 1
  virtual std::optional<int32_t> token_to_id(std::string_view token) const = 0;
  virtual std::string id_to_token(int32_t id) const = 0;  // empty: no such token
  virtual bool is_special(int32_t id) const = 0;
  // Tokens that go on with a word are marked ("##"): their spelling is longer than the text they stand for.
  virtual bool marks_subwords() const { return false; }
  // The raw bytes that the token adds in the middle of a text: a space for a word's begin, one byte of a character where the
  // token is no more. None where it stands for no text (control tokens, the unknown token, ids that no token has).
  virtual std::optional<std::string> token_bytes(int32_t id) const = 0;

 protected:
  friend class StreamDecoder;
  // The stages that turn tokens to text.
  virtual std::unique_ptr<DecodeStage> decode_stage(DecodeStage* next) const = 0;
  // What token `id` puts into the stages; false: nothing.
  virtual bool decode_token(int32_t id, bool skip_special_tokens, std::string& token) const = 0;
};

// Decoding token by token. All pushes and finish together give exactly decode() of all ids, and no push ends inside a
// character.
class StreamDecoder {
 public:
  // clean_up: transformers' clean_up_tokenization_spaces.
  StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens, bool clean_up = false);
  std::string push(int32_t id);
  std::string finish();  // what was held back; the decoder is spent then
  // What was pushed so far counts as told: what is held back of it does not come any more. (Where bytes that stand for no
  // character alone become a part of one, that comes whole.)
  void tell_no_more();
  StreamDecoder(const StreamDecoder& other);  // goes its own way from here on
  StreamDecoder& operator=(const StreamDecoder&) = delete;

 private:
  friend class Tokenizer;
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens);
  std::string untold(std::string text);
  std::shared_ptr<const Tokenizer> owner_;
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::unique_ptr<DecodeSink> sink_;
  std::unique_ptr<DecodeStage> clean_up_;  // may be null
  std::unique_ptr<DecodeStage> stage_;
  std::string told_;  // what is held back would be, were nothing to follow
};

// Lends working memory to encoding threads: one each, kept for the next.
class ScratchPool {
 public:
  class Lease {
   public:
    explicit Lease(const ScratchPool& pool);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    EncodeScratch& operator*() const { return *scratch_; }
    EncodeScratch* operator->() const { return scratch_.get(); }

   private:
    const ScratchPool& pool_;
    std::unique_ptr<EncodeScratch> scratch_;
  };

 private:
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<EncodeScratch>> free_;
  mutable size_t lent_ = 0;
};

// The parts of a Hugging Face tokenizer; null parts are left out.
struct PipelineParts {
  AddedVocabulary added;
  NormalizerPtr normalizer;
  PreTokenizerPtr pre_tokenizer;
  ModelPtr model;
  PostProcessorPtr post_processor;
  DecoderPtr decoder;
  std::optional<Truncation> truncation;
  std::optional<Padding> padding;
  bool always_track = false;     // a part needs to know where its text lies in the original
  bool special_as_text = false;  // special tokens in the text are read as plain text, whatever is asked
};

std::shared_ptr<const Tokenizer> make_pipeline_tokenizer(PipelineParts parts);

}  // namespace pagoda
