// Products: forward and backward on plain weights, forward on packed ones.
#include "ops/linear.h"

#include "ops/check.h"
#include "ops/math.h"
#include "ops/tape.h"

namespace pagoda::ops {

namespace {

void product(const Device& device, const View& x, const PackedView& w, const Epilogue& epilogue, const View& y) {
  const ProductKernel* kernel = device.kernels->find_product(w.format, x.dtype, x.dims[0]);
  if (kernel == nullptr)
    unsupported("linear", "no kernel on this device for {} activations on this weight format", dtype_name(x.dtype));
  if (x.dims[0] > 0) kernel->run(device.exec, x, w, epilogue, y);
}

View matrix(void* data, DType dtype, int64_t rows, int64_t columns) {
  View view;
  view.data = data;
  view.dtype = dtype;
  view.rank = 2;
  view.dims[0] = rows;
  view.dims[1] = columns;
  view.strides[0] = columns;
  view.strides[1] = 1;
  return view;
}

// c [m, n] (+)= a^T b of bfloat16 a [T, m], b [T, n], c float32.
void turned_product(const Device& device, const View& a, const View& b, bool add, const View& c) {
  const int64_t tokens = a.dims[0];
  const ArenaScope scope(*device.exec.scratch);
  // Not a power of two apart: rows of a tile would meet in few sets of a cache.
  const int64_t stride = tokens + 32;
  View turned = matrix(device.exec.scratch->allocate(a.dims[1] * stride * 2), DType::kBFloat16, a.dims[1], tokens);
  turned.strides[0] = stride;
  device.kernels->turn(device.exec, a, turned);
  const PackedView packed{device.exec.scratch->allocate(packed_bytes(WeightFormat::kBf16Pairs, b.dims[1], tokens)),
                          WeightFormat::kBf16Pairs, b.dims[1], tokens};
  device.kernels->pack_turned(device.exec, b, packed, 0);
  Epilogue epilogue;
  if (add) epilogue.residual = c;
  product(device, turned, packed, epilogue, c);
}

}  // namespace

const PackedView& WeightCopies::get(Copy& copy, const Tensor& weight, uint64_t version, bool turned) {
  if (copy.bytes && copy.version == version) return copy.view;
  const int64_t n = weight.dim(turned ? 1 : 0), k = weight.dim(turned ? 0 : 1);
  const Device& device = weight.device();
  if (!copy.bytes) {
    const int64_t bytes = packed_bytes(WeightFormat::kBf16Pairs, n, k);
    copy.bytes = Tensor::zeros(weight.device(), DType::kBFloat16, {bytes / 2});
    copy.view = {copy.bytes.view().data, WeightFormat::kBf16Pairs, n, k};
  }
  if (turned) {
    device.kernels->pack_turned(device.exec, weight.view(), copy.view, 0);
  } else {
    device.kernels->pack(device.exec, weight.view(), copy.view, 0);
  }
  copy.version = version;
  return copy.view;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool transposed,
              const std::shared_ptr<WeightCopies>& copies, uint64_t version, DType out) {
  check_dtype("linear", "x", x, {DType::kBFloat16});
  check_dtype("linear", "weight", weight, {DType::kFloat32});
  check_shape("linear", "x", x, {-1, -1});
  const int64_t k = x.dim(1), n = weight.rank() == 2 ? weight.dim(transposed ? 1 : 0) : 0;
  check_shape("linear", "weight", weight, {transposed ? k : n, transposed ? n : k});
  if (bias) {
    check_shape("linear", "bias", bias, {n});
    check_dtype("linear", "bias", bias, {DType::kFloat32});
  }
  Tensor y = Tensor::empty(x.device(), out, {x.dim(0), n});
  Epilogue epilogue;
  epilogue.bias = bias.view();
  product(x.device(), x.view(), transposed ? copies->turned(weight, version) : copies->upright(weight, version), epilogue,
          y.view());
  if (!needs_grad({&x, &weight, &bias})) return y;
  return attach(y, {x, weight, bias}, [x, weight, bias, transposed, copies, version](const Tensor& grad) {
    const Device& on = grad.device();
    const Tensor dy = cast(grad, DType::kBFloat16);
    Tensor dx, dweight, dbias;
    if (weight.requires_grad()) {
      const Tensor before = weight.grad_node() ? Tensor() : weight.grad();
      const Tensor into = before ? before : Tensor::empty(weight.device(), weight.dtype(), weight.dims());
      const Tensor &rows = transposed ? x : dy, &columns = transposed ? dy : x;
      turned_product(on, rows.view(), columns.view(), before.is_defined(), into.view());
      if (!before) dweight = into;
    }
    if (bias && bias.requires_grad()) {
      dbias = Tensor::zeros(bias.device(), bias.dtype(), bias.dims());
      on.kernels->bias_backward(on.exec, dy.view(), dbias.view());
    }
    if (x.requires_grad()) {
      dx = Tensor::empty(x.device(), x.dtype(), x.dims());
      product(on, dy.view(), transposed ? copies->upright(weight, version) : copies->turned(weight, version), {}, dx.view());
    }
    return std::vector<Tensor>{dx, dweight, dbias};
  });
}

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
    View rows = y.view();  // the bias again and again
    rows.data = bias.view().data;
    rows.strides[0] = 0;
    kernels.cast(device.exec, rows, y.view());
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
  check_shape("linear", "x", x, {-1, weight.k()});
  check_dtype("linear", "x", x, {DType::kFloat32, DType::kBFloat16});
  Tensor y = Tensor::empty(x.device(), options.out, {x.dim(0), weight.n()});
  if (options.bias) {
    check_shape("linear", "bias", options.bias, {weight.n()});
    check_dtype("linear", "bias", options.bias, {DType::kFloat32});
  }
  if (options.residual) {
    check_shape("linear", "residual", options.residual, {x.dim(0), weight.n()});
    check_same_dtype("linear", options.residual, y);
  }
  const auto columns = [](View view, int axis, int64_t begin, int64_t count) {
    if (!view) return view;
    view.data = static_cast<char*>(view.data) + begin * dtype_size(view.dtype);
    view.dims[axis] = count;
    return view;
  };
  int64_t begin = 0;
  for (const PackedView& w : weight.views()) {
    product(x.device(), x.view(), w,
            {columns(options.bias.view(), 0, begin, w.n), options.activation, columns(options.residual.view(), 1, begin, w.n)},
            columns(y.view(), 1, begin, w.n));
    begin += w.n;
  }
  return y;
}

Tensor gated_linear(const Tensor& x, const PackedWeight& weight, const Tensor& bias, Activation activation) {
  const int64_t rows = x.dim(0), half = weight.n() / 2;
  const PackedView& w = weight.view();
  const ProductKernel* kernel =
      weight.views().size() == 1 ? x.device().kernels->find_product(w.format, x.dtype(), rows) : nullptr;
  if (kernel == nullptr || kernel->gated_rows == 0 || rows < kernel->gated_rows || x.dtype() != DType::kBFloat16 ||
      weight.n() % 32 != 0) {
    const Tensor joined = linear(x, weight, {bias, Activation::kNone, {}, x.dtype()});
    return gated_activation(joined.slice(1, 0, half), joined.slice(1, half, 2 * half), activation);
  }
  check_shape("linear", "x", x, {-1, weight.k()});
  Tensor y = Tensor::empty(x.device(), x.dtype(), {rows, half});
  Epilogue epilogue;
  epilogue.bias = bias.view();
  epilogue.activation = activation;
  epilogue.gated = true;
  kernel->run(x.device().exec, x.view(), w, epilogue, y.view());
  return y;
}

}  // namespace pagoda::ops
