// Linear: parts, packing, and the two lives of a weight.
#include "nn/linear.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "nn/lora.h"
#include "ops/math.h"

namespace pagoda {

namespace {

// [in, out] -> [out, in] by blocks that fit the cache; elements of any plain size.
template <class T>
void transpose_into(const Tensor& from, const Tensor& to) {
  constexpr int64_t kBlock = 32;
  const int64_t rows = from.dim(0), columns = from.dim(1);
  const T* in = from.data<T>();
  T* out = to.data<T>();
  from.device().exec.pool->parallel_for(columns, kBlock, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = 0; r < rows; r += kBlock) {
      for (int64_t c = begin; c < end; ++c) {
        for (int64_t i = r; i < std::min(r + kBlock, rows); ++i) out[c * rows + i] = in[i * columns + c];
      }
    }
  });
}

Tensor transpose(const Tensor& from) {
  Tensor to = Tensor::empty(from.device(), from.dtype(), {from.dim(1), from.dim(0)});
  if (dtype_size(from.dtype()) == 2) {
    transpose_into<uint16_t>(from, to);
  } else {
    transpose_into<uint32_t>(from, to);
  }
  return to;
}

// The parameter as [out, in], moved out: in its file's coding where that is how the file has it.
PackedWeight::Source source_of(Device& device, Parameter& weight, bool transposed, DType compute) {
  std::shared_ptr<const EncodedTensor> encoded = weight.encoded;
  std::vector<int64_t> shape = weight.shape;
  if (encoded && transposed) {
    encoded = encoded->transposed();
    std::swap(shape[0], shape[1]);
  }
  if (!encoded) {
    const Tensor value = take(device, weight, compute);
    return {weight.name, transposed ? transpose(value) : value, nullptr, {}};
  }
  weight.encoded = nullptr;
  return {weight.name, {}, std::move(encoded), std::move(shape)};
}

}  // namespace

Linear::Linear(LinearSpec spec) : spec_(std::move(spec)) {
  for (const LinearSpec::Part& part : spec_.parts) {
    out_features_ += part.out_features;
    weights_.push_back({part.path + ".weight",
                        spec_.transposed ? std::vector<int64_t>{spec_.in_features, part.out_features}
                                         : std::vector<int64_t>{part.out_features, spec_.in_features},
                        spec_.init,
                        {}});
    low_rank_.emplace_back();
    weights_.back().copies = std::make_shared<ops::WeightCopies>();
    if (spec_.bias) biases_.push_back({part.path + ".bias", {part.out_features}, Init::kZeros, {}});
  }
}

void Linear::collect(std::vector<Parameter*>& parameters) {
  for (size_t i = 0; i < weights_.size(); ++i) {
    parameters.push_back(&weights_[i]);
    if (low_rank_[i]) {
      parameters.push_back(&low_rank_[i]->a);
      parameters.push_back(&low_rank_[i]->b);
      if (low_rank_[i]->magnitude.value) parameters.push_back(&low_rank_[i]->magnitude);
    }
    if (spec_.bias) parameters.push_back(&biases_[i]);
  }
}

void Linear::prepare(Device& device, DType compute) {
  if (!packed_) {
    std::vector<PackedWeight::Source> parts;
    for (Parameter& weight : weights_) parts.push_back(source_of(device, weight, spec_.transposed, compute));
    packed_ = PackedWeight::pack(device, compute, parts);
  }
  if (!spec_.bias) return;
  packed_bias_ = Tensor::empty(device, DType::kFloat32, {out_features_});
  int64_t begin = 0;
  for (Parameter& bias : biases_) {
    Tensor into = packed_bias_.slice(0, begin, begin + bias.shape[0]);
    device.kernels->cast(device.exec, bias.value.view(), into.view());
    begin += bias.shape[0];
    bias.value = Tensor();
  }
}

Tensor Linear::packed_forward(const Tensor& x, Activation activation, const Tensor& residual, DType out) const {
  return ops::linear(x, *packed_, {packed_bias_, activation, residual, out});
}

Tensor Linear::plain_forward(size_t part, const Tensor& x, DType out,
                             const std::shared_ptr<const ops::DropoutRows>& rows) const {
  const Parameter& weight = weights_[part];
  const Tensor bias = spec_.bias ? biases_[part].value : Tensor();
  const auto product = [&](const Tensor& of, bool with_bias) {
    const Tensor added = with_bias ? bias : Tensor();
    return of.dtype() != DType::kBFloat16
               ? ops::linear(of, weight.value, added, spec_.transposed)
               : ops::linear(of, weight.value, added, spec_.transposed, weight.copies, weight.version, out);
  };
  const LowRank* low_rank = low_rank_[part].get();
  if (low_rank == nullptr) return product(x, true);
  if (low_rank->magnitude.value) return low_rank->forward_dora(x, weight, spec_.transposed, bias, product, rows);
  const Tensor y = product(x, true);
  return ops::add(y, low_rank->forward(x, y.dtype(), rows));
}

Tensor Linear::forward(const Tensor& x, Activation activation, const Tensor& residual,
                       const std::shared_ptr<const ops::DropoutRows>& rows) const {
  if (packed_) return packed_forward(x, activation, residual, x.dtype());
  if (weights_.size() != 1)
    fail(ErrorKind::kInternal, "linear", "{}: joined parts have no plain weight: use forward_parts", weights_[0].name);
  Tensor y = plain_forward(0, x, x.dtype(), rows);
  if (activation != Activation::kNone) y = ops::activation(y, activation);
  return residual ? ops::add(y, residual) : y;
}

Tensor Linear::forward_dropped(const Tensor& x, const Tensor& residual, const std::shared_ptr<const ops::DropoutRows>& rows,
                               const ops::DropoutSite& dropout) const {
  if (rows == nullptr || dropout.p == 0) return forward(x, Activation::kNone, residual);
  return ops::add(ops::dropout(forward(x), dropout.p, rows, dropout.site), residual);
}

std::vector<Tensor> Linear::forward_parts(const Tensor& x) const {
  std::vector<Tensor> results;
  if (packed_) {
    const Tensor joined = packed_forward(x, Activation::kNone, {}, x.dtype());
    int64_t begin = 0;
    for (const LinearSpec::Part& part : spec_.parts) {
      results.push_back(joined.slice(1, begin, begin + part.out_features));
      begin += part.out_features;
    }
    return results;
  }
  for (size_t i = 0; i < weights_.size(); ++i) {
    results.push_back(plain_forward(i, x, x.dtype()));
  }
  return results;
}

Tensor Linear::forward_float32(const Tensor& x, const std::shared_ptr<const ops::DropoutRows>& rows) const {
  if (packed_) return packed_forward(x, Activation::kNone, {}, DType::kFloat32);
  return plain_forward(0, x, x.dtype() == DType::kBFloat16 ? DType::kFloat32 : x.dtype(), rows);
}

}  // namespace pagoda
