// Norms, forward and backward.
#include "ops/norm.h"

#include "kernels/table.h"
#include "ops/check.h"
#include "ops/tape.h"

namespace pagoda::ops {

namespace {
DType statistics_dtype(const Tensor& x) { return x.dtype() == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

void check_norm(const char* op, const Tensor& x, const Tensor& weight) {
  check_shape(op, "x", x, {-1, -1});
  check_shape(op, "weight", weight, {x.dim(1)});
  check_dtype(op, "weight", weight, {statistics_dtype(x)});
}
}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, float eps) {
  check_norm("rms_norm", x, weight);
  Tensor y = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
  const bool grad = needs_grad({&x, &weight});
  Tensor rstd;
  if (grad) rstd = Tensor::empty(x.device(), statistics_dtype(x), {x.dim(0)});
  const Device& device = x.device();
  device.kernels->rms_norm(device.exec, x.view(), View{}, View{}, weight.view(), eps, y.view(), rstd.view());
  if (!grad) return y;
  return attach(y, {x, weight}, [x, weight, rstd](const Tensor& dy) {
    Tensor dx = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
    Tensor dweight = Tensor::zeros(x.device(), weight.dtype(), weight.dims());
    const Device& on = x.device();
    on.kernels->rms_norm_backward(on.exec, x.view(), weight.view(), rstd.view(), dy.view(), dx.view(), dweight.view());
    return std::vector<Tensor>{dx, dweight};
  });
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps) {
  check_norm("layer_norm", x, weight);
  if (bias) check_shape("layer_norm", "bias", bias, {x.dim(1)});
  Tensor y = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
  const bool grad = needs_grad({&x, &weight, &bias});
  Tensor mean, rstd;
  if (grad) {
    mean = Tensor::empty(x.device(), statistics_dtype(x), {x.dim(0)});
    rstd = Tensor::empty(x.device(), statistics_dtype(x), {x.dim(0)});
  }
  const Device& device = x.device();
  device.kernels->layer_norm(device.exec, x.view(), View{}, View{}, weight.view(), bias.view(), eps, y.view(), mean.view(),
                             rstd.view());
  if (!grad) return y;
  return attach(y, {x, weight, bias}, [x, weight, bias, mean, rstd](const Tensor& dy) {
    Tensor dx = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
    Tensor dweight = Tensor::zeros(x.device(), weight.dtype(), weight.dims());
    Tensor dbias;
    if (bias) dbias = Tensor::zeros(x.device(), bias.dtype(), bias.dims());
    const Device& on = x.device();
    on.kernels->layer_norm_backward(on.exec, x.view(), weight.view(), mean.view(), rstd.view(), dy.view(), dx.view(),
                                    dweight.view(), dbias.view());
    return std::vector<Tensor>{dx, dweight, dbias};
  });
}

}  // namespace pagoda::ops
