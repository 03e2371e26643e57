// From the last hidden states of a prompt to one vector: what embeddings and scores are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tensor/tensor.h"

namespace pagoda {

// Which rows: the last one, all of them, the first one. vLLM's names: LAST, MEAN, CLS.
enum class PoolingType : uint8_t { kLast, kMean, kCls };

struct PoolingParams {
  std::optional<PoolingType> type;  // none: as the model has it, which for decoders is kLast
  int64_t dimensions = 0;           // > 0: the first so many values alone, cut before they are scaled (Matryoshka models)
  bool normalize = true;            // to length 1
};

// Takes the rows of one prompt as they are computed, chunk after chunk. A row that comes twice (after a preemption) counts
// once, and sums go by position: the result is the same whatever the chunks.
class Pooler {
 public:
  // length: tokens of the prompt.
  Pooler(const PoolingParams& params, int64_t length) : params_(params), length_(length) {}

  // Whether the prompt's first rows are needed, so that pages found in the cache do not stand for them.
  static bool needs_all(const PoolingParams& params) { return type_of(params) != PoolingType::kLast; }
  // `count` rows of hidden [T, hidden_size] (float32 or bfloat16) from `row` on are those of positions from `from` on.
  void take(const Tensor& hidden, int64_t row, int64_t from, int64_t count);
  bool done() const { return seen_ == length_; }
  // The vector, once done. Throws kInternal for a value that is not finite.
  std::vector<float> finish() const;

 private:
  static PoolingType type_of(const PoolingParams& params) { return params.type.value_or(PoolingType::kLast); }
  PoolingParams params_;
  int64_t length_;
  int64_t seen_ = 0;         // positions before this were taken
  std::vector<double> sum_;  // of the rows that count, in order of positions
};

}  // namespace pagoda
