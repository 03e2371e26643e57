// Attention: checks, forward, backward.
#include "ops/attention.h"

#include "ops/check.h"
#include "ops/tape.h"

namespace pagoda::ops {

namespace {

void check_heads(const char* op, const Tensor& q, const Tensor& k, const Tensor& v) {
  check_shape(op, "q", q, {-1, -1, -1});
  check_shape(op, "k", k, {q.dim(0), -1, q.dim(2)});
  check_shape(op, "v", v, {q.dim(0), k.dim(1), -1});
  check_same_dtype(op, q, k);
  check_same_dtype(op, q, v);
  if (k.dim(1) == 0 || q.dim(1) % k.dim(1) != 0) {
    invalid(op, "heads do not divide: got {} query heads over {} key-value heads", q.dim(1), k.dim(1));
  }
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::shared_ptr<const std::vector<int32_t>>& starts,
                 const AttentionSpec& spec, const std::shared_ptr<const void>& owner) {
  check_heads("attention", q, k, v);
  if (starts->empty() || starts->back() != q.dim(0)) {
    invalid("attention", "sequences do not cover the rows: got {}, need {}", starts->empty() ? 0 : starts->back(), q.dim(0));
  }
  const RaggedRows rows{static_cast<int64_t>(starts->size()) - 1, starts->data()};
  Tensor out = Tensor::empty(q.device(), q.dtype(), {q.dim(0), q.dim(1), v.dim(2)});
  const bool grad = needs_grad({&q, &k, &v});
  Tensor lse;
  if (grad || spec.dropout > 0) {
    lse = Tensor::empty(q.device(), q.dtype() == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32, {q.dim(0), q.dim(1)});
  }
  const Device& device = q.device();
  device.kernels->attention(device.exec, spec, rows, q.view(), k.view(), v.view(), out.view(), lse.view());
  if (spec.dropout > 0) {
    device.kernels->attention_dropout(device.exec, spec, rows, q.view(), k.view(), v.view(), out.view(), lse.view());
  }
  if (!grad) return out;
  if (spec.sinks != nullptr) unsupported("attention", "no backward for attention sinks");
  return attach(out, {q, k, v}, [q, k, v, out, lse, starts, spec, owner](const Tensor& dout) {
    const RaggedRows sequences{static_cast<int64_t>(starts->size()) - 1, starts->data()};
    Tensor dq = Tensor::empty(q.device(), q.dtype(), q.dims()), dk = Tensor::empty(k.device(), k.dtype(), k.dims());
    Tensor dv = Tensor::empty(v.device(), v.dtype(), v.dims());
    const Device& on = q.device();
    on.kernels->attention_backward(on.exec, spec, sequences, q.view(), k.view(), v.view(), out.view(), lse.view(), dout.view(),
                                   dq.view(), dk.view(), dv.view());
    return std::vector<Tensor>{dq, dk, dv};
  });
}

Tensor attention_paged(const Tensor& q, const Tensor& k, const Tensor& v, const PagedKv& kv, const AttentionSpec& spec) {
  check_heads("attention_paged", q, k, v);
  check_shape("attention_paged", "k", k, {q.dim(0), kv.pages.num_key_value_heads, kv.pages.head_dim});
  check_shape("attention_paged", "v", v, {q.dim(0), kv.pages.num_key_value_heads, kv.pages.v_head_dim});
  const Device& device = q.device();
  device.kernels->cache_write(device.exec, kv.pages, k.view(), v.view(), kv.slots);
  Tensor out = Tensor::empty(q.device(), q.dtype(), {q.dim(0), q.dim(1), v.dim(2)});
  device.kernels->attention_paged(device.exec, spec, kv.rows, kv.pages, q.view(), out.view());
  return out;
}

}  // namespace pagoda::ops
