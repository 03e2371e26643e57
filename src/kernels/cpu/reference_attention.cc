// Scalar reference: attention dense and paged over one core, its backward, and the pages of the cache.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/checked.h"
#include "kernels/cpu/attention_dropout.h"
#include "kernels/cpu/page_layout.h"
#include "kernels/cpu/reference.h"

namespace pagoda {

int64_t page_bytes(int64_t num_key_value_heads, int64_t head_dim, int64_t v_head_dim, DType dtype) {
  const PageLayout layout(head_dim, v_head_dim, dtype);
  return round_up(num_key_value_heads * layout.head_elements() * layout.element_bytes, 64);
}

void copy_page(const KvPages& pages, int64_t from, int64_t to) {
  const int64_t bytes = page_bytes(pages.num_key_value_heads, pages.head_dim, pages.v_head_dim, pages.dtype);
  std::memcpy(pages.page(to), pages.page(from), static_cast<size_t>(bytes));
}

namespace {
template <class Fn>
void each_page_element(const KvPages& pages, Fn&& fn) {
  const PageLayout layout(pages.head_dim, pages.v_head_dim, pages.dtype);
  for (int64_t token = 0; token < kPageTokens; ++token) {
    for (int64_t head = 0; head < pages.num_key_value_heads; ++head) {
      const int64_t at = token * pages.num_key_value_heads + head;
      for (int64_t d = 0; d < pages.head_dim; ++d) fn(true, layout.key(head, token, d), at * pages.head_dim + d);
      for (int64_t d = 0; d < pages.v_head_dim; ++d) fn(false, layout.value(head, token, d), at * pages.v_head_dim + d);
    }
  }
}

// int8: fn(scale in the page, scale after the plain rows).
template <class Fn>
void each_page_scale(const KvPages& pages, int64_t page, void* keys, void* values, Fn&& fn) {
  const PageLayout layout(pages.head_dim, pages.v_head_dim, pages.dtype);
  if (!layout.codes) return;
  const int64_t heads = pages.num_key_value_heads, rows = kPageTokens * heads;
  for (int64_t row = 0; row < rows; ++row) {
    float* scales = reinterpret_cast<float*>(pages.page(page) + layout.scales(row % heads)) + row / heads;
    fn(scales, static_cast<uint8_t*>(keys) + rows * pages.head_dim + row * 4);
    fn(scales + kPageTokens, static_cast<uint8_t*>(values) + rows * pages.v_head_dim + row * 4);
  }
}
}  // namespace

void export_page(const KvPages& pages, int64_t page, void* keys, void* values) {
  each_page_scale(pages, page, keys, values, [](float* scale, void* row) { std::memcpy(row, scale, sizeof(float)); });
  const size_t size = static_cast<size_t>(dtype_size(pages.dtype));
  const uint8_t* data = pages.page(page);
  each_page_element(pages, [&](bool key, int64_t from, int64_t to) {
    std::memcpy(static_cast<uint8_t*>(key ? keys : values) + static_cast<size_t>(to) * size,
                data + static_cast<size_t>(from) * size, size);
  });
}

void import_page(const KvPages& pages, int64_t page, const void* keys, const void* values) {
  // Padding is multiplied by zero, which a NaN left there would survive.
  std::memset(pages.page(page), 0,
              static_cast<size_t>(page_bytes(pages.num_key_value_heads, pages.head_dim, pages.v_head_dim, pages.dtype)));
  each_page_scale(pages, page, const_cast<void*>(keys), const_cast<void*>(values),
                  [](float* scale, const void* row) { std::memcpy(scale, row, sizeof(float)); });
  const size_t size = static_cast<size_t>(dtype_size(pages.dtype));
  uint8_t* data = pages.page(page);
  each_page_element(pages, [&](bool key, int64_t to, int64_t from) {
    std::memcpy(data + static_cast<size_t>(to) * size,
                static_cast<const uint8_t*>(key ? keys : values) + static_cast<size_t>(from) * size, size);
  });
}

namespace reference {
namespace {

// The raw logit of one (query, key) pair: scale, soft cap and bias, in this order (as HF's eager attention).
template <class C>
C shape_score(const AttentionSpec& spec, C dot, int64_t head, int64_t query_position, int64_t key_position) {
  C score = dot * C(spec.scale);
  if (spec.soft_cap > 0) score = C(spec.soft_cap) * std::tanh(score / C(spec.soft_cap));
  if (spec.bias == AttentionSpec::Bias::kAlibi) score += C(spec.alibi_slopes[head]) * C(key_position - query_position);
  return score;
}

// Keys that the query at `position` of a context of `length` sees: [first, last).
void visible(const AttentionSpec& spec, int64_t position, int64_t length, int64_t& first, int64_t& last) {
  last = spec.mask == AttentionSpec::Mask::kCausal ? position + 1 : length;
  first = spec.window > 0 ? std::max<int64_t>(0, position - spec.window + 1) : 0;
}

// One row of one head, by the rule at kKeyBlock. key(j, d) and value(j, d) read position j.
template <class C, class Key, class Value>
void attend_row(const AttentionSpec& spec, int64_t head, int64_t position, int64_t length, int64_t key_dim, int64_t value_dim,
                const C* query, Key&& key, Value&& value, C* out, C& lse) {
  constexpr C kLow = -std::numeric_limits<C>::infinity();
  int64_t first, last;
  visible(spec, position, length, first, last);
  C running_max = kLow, running_sum = 0;
  std::fill(out, out + value_dim, C(0));
  std::vector<C> weights(kKeyBlock), partial(static_cast<size_t>(value_dim));
  if (spec.sinks != nullptr) {
    running_max = C(spec.sinks[head]);
    running_sum = 1;
  }
  for (int64_t block = first / kKeyBlock * kKeyBlock; block < last; block += kKeyBlock) {
    const int64_t begin = std::max(block, first), end = std::min(block + kKeyBlock, last);
    C block_max = kLow;
    for (int64_t j = begin; j < end; ++j) {
      C dot = 0;
      for (int64_t d = 0; d < key_dim; ++d) dot += query[d] * key(j, d);
      const C score = shape_score(spec, dot, head, position, j);
      weights[static_cast<size_t>(j - begin)] = score;
      block_max = std::max(block_max, score);
    }
    C block_sum = 0;
    std::fill(partial.begin(), partial.end(), C(0));
    for (int64_t j = begin; j < end; ++j) {
      const C p = std::exp(weights[static_cast<size_t>(j - begin)] - block_max);
      block_sum += p;
      for (int64_t d = 0; d < value_dim; ++d) partial[static_cast<size_t>(d)] += p * value(j, d);
    }
    const C merged = std::max(running_max, block_max);
    const C old_scale = running_max == kLow ? C(0) : std::exp(running_max - merged), new_scale = std::exp(block_max - merged);
    running_sum = running_sum * old_scale + block_sum * new_scale;
    for (int64_t d = 0; d < value_dim; ++d) out[d] = out[d] * old_scale + partial[static_cast<size_t>(d)] * new_scale;
    running_max = merged;
  }
  for (int64_t d = 0; d < value_dim; ++d) out[d] = running_sum == 0 ? C(0) : out[d] / running_sum;
  lse = running_max + std::log(running_sum);
}

void attention(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
               View lse) {
  const int64_t heads = q.dims[1], group = heads / k.dims[1], key_dim = q.dims[2], value_dim = v.dims[2];
  dispatch(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    for (int64_t s = 0; s < rows.count; ++s) {
      const int64_t start = rows.starts[s], length = rows.starts[s + 1] - start;
      exec.pool->parallel_for(length * heads, 16, [&](int64_t begin, int64_t end, int) {
        std::vector<C> query(static_cast<size_t>(key_dim)), result(static_cast<size_t>(value_dim));
        for (int64_t item = begin; item < end; ++item) {
          const int64_t position = item / heads, head = item % heads, t = start + position;
          const T* from = q.as<T>() + t * q.strides[0] + head * q.strides[1];
          for (int64_t d = 0; d < key_dim; ++d) query[static_cast<size_t>(d)] = load(from[d]);
          const T* keys = k.as<T>() + start * k.strides[0] + head / group * k.strides[1];
          const T* values = v.as<T>() + start * v.strides[0] + head / group * v.strides[1];
          C log_sum;
          attend_row<C>(
              spec, head, position, length, key_dim, value_dim, query.data(),
              [&](int64_t j, int64_t d) { return load(keys[j * k.strides[0] + d]); },
              [&](int64_t j, int64_t d) { return load(values[j * v.strides[0] + d]); }, result.data(), log_sum);
          T* into = out.as<T>() + t * out.strides[0] + head * out.strides[1];
          for (int64_t d = 0; d < value_dim; ++d) store(into[d], result[static_cast<size_t>(d)]);
          if (lse) static_cast<C*>(lse.data)[t * heads + head] = log_sum;
        }
      });
    }
  });
}

// row [dim] as codes; code(d): where the one of dimension d goes.
template <class T, class Code>
void write_codes(const T* row, int64_t dim, float* scale, Code&& code) {
  uint32_t largest = 0;
  for (int64_t d = 0; d < dim; ++d) {
    const float size = std::fabs(static_cast<float>(load(row[d])));
    uint32_t bits;
    std::memcpy(&bits, &size, sizeof bits);
    largest = std::max(largest, bits);
  }
  const CodeScale by = code_scale(largest);
  *scale = by.scale;
  for (int64_t d = 0; d < dim; ++d) {
    code(d) = by.inverse == 0 ? int8_t{0} : static_cast<int8_t>(std::nearbyint(static_cast<float>(load(row[d])) * by.inverse));
  }
}

void cache_write_codes(const KvPages& pages, const View& k, const View& v, const View& slots) {
  const PageLayout layout(pages.head_dim, pages.v_head_dim, pages.dtype);
  dispatch(k.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t t = 0; t < k.dims[0]; ++t) {
      const int64_t slot = slots.as<int64_t>()[t], token = slot % kPageTokens;
      if (slot < 0) continue;
      auto* page = reinterpret_cast<int8_t*>(pages.page(slot / kPageTokens));
      for (int64_t head = 0; head < pages.num_key_value_heads; ++head) {
        float* scales = reinterpret_cast<float*>(page + layout.scales(head)) + token;
        write_codes(k.as<T>() + t * k.strides[0] + head * k.strides[1], pages.head_dim, scales,
                    [&](int64_t d) -> int8_t& { return page[layout.key(head, token, d)]; });
        write_codes(v.as<T>() + t * v.strides[0] + head * v.strides[1], pages.v_head_dim, scales + kPageTokens,
                    [&](int64_t d) -> int8_t& { return page[layout.value(head, token, d)]; });
      }
    }
  });
}

