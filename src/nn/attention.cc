// Self-attention over ops: the layer's state decides between dense and paged, nothing else does.
#include "nn/attention.h"

#include "ops/math.h"

namespace pagoda {

Attention::Attention(int layer, std::string path, const AttentionConfig& config, LinearSpec qkv, LinearSpec out)
    : layer_(layer), path_(std::move(path)), config_(config), qkv_(std::move(qkv)), out_(std::move(out)) {}

void Attention::collect(std::vector<Parameter*>& parameters) {
  qkv_.collect(parameters);
  out_.collect(parameters);
}

void Attention::prepare(Device& device, DType compute) {
  qkv_.prepare(device, compute);
  out_.prepare(device, compute);
}

Tensor Attention::forward(const Tensor& x, const Tensor& residual, const Rotary::Turns* turns, const ForwardContext& context,
                          const ops::DropoutSite& dropout) const {
  const int64_t heads = config_.num_attention_heads, kv_heads = config_.num_key_value_heads, dim = config_.head_dim;
  const std::vector<Tensor> parts = qkv_.forward_parts(x);
  Tensor q, k, v;
  switch (config_.qkv_layout) {
    case QkvLayout::kSeparate:
      q = ops::heads(parts[0], 0, heads, dim, dim);
      k = ops::heads(parts[1], 0, kv_heads, dim, dim);
      v = ops::heads(parts[2], 0, kv_heads, dim, dim);
      break;
    case QkvLayout::kFused:
      q = ops::heads(parts[0], 0, heads, dim, dim);
      k = ops::heads(parts[0], heads * dim, kv_heads, dim, dim);
      v = ops::heads(parts[0], (heads + kv_heads) * dim, kv_heads, dim, dim);
      break;
    case QkvLayout::kFusedPerHead:
      q = ops::heads(parts[0], 0, heads, 3 * dim, dim);
      k = ops::heads(parts[0], dim, heads, 3 * dim, dim);
      v = ops::heads(parts[0], 2 * dim, heads, 3 * dim, dim);
      break;
  }
  if (turns != nullptr) {
    q = ops::rotary(q, turns->cos, turns->sin, config_.rotary_style);
    k = ops::rotary(k, turns->cos, turns->sin, config_.rotary_style);
  }
  const LayerState state = context.states == nullptr ? LayerState{} : context.states->state(layer_);
  Tensor mixed;
  if (const PagedLayerState* paged = std::get_if<PagedLayerState>(&state)) {
    mixed = ops::attention_paged(q, k, v, paged->kv, config_.spec);
  } else {
    mixed = ops::attention(q, k, v, context.layout->starts, config_.spec);
  }
  mixed = ops::view_as(mixed, {x.dim(0), heads * dim});
  if (context.observer != nullptr) {
    context.observer->observe(path_ + ".q", q);
    context.observer->observe(path_ + ".k", k);
    context.observer->observe(path_ + ".v", v);
    context.observer->observe(path_ + ".mixed", mixed);
  }
  return out_.forward_dropped(mixed, residual, context.layout->dropout, dropout);
}

}  // namespace pagoda
