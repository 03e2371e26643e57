// What encoding a text gives, and the steps that finish it: truncation, special tokens, padding.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace pagoda {

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;
  std::vector<uint8_t> special_tokens_mask;  // 1: added by the post-processor or padding
  std::vector<uint8_t> attention_mask;       // 0: padding
  // Only where offsets were asked for:
  bool with_offsets = false;
  std::vector<std::pair<int64_t, int64_t>> offsets;  // code points of the input [begin, end)
  std::vector<std::string> tokens;
  std::vector<int32_t> word_ids;  // of each token's word in its own sequence, -1 of special tokens; empty: not known

  size_t size() const { return ids.size(); }
  void append(const Encoding& other);
};

struct Truncation {
  enum class Strategy { kLongestFirst, kOnlyFirst, kOnlySecond };
  int64_t max_length = 512;
  int64_t stride = 0;  // overlap of the parts cut off, which are not kept here
  Strategy strategy = Strategy::kLongestFirst;
  bool left = false;  // cut at the begin
};

struct Padding {
  int64_t length = -1;  // -1: the longest of the batch
  int64_t multiple_of = 0;
  int32_t pad_id = 0;
  int32_t pad_type_id = 0;
  std::string pad_token = "[PAD]";
  bool left = false;
};

// `pair` null: one sequence. Cuts so that both have at most `truncation.max_length - reserved` tokens together; below zero it
// cuts nothing, as Hugging Face's tokenizers do.
void truncate(Encoding& first, Encoding* pair, const Truncation& truncation, int64_t reserved);
void pad(Encoding& encoding, const Padding& padding);

// Post-processors work on one or two encodings, which are joined afterwards.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  virtual int64_t added_tokens(bool pair) const = 0;
  virtual void process(std::vector<Encoding>& encodings, bool add_special_tokens) const = 0;
};

using PostProcessorPtr = std::shared_ptr<const PostProcessor>;

namespace post_processors {

struct Special {
  std::string token;
  int32_t id;
};

// [CLS] A [SEP] B [SEP]; type ids 0 and 1.
PostProcessorPtr bert(Special cls, Special sep);
// <s> A </s> </s> B </s>; type ids 0.
PostProcessorPtr roberta(Special cls, Special sep, bool trim_offsets, bool add_prefix_space);
PostProcessorPtr byte_level(bool trim_offsets, bool add_prefix_space);
PostProcessorPtr sequence(std::vector<PostProcessorPtr> steps);

// A sequence, or tokens in between. Templates may name the same tokens any number of times, so pieces share them.
struct TemplatePiece {
  int sequence = -1;                                          // 0 A, 1 B, -1 special
  std::shared_ptr<const std::vector<Special>> specials = {};  // of a special piece
  int32_t type_id = 0;

  static TemplatePiece of_sequence(int sequence, int32_t type_id) { return {sequence, nullptr, type_id}; }
  static TemplatePiece of_token(std::string token, int32_t id, int32_t type_id) {
    return {-1, std::make_shared<const std::vector<Special>>(1, Special{std::move(token), id}), type_id};
  }
};
PostProcessorPtr pieces(std::vector<TemplatePiece> single, std::vector<TemplatePiece> pair);

}  // namespace post_processors
}  // namespace pagoda