void cache_write(const Exec&, const KvPages& pages, View k, View v, View slots) {
  if (pages.dtype == DType::kInt8) return cache_write_codes(pages, k, v, slots);
  const PageLayout layout(pages.head_dim, pages.v_head_dim, pages.dtype);
  dispatch(pages.dtype, [&](auto zero_p) {
    using P = decltype(zero_p);
    dispatch(k.dtype, [&](auto zero) {
      using T = decltype(zero);
      for (int64_t t = 0; t < k.dims[0]; ++t) {
        const int64_t slot = slots.as<int64_t>()[t];
        if (slot < 0) continue;
        P* page = reinterpret_cast<P*>(pages.page(slot / kPageTokens));
        for (int64_t head = 0; head < pages.num_key_value_heads; ++head) {
          const T* key = k.as<T>() + t * k.strides[0] + head * k.strides[1];
          const T* value = v.as<T>() + t * v.strides[0] + head * v.strides[1];
          const int64_t token = slot % kPageTokens;
          for (int64_t d = 0; d < pages.head_dim; ++d)
            page[layout.key(head, token, d)] = P(static_cast<Compute<P>>(load(key[d])));
          for (int64_t d = 0; d < pages.v_head_dim; ++d)
            page[layout.value(head, token, d)] = P(static_cast<Compute<P>>(load(value[d])));
        }
      }
    });
  });
}

