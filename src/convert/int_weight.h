// Matrices as small integers with scales, and how integers and scales are chosen.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/dtype.h"

namespace pagoda {

struct IntCoding {
  int bits = 8;       // 4 or 8
  int64_t group = 0;  // columns that share a scale; 0: all of a row
  bool symmetric = true;
  DType scale_dtype = DType::kFloat32;  // scales are rounded to it before they are used
};

// w[n, k] = (codes[n, k] - zeros[n, g]) * scales[n, g], g = k / group.
struct IntWeight {
  int64_t n = 0, k = 0, group = 0, groups = 0;
  int bits = 8;
  std::vector<int8_t> codes;  // -2^(bits-1) to 2^(bits-1) - 1
  std::vector<float> scales;
  std::vector<int8_t> zeros;  // empty: symmetric
};

// NaN and infinite weights have no code: kInvalidInput, naming the tensor and the place. w: [n, k].
void check_finite(const std::string& name, const float* w, int64_t n, int64_t k);

// Each element to the nearest code, scales from each group's extremes as compressed-tensors' min-max observer has them.
// w: [n, k] of finite values (check_finite), k a multiple of the group.
IntWeight round_to_nearest(ThreadPool& pool, const float* w, int64_t n, int64_t k, const IntCoding& coding);

struct GptqOptions {
  double damp = 0.01;     // added to the diagonal, as a share of its mean
  bool act_order = true;  // columns in falling order of their inputs' power
};

// What rounding needs of a layer's inputs, made once for all matrices that they go through.
struct GptqInputs {
  std::vector<float> power;    // of each column
  std::vector<int64_t> order;  // of rounding
  std::vector<float> factor;   // [k, k] upper: its product with itself is the inverse of the damped hessian
};
// hessian: [k, k] sum of x x^T over the calibration inputs.
GptqInputs prepare_gptq(ThreadPool& pool, std::vector<float> hessian, int64_t k, const GptqOptions& options = {});

// Frantar et al. 2022 (GPTQ): columns are rounded one after another, each error spread over the columns not yet rounded so that
// the product with the inputs changes least. Scales are those that lose least by the inputs' power, among shrunken ranges; they
// are set before any column is rounded, so that the order of columns leaves the groups as they are. Columns that no input ever
// reached are rounded to the nearest.
IntWeight gptq(ThreadPool& pool, const float* w, int64_t n, int64_t k, const IntCoding& coding, const GptqInputs& inputs);

void decode(ThreadPool& pool, const IntWeight& weight, float* out);  // [n, k]

}  // namespace pagoda
