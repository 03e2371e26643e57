// From the last hidden states of a prompt to one vector: what embeddings and scores are made of.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/pooling_params.h"
#include "tensor/tensor.h"

namespace pagoda {

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