template <class Fn>
void dispatch_pages(DType dtype, Fn&& fn) {
  if (dtype == DType::kInt8) return fn(int8_t{});
  dispatch(dtype, fn);
}

void attention_paged(const Exec& exec, const AttentionSpec& spec, const PagedRows& rows, const KvPages& pages, View q,
                     View out) {
  const PageLayout layout(pages.head_dim, pages.v_head_dim, pages.dtype);
  const int64_t heads = q.dims[1], group = heads / pages.num_key_value_heads;
  dispatch(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    dispatch_pages(pages.dtype, [&](auto zero_p) {
      using P = decltype(zero_p);
      for (int64_t s = 0; s < rows.queries.count; ++s) {
        const int64_t start = rows.queries.starts[s], count = rows.queries.starts[s + 1] - start;
        const int64_t length = rows.context_lengths[s];
        const int32_t* table = rows.block_tables + s * rows.table_stride;
        exec.pool->parallel_for(count * heads, 16, [&](int64_t begin, int64_t end, int) {
          std::vector<C> query(static_cast<size_t>(pages.head_dim)), result(static_cast<size_t>(pages.v_head_dim));
          for (int64_t item = begin; item < end; ++item) {
            const int64_t r = item / heads, head = item % heads, t = start + r, position = length - count + r;
            const T* from = q.as<T>() + t * q.strides[0] + head * q.strides[1];
            for (int64_t d = 0; d < pages.head_dim; ++d) query[static_cast<size_t>(d)] = load(from[d]);
            const auto page = [&](int64_t j) { return reinterpret_cast<const P*>(pages.page(table[j / kPageTokens])); };
            const auto element = [&](int64_t j, int64_t at, [[maybe_unused]] int64_t scales) {
              if constexpr (std::is_same_v<P, int8_t>) {
                const float* scale = reinterpret_cast<const float*>(page(j) + layout.scales(head / group)) + scales;
                return static_cast<C>(static_cast<float>(page(j)[at]) * scale[j % kPageTokens]);
              } else {
                return static_cast<C>(load(page(j)[at]));
              }
            };
            C log_sum;
            attend_row<C>(
                spec, head, position, length, pages.head_dim, pages.v_head_dim, query.data(),
                [&](int64_t j, int64_t d) { return element(j, layout.key(head / group, j % kPageTokens, d), 0); },
                [&](int64_t j, int64_t d) { return element(j, layout.value(head / group, j % kPageTokens, d), kPageTokens); },
                result.data(), log_sum);
            T* into = out.as<T>() + t * out.strides[0] + head * out.strides[1];
            for (int64_t d = 0; d < pages.v_head_dim; ++d) store(into[d], result[static_cast<size_t>(d)]);
          }
        });
      }
    });
  });
}

