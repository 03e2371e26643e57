// The decoder skeleton's forward pass: the file to read for what a decoder does.
#include "models/decoder.h"

#include "base/error.h"
#include "ops/linear.h"
#include "ops/math.h"
#include "ops/tape.h"

namespace pagoda {

DecoderModel::Block DecoderModel::make_block(int layer) const {
  const DecoderConfig& c = config_;
  const std::string path = c.names.base + c.names.layers + "." + std::to_string(layer);
  const auto at = [&](const std::string& name) { return path + "." + name; };
  const int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
  LinearSpec qkv{c.hidden_size, {}, c.qkv_bias == Bias::kAll, c.transposed_linear, Init::kNormal};
  if (c.qkv_layout == QkvLayout::kSeparate) {
    qkv.parts = {{at(c.names.qkv[0]), q}, {at(c.names.qkv[1]), kv}, {at(c.names.qkv[2]), kv}};
  } else {
    qkv.parts = {{at(c.names.qkv[0]), q + 2 * kv}};
  }
  // GPT-2 scales the initial weights of what is added to the residual stream (HF GPT2PreTrainedModel._init_weights).
  const Init residual_init = c.norm == NormKind::kLayer ? Init::kNormalResidual : Init::kNormal;
  LinearSpec out{
      q, {{at(c.names.attention_out), c.hidden_size}}, c.attention_out_bias == Bias::kAll, c.transposed_linear, residual_init};
  LinearSpec mlp_in{c.hidden_size, {}, c.mlp_bias == Bias::kAll, c.transposed_linear, Init::kNormal};
  for (const std::string& name : c.names.mlp_in) mlp_in.parts.push_back({at(name), c.intermediate_size});
  LinearSpec mlp_out{c.intermediate_size,
                     {{at(c.names.mlp_out), c.hidden_size}},
                     c.mlp_bias == Bias::kAll,
                     c.transposed_linear,
                     residual_init};
  AttentionConfig attention{c.num_attention_heads, c.num_key_value_heads, c.head_dim, c.qkv_layout, {}, RotaryStyle::kHalf};
  attention.spec.scale = c.attention_scales[static_cast<size_t>(layer)];
  attention.spec.window = c.windows[static_cast<size_t>(layer)];
  return Block{path, Norm(c.norm, at(c.names.attention_norm), c.hidden_size, c.norm_eps),
               Norm(c.norm, at(c.names.mlp_norm), c.hidden_size, c.norm_eps),
               Attention(layer, at(c.names.attention), attention, std::move(qkv), std::move(out)),
               Mlp(path + ".mlp", std::move(mlp_in), std::move(mlp_out), c.activation)};
}

DecoderModel::DecoderModel(DecoderConfig config)
    : config_(std::move(config)),
      embed_(config_.names.base + config_.names.embed, config_.vocab_size, config_.hidden_size),
      final_norm_(config_.norm, config_.names.base + config_.names.final_norm, config_.hidden_size, config_.norm_eps) {
  if (config_.rotary) {
    rotary_.emplace(*config_.rotary);
  } else {
    positions_.emplace(config_.names.base + config_.names.positions, config_.max_position_embeddings, config_.hidden_size);
  }
  blocks_.reserve(static_cast<size_t>(config_.num_hidden_layers));
  for (int layer = 0; layer < static_cast<int>(config_.num_hidden_layers); ++layer) blocks_.push_back(make_block(layer));
  if (!config_.tie_word_embeddings) make_head();
}

void DecoderModel::make_head() {
  head_.emplace(LinearSpec{config_.hidden_size, {{"lm_head", config_.vocab_size}}, false, false, Init::kNormal});
}

void DecoderModel::adapt(const WeightSource& weights, bool draws_missing) {
  const std::string table = config_.names.base + config_.names.embed + ".weight";
  if (config_.tie_word_embeddings) {
    if (!comes_untied(weights, kHeadWeight, table)) return;
    config_.tie_word_embeddings = false;
    make_head();
  } else if (config_.may_lack_head && !draws_missing && find_entry(weights, kHeadWeight) == nullptr) {
    head_.reset();
    has_head_ = false;
  }
}

std::vector<std::string> DecoderModel::stored_names(const std::string& name) const {
  // Of two that are tied a checkpoint may hold either.
  if (config_.tie_word_embeddings && name == config_.names.base + config_.names.embed + ".weight") return {name, kHeadWeight};
  return {name};
}

void DecoderModel::collect(std::vector<Parameter*>& parameters) {
  embed_.collect(parameters);
  if (positions_) positions_->collect(parameters);
  for (Block& block : blocks_) {
    block.attention_norm.collect(parameters);
    block.attention.collect(parameters);
    block.mlp_norm.collect(parameters);
    block.mlp.collect(parameters);
  }
  final_norm_.collect(parameters);
  if (head_) head_->collect(parameters);
}

std::vector<Linear*> DecoderModel::linears() {
  std::vector<Linear*> all;
  for (Block& block : blocks_) {
    block.attention.collect_linears(all);
    block.mlp.collect_linears(all);
  }
  if (head_) all.push_back(&*head_);
  return all;
}

std::vector<Embedding*> DecoderModel::embeddings() {
  if (!positions_) return {&embed_};
  return {&embed_, &*positions_};
}

void DecoderModel::prepare(Device& device, DType compute) {
  if (positions_) positions_->prepare(device, compute);
  for (Block& block : blocks_) {
    block.attention_norm.prepare(device, compute);
    block.attention.prepare(device, compute);
    block.mlp_norm.prepare(device, compute);
    block.mlp.prepare(device, compute);
  }
  final_norm_.prepare(device, compute);
  if (config_.tie_word_embeddings) {
    make_head();
    head_->share(embed_.prepare_tied(device, compute));
  } else {
    embed_.prepare(device, compute);
    if (head_) head_->prepare(device, compute);
  }
}

int64_t DecoderModel::block_bytes() const {
  int64_t bytes = 0;
  for (const Block& block : blocks_) bytes += block.attention.packed_bytes() + block.mlp.packed_bytes();
  return bytes;
}

std::vector<LayerStateSpec> DecoderModel::layer_states() const {
  std::vector<LayerStateSpec> specs;
  for (const int64_t window : config_.windows) {
    specs.push_back({config_.num_key_value_heads, config_.head_dim, config_.head_dim, window});
  }
  return specs;
}

Tensor DecoderModel::logits(const Tensor& hidden, const std::shared_ptr<const ops::DropoutRows>& rows) const {
  if (!has_head_) unsupported(architecture(), "no lm_head in the checkpoint: it gives hidden states (embeddings) alone");
  return head_ ? head_->forward_float32(hidden, rows) : embed_.logits(hidden, Tensor());
}

Rotary::Turns DecoderModel::turns(Device& device, const Layout& layout) const {
  if (!rotary_) return {};
  return rotary_->turns(device, layout, compute_dtype_ == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32);
}

Tensor DecoderModel::embed(const Inputs& inputs, const Layout& layout) const {
  if (inputs.ids.dim(0) != layout.num_tokens()) {
    invalid("decoder", "ids and positions differ: got {} and {}", inputs.ids.dim(0), layout.num_tokens());
  }
  Device& device = inputs.ids.device();
  const Tensor x = embed_.forward(inputs.ids, compute_dtype_);
  const auto dropped = [&](const Tensor& rows) {
    return ops::dropout(rows, config_.dropouts.embedding, layout.dropout, DropoutSites::kEmbedding);
  };
  if (rotary_) return dropped(x);
  Tensor positions = Tensor::empty(device, DType::kInt32, {layout.num_tokens()});
  for (int64_t t = 0; t < layout.num_tokens(); ++t) {
    const int32_t position = layout.positions[static_cast<size_t>(t)];
    if (position >= config_.max_position_embeddings) {
      invalid("decoder", "sequence too long: got position {}, need at most {} (learned positions)", position,
              config_.max_position_embeddings - 1);
    }
    positions.data<int32_t>()[t] = position;
  }
  return dropped(ops::add(x, positions_->forward(positions, compute_dtype_)));
}

Tensor DecoderModel::run(int layer, const Tensor& x, const Rotary::Turns& turns, const ForwardContext& context) const {
  const Block& block = blocks_.at(static_cast<size_t>(layer));
  const Dropouts& drop = config_.dropouts;
  const auto observe = [&](const char* name, const Tensor& tensor) {
    if (context.observer != nullptr) context.observer->observe(block.path + name, tensor);
  };
  const Tensor normed = block.attention_norm.forward(x);
  observe(".attention_norm", normed);
  const Tensor mixed = block.attention.forward(normed, x, rotary_ ? &turns : nullptr, context,
                                               {drop.attention_output, DropoutSites::attention_output(layer)},
                                               {drop.attention_probs, DropoutSites::attention_probs(layer)});
  observe(".after_attention", mixed);
  const Tensor normed_again = block.mlp_norm.forward(mixed);
  observe(".mlp_norm", normed_again);
  const Tensor out = block.mlp.forward(normed_again, mixed, context, {drop.mlp_output, DropoutSites::mlp_output(layer)});
  observe("", out);
  return out;
}

Tensor DecoderModel::run_block(int layer, const Tensor& x, const ForwardContext& context) const {
  return run(layer, x, turns(x.device(), *context.layout), context);
}

Outputs DecoderModel::forward(const Inputs& inputs, const ForwardContext& context) const {
  const Layout& layout = *context.layout;
  Tensor x = embed(inputs, layout);
  const Rotary::Turns turned = turns(inputs.ids.device(), layout);
  if (context.observer != nullptr) context.observer->observe("embeddings", x);
  for (int layer = 0; layer < static_cast<int>(blocks_.size()); ++layer) {
    if (gradient_checkpointing_) {
      x = ops::checkpoint(x, [this, layer, turned, context](const Tensor& rows) { return run(layer, rows, turned, context); });
    } else {
      x = run(layer, x, turned, context);
    }
  }
  Outputs outputs;
  outputs.hidden = final_norm_.forward(x);
  if (context.observer != nullptr) context.observer->observe("final_norm", outputs.hidden);
  if (layout.wanted_rows.empty()) return outputs;
  outputs.logits =
      logits(ops::pick_rows(outputs.hidden, layout.wanted_rows), ops::pick_dropout_rows(layout.dropout, layout.wanted_rows));
  return outputs;
}

}  // namespace pagoda
