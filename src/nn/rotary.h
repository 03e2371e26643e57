// Rotary position embeddings: frequencies of every scaling that HF knows for these families, and the turn of each row.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/context.h"

namespace pagoda {

// HF's rope_parameters / rope_scaling (transformers/modeling_rope_utils.py).
struct RotaryConfig {
  enum class Type : uint8_t { kDefault, kLinear, kDynamic, kYarn, kLlama3 };
  Type type = Type::kDefault;
  double theta = 10000;
  int64_t dim = 0;  // of each head, from its first on; even
  double factor = 1;
  int64_t max_position_embeddings = 0;               // dynamic: where the base begins to grow
  int64_t original_max_position_embeddings = 0;      // yarn, llama3
  double attention_factor = 1;                       // yarn: multiplies cos and sin
  double beta_fast = 32, beta_slow = 1;              // yarn
  bool truncate = true;                              // yarn
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  std::vector<float> frequency_factors;              // [dim / 2] that frequencies are divided by (GGUF); empty: none
};

class Rotary {
 public:
  explicit Rotary(const RotaryConfig& config);
  struct Turns {
    Tensor cos, sin;  // [T, dim / 2] float32 (or `dtype`)
  };
  // dtype: float32, or float64 for the reference in double.
  Turns turns(Device& device, const Layout& layout, DType dtype) const;
  // [dim / 2], in float32 as HF computes them; seq_len matters to the dynamic type alone.
  std::vector<float> inverse_frequencies(int64_t seq_len) const;

 private:
  RotaryConfig config_;
  std::vector<float> frequencies_;
};

}  // namespace pagoda