// What the weight of a key is multiplied by under dropout.
template <class C>
C kept_weight(const AttentionSpec& spec, int64_t row, int64_t head, int64_t key) {
  if (spec.dropout <= 0) return C(1);
  return dropout_keeps(dropout_seed(spec, row, head), key, dropout_threshold(spec)) ? C(1) / (C(1) - C(spec.dropout)) : C(0);
}

void attention_dropout(const Exec&, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
                       View lse) {
  const int64_t group = q.dims[1] / k.dims[1];
  dispatch(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    std::vector<C> sum(static_cast<size_t>(v.dims[2]));
    for (int64_t s = 0; s < rows.count; ++s) {
      const int64_t start = rows.starts[s], length = rows.starts[s + 1] - start;
      const auto at = [&](const View& view, int64_t position, int64_t head) {
        return view.as<T>() + (start + position) * view.strides[0] + head * view.strides[1];
      };
      for (int64_t item = 0; item < length * q.dims[1]; ++item) {
        const int64_t i = item / q.dims[1], head = item % q.dims[1];
        int64_t first, last;
        visible(spec, i, length, first, last);
        std::fill(sum.begin(), sum.end(), C(0));
        for (int64_t j = first; j < last; ++j) {
          C dot = 0;
          for (int64_t d = 0; d < q.dims[2]; ++d) dot += load(at(q, i, head)[d]) * load(at(k, j, head / group)[d]);
          const C p = std::exp(shape_score(spec, dot, head, i, j) - static_cast<C*>(lse.data)[(start + i) * q.dims[1] + head]);
          const C weight = p * kept_weight<C>(spec, start + i, head, j);
          for (int64_t d = 0; d < v.dims[2]; ++d) sum[static_cast<size_t>(d)] += weight * load(at(v, j, head / group)[d]);
        }
        for (int64_t d = 0; d < v.dims[2]; ++d) store(at(out, i, head)[d], sum[static_cast<size_t>(d)]);
      }
    }
  });
}

