// Element-wise ops, forward and backward.
#include "ops/math.h"

#include <algorithm>
#include <vector>

#include "ops/check.h"
#include "ops/tape.h"

namespace pagoda::ops {

namespace {
// [T, ...] with strided rows as [T, width]: what row-wise kernels take. Other strides are an error of ours.
View rows_of(const Tensor& x) {
  View view = x.view();
  if (view.rank <= 2) return view;
  int64_t width = 1;
  for (int axis = view.rank - 1; axis > 0; --axis) {
    if (view.strides[axis] != width) invalid("rows", "only the first axis may be strided: got {}", shape_string(view));
    width *= view.dims[axis];
  }
  view.rank = 2;
  view.dims[1] = width;
  view.strides[1] = 1;
  return view;
}

// A contiguous copy of [T, heads, head_dim], head by head: heads may lie apart.
Tensor copy_heads(const Tensor& x) {
  Tensor y = Tensor::empty(x.device(), x.dtype(), x.dims());
  for (int64_t head = 0; head < x.dim(1); ++head) {
    const auto one = [&](View view) {
      view.data = static_cast<char*>(view.data) + head * view.strides[1] * dtype_size(view.dtype);
      view.rank = 2;
      view.dims[1] = view.dims[2];
      view.strides[1] = 1;
      return view;
    };
    x.device().kernels->cast(x.device().exec, one(x.view()), one(y.view()));
  }
  return y;
}
}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  check_shape("add", "a", a, {-1, -1});
  check_shape("add", "b", b, {a.dim(0), a.dim(1)});
  check_same_dtype("add", a, b);
  Tensor y = Tensor::empty(a.device(), a.dtype(), {a.dim(0), a.dim(1)});
  if (y.numel() > 0) a.device().kernels->add(a.device().exec, a.view(), b.view(), y.view());
  if (!needs_grad({&a, &b})) return y;
  return attach(y, {a, b}, [](const Tensor& dy) { return std::vector<Tensor>{dy, dy}; });
}

Tensor cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = Tensor::empty(x.device(), dtype, x.dims());
  if (y.numel() > 0) x.device().kernels->cast(x.device().exec, rows_of(x), rows_of(y));
  return y;
}

Tensor narrow(const Tensor& x, int64_t begin, int64_t end) {
  check_shape("narrow", "x", x, {-1, -1});
  Tensor y = x.slice(1, begin, end);
  if (!needs_grad({&x})) return y;
  return attach(y, {x}, [x, begin, end](const Tensor& dy) {
    Tensor dx = Tensor::zeros(x.device(), x.dtype(), x.dims());
    x.device().kernels->cast(x.device().exec, dy.view(), dx.slice(1, begin, end).view());
    return std::vector<Tensor>{dx};
  });
}

Tensor heads(const Tensor& x, int64_t begin, int64_t count, int64_t stride, int64_t head_dim) {
  check_shape("heads", "x", x, {-1, -1});
  Tensor y = x.heads(begin, count, stride, head_dim);
  if (!needs_grad({&x})) return y;
  const bool whole = begin == 0 && stride == head_dim && count * head_dim == x.dim(1);
  return attach(y, {x}, [x, begin, count, stride, head_dim, whole](const Tensor& dy) {
    if (whole && dy.is_contiguous()) return std::vector<Tensor>{dy.reshape({dy.dim(0), -1})};
    Tensor dx = Tensor::zeros(x.device(), x.dtype(), x.dims());
    const Device& on = x.device();
    for (int64_t head = 0; head < count; ++head) {
      View from = dy.view();
      from.rank = 2;
      from.data = static_cast<char*>(from.data) + head * from.strides[1] * dtype_size(from.dtype);
      from.dims[1] = head_dim;
      from.strides[1] = 1;
      on.kernels->cast(on.exec, from, dx.slice(1, begin + head * stride, begin + head * stride + head_dim).view());
    }
    return std::vector<Tensor>{dx};
  });
}

Tensor view_as(const Tensor& x, const std::vector<int64_t>& dims) {
  Tensor y = x.reshape(dims);
  if (!needs_grad({&x})) return y;
  return attach(y, {x}, [before = x.dims()](const Tensor& dy) { return std::vector<Tensor>{dy.reshape(before)}; });
}

Tensor activation(const Tensor& x, Activation kind) {
  check_shape("activation", "x", x, {-1, -1});
  Tensor y = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
  x.device().kernels->activation(x.device().exec, kind, x.view(), y.view());
  if (!needs_grad({&x})) return y;
  return attach(y, {x}, [x, kind](const Tensor& dy) {
    Tensor dx = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
    x.device().kernels->activation_backward(x.device().exec, kind, x.view(), dy.view(), dx.view());
    return std::vector<Tensor>{dx};
  });
}

