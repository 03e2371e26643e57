// Attention over ragged sequences: dense (differentiable) and over pages.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/table.h"
#include "tensor/tensor.h"

namespace pagoda::ops {

// q [T, num_attention_heads, head_dim], k [T, num_key_value_heads, head_dim], v [T, num_key_value_heads, v_head_dim];
// starts [sequences + 1]. Result [T, num_attention_heads, v_head_dim]. Differentiable; the tape keeps `starts`, and `owner`,
// which holds what spec.dropout_rows points at.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::shared_ptr<const std::vector<int32_t>>& starts,
                 const AttentionSpec& spec, const std::shared_ptr<const void>& owner = {});

// Stores k and v of each row into its slot, then attends over the pages. The same bits as `attention`. No gradient.
struct PagedKv {
  KvPages pages;
  PagedRows rows;
  View slots;  // int64 [T]
};
Tensor attention_paged(const Tensor& q, const Tensor& k, const Tensor& v, const PagedKv& kv, const AttentionSpec& spec);

}  // namespace pagoda::ops
