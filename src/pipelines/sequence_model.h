// An encoder with its tokenizer: texts to rows, and the rows of many texts through one ragged pass.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer_config.h"
#include "models/labels.h"
#include "pipelines/loaded_model.h"
#include "pipelines/sentence_config.h"
#include "text/encoded_text.h"
#include "text/tokenizer.h"

namespace pagoda {

// Rows of one sequence, special tokens included.
struct SequenceInput {
  std::vector<int32_t> ids, type_ids;
  bool hidden = false;              // the last hidden states instead of logits
  std::vector<RowPooling> pooling;  // of the hidden states: one row made of them
  int64_t pooled_from = 0;          // the first row that is pooled
  bool layers = false;              // then what the folder's modules make of it (apply_layers)
  bool normalize = false;           // ... to length 1 where they say so
  bool all_rows = true;             // logits of every row; sequence classification has one row whatever stands here
  std::vector<int32_t> rows;        // else of these, ascending
};

struct SequenceOutput {
  int64_t rows = 0, columns = 0;
  std::vector<float> values;  // [rows, columns]
  const float* row(int64_t index) const { return values.data() + index * columns; }
};
void check_finite(const SequenceOutput& output);               // throws kInternal
std::vector<float> unit_vector(const SequenceOutput& output);  // the one row of a pooled input scaled to length 1

class SequenceModel {
 public:
  // name: a folder (of sentence-transformers too) or ORG/NAME. head: empty: the model's own.
  static std::shared_ptr<SequenceModel> open(const std::string& name, LoadOptions options, std::optional<Head> head);

  Model& model() const { return loaded_->model(); }
  LoadedModel& loaded() const { return *loaded_; }
  Head head() const { return model().head_kind(); }
  const Labels& labels() const { return labels_; }  // empty where the head has none
  const SentenceConfig& sentence() const { return sentence_; }
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  const TokenizerConfig& tokenizer_config() const { return tokenizer_config_; }
  std::optional<int32_t> mask_id() const { return mask_id_; }
  std::optional<int32_t> unk_id() const { return unk_id_; }
  std::optional<int32_t> cls_id() const { return cls_id_; }
  std::optional<int32_t> pad_id() const { return pad_id_; }
  // Most tokens of a sequence: the tokenizer's model_max_length and what the model has positions for.
  int64_t max_length() const { return max_length_; }
  // From now on longer ones are refused, and what is cut is cut to this. Throws kInvalidInput beyond the model's positions.
  void limit_length(int64_t most);

  // pair: null: one sequence.
  EncodedText encode(std::string_view text, const std::string* pair = nullptr) const { return encode(text, pair, false); }
  // With offsets, tokens and words, for tasks that read them.
  EncodedText encode_with_offsets(std::string_view text, const std::string* pair = nullptr) const {
    return encode(text, pair, true);
  }
  // Throws kInvalidInput for what is longer than the model.
  SequenceInput input_of(const Encoding& encoding) const;
  std::string decode(const std::vector<int32_t>& ids, bool skip_special_tokens) const;  // as transformers' decode
  StreamDecoder decoder(bool skip_special_tokens) const;                                // the same token by token

  int64_t num_values(const SequenceInput& input) const;  // of its output
  // All in few ragged passes. What comes out for one input does not depend on the others. One thread at a time.
  // check: called before each pass, and may throw.
  std::vector<SequenceOutput> run(const std::vector<const SequenceInput*>& inputs,
                                  const std::function<void()>& check = {}) const;

 private:
  SequenceModel() = default;
  EncodedText encode(std::string_view text, const std::string* pair, bool offsets) const;
  void read_labels_of(const std::string& path, const LoadOptions& options);
  void run_pass(const std::vector<const SequenceInput*>& inputs, SequenceOutput* outputs) const;
  std::unique_ptr<LoadedModel> loaded_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  TokenizerConfig tokenizer_config_;
  Labels labels_;
  SentenceConfig sentence_;
  std::optional<int32_t> mask_id_, unk_id_, cls_id_, pad_id_;
  int64_t max_length_ = 0;
  int64_t limit_ = 0;      // of limit_length(); 0: none
  bool types_ = true;      // the tokenizer gives token_type_ids
  int64_t num_types_ = 0;  // that the model has; 0: it does not look at them
};

// Pairs of one first text with many second ones: each text is encoded once, the first once for all.
class PairEncoder {
 public:
  // most: tokens of the first text at most, 0: all. What is cut to no more anyway is not copied for each pair.
  PairEncoder(const SequenceModel& model, std::string_view first, int64_t most = 0);
  // As SequenceModel::encode of the pair.
  EncodedText with(const std::string& second) const;

 private:
  const SequenceModel& model_;
  std::string first_text_;
  Encoding first_;
  EncodedText around_;  // a short pair, for its special tokens
};

// The text, in lower case where the folder of sentence-transformers wants that.
std::string sentence_text(const SequenceModel& model, std::string text);
// Most tokens of a sequence: its max_seq_length, where it says one, at most what the model takes.
int64_t sentence_length(const SequenceModel& model);

// How a text is to become one vector.
struct SentenceOptions {
  std::vector<RowPooling> pooling;
  bool layers = false, normalize = false;  // as in SequenceInput
  std::string prompt;                      // stands before the text
};
// All as the folder of sentence-transformers says; prompt_name: "": its default, which may be none.
SentenceOptions sentence_options(const SequenceModel& model, const std::string& prompt_name = "");
// The prompt and the text, in lower case where the folder wants that.
EncodedText encode_sentence(const SequenceModel& model, const std::string& text, const std::string& prompt);
// That text, cut as the caller wants it, as what its vector is made of.
SequenceInput sentence_input(const SequenceModel& model, const Encoding& encoding, const SentenceOptions& options);
// A text, cut to what the folder says.
SequenceInput sentence_input(const SequenceModel& model, const std::string& text, const SentenceOptions& options);

}  // namespace pagoda
