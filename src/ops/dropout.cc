// Dropout, forward and backward: the draws are made again in backward, so that no mask is kept.
#include "ops/dropout.h"

#include "kernels/table.h"
#include "ops/check.h"
#include "ops/tape.h"

namespace pagoda::ops {

namespace {

Tensor apply(const Tensor& x, float p, const DropoutRows& rows, uint32_t site) {
  Tensor y = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
  const DropoutSpec spec{p, rows.seed, rows.numbers.data(), site};
  x.device().kernels->dropout(x.device().exec, spec, x.view(), y.view());
  return y;
}

}  // namespace

std::shared_ptr<const DropoutRows> pick_dropout_rows(const std::shared_ptr<const DropoutRows>& rows,
                                                     const std::vector<int32_t>& chosen) {
  if (rows == nullptr) return nullptr;
  auto picked = std::make_shared<DropoutRows>();
  picked->seed = rows->seed;
  for (const int32_t row : chosen) picked->numbers.push_back(rows->numbers[static_cast<size_t>(row)]);
  return picked;
}

Tensor dropout(const Tensor& x, float p, const std::shared_ptr<const DropoutRows>& rows, uint32_t site) {
  if (rows == nullptr || p == 0) return x;
  if (!(p > 0 && p < 1)) invalid("dropout", "got a probability of {}, need 0 to below 1", p);
  check_shape("dropout", "x", x, {static_cast<int64_t>(rows->numbers.size()), -1});
  check_dtype("dropout", "x", x, {DType::kFloat32, DType::kBFloat16, DType::kFloat64});
  Tensor y = apply(x, p, *rows, site);
  if (!needs_grad({&x})) return y;
  return attach(y, {x}, [p, rows, site](const Tensor& dy) { return std::vector<Tensor>{apply(dy, p, *rows, site)}; });
}

}  // namespace pagoda::ops