// With dropout every p below that meets a value is multiplied by what its weight was. p_ij = exp(s_ij - lse_i); dv_j += p_ij
// do_i; ds_ij = p_ij (do_i . v_j - do_i . o_i); dq_i += ds_ij k_j; dk_j += ds_ij q_i, with ds carried through soft cap and
// scale. Rows of one key-value head are summed in order of (head, query).
void attention_backward(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
                        View lse, View dout, View dq, View dk, View dv) {
  const int64_t heads = q.dims[1], kv_heads = k.dims[1], group = heads / kv_heads, key_dim = q.dims[2], value_dim = v.dims[2];
  dispatch(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    exec.pool->parallel_for(rows.count * kv_heads, 1, [&](int64_t item_begin, int64_t item_end, int) {
      for (int64_t item = item_begin; item < item_end; ++item) {
        const int64_t s = item / kv_heads, kv_head = item % kv_heads;
        const int64_t start = rows.starts[s], length = rows.starts[s + 1] - start;
        const auto at = [&](const View& view, int64_t position, int64_t head) {
          return view.as<T>() + (start + position) * view.strides[0] + head * view.strides[1];
        };
        std::vector<C> grad_k(static_cast<size_t>(length * key_dim)), grad_v(static_cast<size_t>(length * value_dim));
        std::vector<C> grad_q(static_cast<size_t>(key_dim));
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
          for (int64_t i = 0; i < length; ++i) {
            int64_t first, last;
            visible(spec, i, length, first, last);
            const T *query = at(q, i, head), *output = at(out, i, head), *grad = at(dout, i, head);
            C inner = 0;
            for (int64_t d = 0; d < value_dim; ++d) inner += load(grad[d]) * load(output[d]);
            std::fill(grad_q.begin(), grad_q.end(), C(0));
            for (int64_t j = first; j < last; ++j) {
              const T *key = at(k, j, kv_head), *value = at(v, j, kv_head);
              C dot = 0, dp = 0;
              for (int64_t d = 0; d < key_dim; ++d) dot += load(query[d]) * load(key[d]);
              for (int64_t d = 0; d < value_dim; ++d) dp += load(grad[d]) * load(value[d]);
              const C score = shape_score(spec, dot, head, i, j);
              const C p = std::exp(score - static_cast<C*>(lse.data)[(start + i) * heads + head]);
              const C kept = kept_weight<C>(spec, start + i, head, j);
              C ds = p * (dp * kept - inner) * C(spec.scale);
              if (spec.soft_cap > 0) {
                const C capped = std::tanh(dot * C(spec.scale) / C(spec.soft_cap));
                ds *= 1 - capped * capped;
              }
              for (int64_t d = 0; d < key_dim; ++d) {
                grad_q[static_cast<size_t>(d)] += ds * load(key[d]);
                grad_k[static_cast<size_t>(j * key_dim + d)] += ds * load(query[d]);
              }
              for (int64_t d = 0; d < value_dim; ++d) {
                grad_v[static_cast<size_t>(j * value_dim + d)] += p * kept * load(grad[d]);
              }
            }
            for (int64_t d = 0; d < key_dim; ++d) store(at(dq, i, head)[d], grad_q[static_cast<size_t>(d)]);
          }
        }
        for (int64_t j = 0; j < length; ++j) {
          for (int64_t d = 0; d < key_dim; ++d) store(at(dk, j, kv_head)[d], grad_k[static_cast<size_t>(j * key_dim + d)]);
          for (int64_t d = 0; d < value_dim; ++d) store(at(dv, j, kv_head)[d], grad_v[static_cast<size_t>(j * value_dim + d)]);
        }
      }
    });
  });
}

}  // namespace

void fill_attention(KernelTable& table) {
  table.attention = {attention};
  table.attention_dropout = {attention_dropout};
  table.attention_backward = {attention_backward};
  table.cache_write = {cache_write};
  table.attention_paged = {attention_paged};
}

}  // namespace reference
}  // namespace pagoda
