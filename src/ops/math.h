// Element-wise ops, activations, casts, column ranges, embeddings and rotary turns.
#pragma once

#include <optional>
#include <span>

#include "kernels/table.h"
#include "ops/packed_weight.h"
#include "tensor/tensor.h"

namespace pagoda::ops {

Tensor add(const Tensor& a, const Tensor& b);  // [T, H] both; differentiable
Tensor cast(const Tensor& x, DType dtype);     // no gradient; x itself if it has the dtype
// Columns [begin, end) of x [T, N] as a view; differentiable.
Tensor narrow(const Tensor& x, int64_t begin, int64_t end);
// Heads inside the columns of x [T, N]: head h is columns [begin + h * stride, ... + head_dim). A view [T, count, head_dim];
// differentiable.
Tensor heads(const Tensor& x, int64_t begin, int64_t count, int64_t stride, int64_t head_dim);
Tensor view_as(const Tensor& x,
               const std::vector<int64_t>& dims);     // differentiable reshape of contiguous x
Tensor activation(const Tensor& x, Activation kind);  // [T, N]; differentiable
// activation(gate) * up, [T, N] each (Shazeer 2020, GLU variants); rows may be strided; differentiable.
Tensor gated_activation(const Tensor& gate, const Tensor& up, Activation kind);
Tensor int32_tensor(Device& device, std::span<const int32_t> values);  // [n], a copy
// Rows of x [T, N] by number; x itself where there are as many rows as it has, which are taken to be all. Differentiable.
Tensor pick_rows(const Tensor& x, const std::vector<int32_t>& rows);
// Rows `ids` (int32 [T]) of table [V, H]; ids outside the table throw kInvalidInput. Differentiable in the table, but for the
// row of padding (torch.nn.functional.embedding's padding_idx).
Tensor embedding(const Tensor& table, const Tensor& ids, DType out, std::optional<int64_t> padding_row = {});
Tensor embedding(const PackedWeight& table, const Tensor& ids, DType out);  // tied embeddings; no gradient
// x [T, heads, head_dim] turned by cos, sin [T, r] (first 2 r dimensions of each head): a new tensor when gradients are needed,
// else in place. Su et al. 2021; HF apply_rotary_pos_emb (kHalf).
Tensor rotary(const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryStyle style);
Tensor softmax(const Tensor& x);  // rows; no gradient

}  // namespace pagoda::ops