Tensor gated_activation(const Tensor& gate, const Tensor& up, Activation kind) {
  check_shape("gated_activation", "gate", gate, {-1, -1});
  check_shape("gated_activation", "up", up, {gate.dim(0), gate.dim(1)});
  check_same_dtype("gated_activation", gate, up);
  Tensor y = Tensor::empty(gate.device(), gate.dtype(), {gate.dim(0), gate.dim(1)});
  const Device& device = gate.device();
  device.kernels->gated_activation(device.exec, kind, gate.view(), up.view(), y.view());
  if (!needs_grad({&gate, &up})) return y;
  return attach(y, {gate, up}, [gate, up, kind](const Tensor& dy) {
    Tensor dgate = Tensor::empty(gate.device(), gate.dtype(), {gate.dim(0), gate.dim(1)});
    Tensor dup = Tensor::like(dgate);
    const Device& on = gate.device();
    on.kernels->gated_activation_backward(on.exec, kind, gate.view(), up.view(), dy.view(), dgate.view(), dup.view());
    return std::vector<Tensor>{dgate, dup};
  });
}

namespace {
void check_ids(const Tensor& ids, int64_t vocabulary) {
  check_shape("embedding", "ids", ids, {-1});
  check_dtype("embedding", "ids", ids, {DType::kInt32});
  for (int64_t t = 0; t < ids.dim(0); ++t) {
    const int32_t id = ids.data<int32_t>()[t];
    if (id < 0 || id >= vocabulary) invalid("embedding", "id outside the table: got {}, need 0 to {}", id, vocabulary - 1);
  }
}
}  // namespace

Tensor int32_tensor(Device& device, std::span<const int32_t> values) {
  Tensor tensor = Tensor::empty(device, DType::kInt32, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.data<int32_t>());
  return tensor;
}

Tensor pick_rows(const Tensor& x, const std::vector<int32_t>& rows) {
  if (static_cast<int64_t>(rows.size()) == x.dim(0)) return x;
  return embedding(x, int32_tensor(x.device(), rows), x.dtype());
}

Tensor embedding(const PackedWeight& table, const Tensor& ids, DType out) {
  check_ids(ids, table.view().n);
  Tensor y = Tensor::empty(ids.device(), out, {ids.dim(0), table.view().k});
  ids.device().kernels->packed_embedding(ids.device().exec, table.view(), ids.view(), y.view());
  return y;
}

Tensor embedding(const Tensor& table, const Tensor& ids, DType out, std::optional<int64_t> padding_row) {
  check_shape("embedding", "table", table, {-1, -1});
  check_ids(ids, table.dim(0));
  Tensor y = Tensor::empty(table.device(), out, {ids.dim(0), table.dim(1)});
  const Device& device = table.device();
  device.kernels->embedding(device.exec, table.view(), ids.view(), y.view());
  if (!needs_grad({&table})) return y;
  return attach(y, {table}, [table, ids, padding_row](const Tensor& dy) {
    const Tensor before = table.grad_node() ? Tensor() : table.grad();  // a leaf's: added to in place, as few rows change
    const Tensor into = before ? before : Tensor::zeros(table.device(), table.dtype(), table.dims());
    // The row of padding keeps what it has, of a tied head.
    std::vector<uint8_t> kept(padding_row ? static_cast<size_t>(into.bytes() / into.dim(0)) : 0);
    uint8_t* row = static_cast<uint8_t*>(into.view().data) + padding_row.value_or(0) * static_cast<int64_t>(kept.size());
    std::copy(row, row + kept.size(), kept.begin());
    table.device().kernels->embedding_backward(table.device().exec, ids.view(), dy.view(), into.view());
    std::copy(kept.begin(), kept.end(), row);
    return std::vector<Tensor>{before ? Tensor() : into};
  });
}

Tensor rotary(const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryStyle style) {
  check_shape("rotary", "x", x, {-1, -1, -1});
  check_shape("rotary", "cos", cos, {x.dim(0), -1});
  check_shape("rotary", "sin", sin, {x.dim(0), cos.dim(1)});
  if (2 * cos.dim(1) > x.dim(2)) invalid("rotary", "turns {} dimensions: need at most head_dim {}", 2 * cos.dim(1), x.dim(2));
  const Device& device = x.device();
  if (!needs_grad({&x})) {
    device.kernels->rotary(device.exec, x.view(), cos.view(), sin.view(), style, false);
    return x;
  }
  Tensor y = copy_heads(x);
  device.kernels->rotary(device.exec, y.view(), cos.view(), sin.view(), style, false);
  return attach(y, {x}, [cos, sin, style](const Tensor& dy) {
    Tensor dx = copy_heads(dy);
    const Device& on = dy.device();
    on.kernels->rotary(on.exec, dx.view(), cos.view(), sin.view(), style, true);
    return std::vector<Tensor>{dx};
  });
}

Tensor softmax(const Tensor& x) {
  check_shape("softmax", "x", x, {-1, -1});
  Tensor y = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
  x.device().kernels->softmax(x.device().exec, x.view(), y.view());
  return y;
}

}  // namespace pagoda::ops
