// Products: forward and backward on plain weights, forward on packed ones.
#include "ops/linear.h"

#include "ops/check.h"
#include "ops/tape.h"

namespace pagoda::ops {

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool transposed) {
  check_dtype("linear", "x", x, {DType::kFloat32, DType::kFloat64});
  check_same_dtype("linear", x, weight);
  check_shape("linear", "x", x, {-1, -1});
  const int64_t k = x.dim(1), n = weight.rank() == 2 ? weight.dim(transposed ? 1 : 0) : 0;
  check_shape("linear", "weight", weight, {transposed ? k : n, transposed ? n : k});
  Tensor y = Tensor::empty(x.device(), x.dtype(), {x.dim(0), n});
  const Device& device = x.device();
  const KernelTable& kernels = *device.kernels;
  if (bias) {
    check_shape("linear", "bias", bias, {n});
    check_same_dtype("linear", x, bias);
    for (int64_t t = 0; t < y.dim(0); ++t) {
      kernels.cast(device.exec, bias.view(), y.slice(0, t, t + 1).reshape({n}).view());
    }
  }
  kernels.gemm(device.exec, x.view(), false, weight.view(), !transposed, bias.is_defined(), y.view());
  if (!needs_grad({&x, &weight, &bias})) return y;
  return attach(y, {x, weight, bias}, [x, weight, bias, transposed](const Tensor& grad) {
    const Device& on = grad.device();
    Tensor dx, dweight, dbias;
    if (x.requires_grad()) {
      dx = Tensor::empty(x.device(), x.dtype(), x.dims());
      on.kernels->gemm(on.exec, grad.view(), false, weight.view(), transposed, false, dx.view());
    }
    if (weight.requires_grad()) {
      dweight = Tensor::empty(weight.device(), weight.dtype(), weight.dims());
      if (transposed) {
        on.kernels->gemm(on.exec, x.view(), true, grad.view(), false, false, dweight.view());
      } else {
        on.kernels->gemm(on.exec, grad.view(), true, x.view(), false, false, dweight.view());
      }
    }
    if (bias && bias.requires_grad()) {
      dbias = Tensor::zeros(bias.device(), bias.dtype(), bias.dims());
      on.kernels->bias_backward(on.exec, grad.view(), dbias.view());
    }
    return std::vector<Tensor>{dx, dweight, dbias};
  });
}

Tensor linear(const Tensor& x, const PackedWeight& weight, const LinearOptions& options) {
  const PackedView& w = weight.view();
  check_shape("linear", "x", x, {-1, w.k});
  check_dtype("linear", "x", x, {DType::kFloat32, DType::kBFloat16});
  Tensor y = Tensor::empty(x.device(), options.out, {x.dim(0), w.n});
  if (options.bias) {
    check_shape("linear", "bias", options.bias, {w.n});
    check_dtype("linear", "bias", options.bias, {DType::kFloat32});
  }
  if (options.residual) {
    check_shape("linear", "residual", options.residual, {x.dim(0), w.n});
    check_same_dtype("linear", options.residual, y);
  }
  const Device& device = x.device();
  const ProductKernel* kernel = device.kernels->find_product(w.format, x.dtype(), x.dim(0));
  if (kernel == nullptr)
    unsupported("linear", "no kernel on this device for {} activations on this weight format", dtype_name(x.dtype()));
  if (x.dim(0) > 0) {
    kernel->run(device.exec, x.view(), w, {options.bias.view(), options.activation, options.residual.view()}, y.view());
  }
  return y;
}

}  // namespace pagoda::ops
