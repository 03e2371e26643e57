// The encoder skeleton's forward pass: the file to read for what an encoder does.
#include "models/encoder.h"

#include <cmath>

#include "base/error.h"
#include "ops/linear.h"
#include "ops/math.h"
#include "ops/tape.h"

namespace pagoda {

namespace {

// The first row of each sequence: [CLS].
Tensor first_rows(const Tensor& hidden, const Layout& layout) {
  return ops::pick_rows(hidden, {layout.starts->begin(), layout.starts->end() - 1});
}

}  // namespace

// A model without a head is the base itself: its names carry no prefix.
std::string EncoderModel::at(const std::string& name) const {
  return config_.head == Head::kNone ? name : config_.names.base + name;
}

Linear EncoderModel::dense(const std::string& path, int64_t in, int64_t out) const {
  return Linear({in, {{path, out}}, true, false, Init::kNormal});
}

EncoderModel::Block EncoderModel::make_block(const std::string& path) const {
  const EncoderConfig& c = config_;
  const EncoderNames& n = c.names;
  const auto in = [&](const std::string& name) { return path + "." + name; };
  const int64_t hidden = c.hidden_size, head_dim = hidden / c.num_attention_heads;
  AttentionConfig attention{c.num_attention_heads, c.num_attention_heads, head_dim, QkvLayout::kSeparate, {}, {}};
  attention.spec.mask = AttentionSpec::Mask::kFull;
  attention.spec.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)));
  LinearSpec qkv{hidden, {{in(n.query), hidden}, {in(n.key), hidden}, {in(n.value), hidden}}, true, false, Init::kNormal};
  return Block{path,
               Attention(0, in(n.attention), attention, std::move(qkv),
                         {hidden, {{in(n.attention_out), hidden}}, true, false, Init::kNormal}),
               Norm(NormKind::kLayer, in(n.attention_norm), hidden, c.norm_eps),
               Mlp(path + ".mlp", {hidden, {{in(n.mlp_in), c.intermediate_size}}, true, false, Init::kNormal},
                   {c.intermediate_size, {{in(n.mlp_out), hidden}}, true, false, Init::kNormal}, c.activation),
               Norm(NormKind::kLayer, in(n.mlp_norm), hidden, c.norm_eps)};
}

void EncoderModel::make_head() {
  const EncoderConfig& c = config_;
  const EncoderNames& n = c.names;
  switch (c.head) {
    case Head::kSequenceClassification:
      if (n.class_dense.empty()) {
        pooler_.emplace(dense(at(n.pooler), c.hidden_size, c.hidden_size));
        classifier_.emplace(dense("classifier", c.hidden_size, c.num_labels));
      } else {
        class_dense_.emplace(dense(n.class_dense, c.hidden_size, c.hidden_size));
        const bool inside = n.class_dense == "classifier.dense";  // RoBERTa's head is a module of two
        classifier_.emplace(dense(inside ? "classifier.out_proj" : "classifier", c.hidden_size, c.num_labels));
      }
      break;
    case Head::kTokenClassification: classifier_.emplace(dense("classifier", c.hidden_size, c.num_labels)); break;
    case Head::kQuestionAnswering: classifier_.emplace(dense("qa_outputs", c.hidden_size, 2)); break;
    case Head::kMaskedLm:
      lm_.emplace(LmHead{dense(n.lm_dense, c.hidden_size, c.embedding_size),
                         Norm(NormKind::kLayer, n.lm_norm, c.embedding_size, c.norm_eps),
                         {},
                         {n.lm_bias, {c.vocab_size}, Init::kZeros, {}}});
      if (!c.tie_word_embeddings) lm_->decoder.emplace(dense(n.lm_decoder, c.embedding_size, c.vocab_size));
      break;
    case Head::kNone:
      if (!n.pooler.empty()) pooler_.emplace(dense(n.pooler, c.hidden_size, c.hidden_size));
      break;
    case Head::kCausalLm: unsupported("encoder", "an encoder has no causal head");
  }
}

EncoderModel::EncoderModel(EncoderConfig config)
    : config_(std::move(config)),
      words_(at(config_.names.words), config_.vocab_size, config_.embedding_size),
      positions_(at(config_.names.positions), config_.max_position_embeddings, config_.embedding_size),
      embedding_norm_(NormKind::kLayer, at(config_.names.embedding_norm), config_.embedding_size, config_.norm_eps) {
  const EncoderConfig& c = config_;
  if (c.type_vocab_size > 0) types_.emplace(at(c.names.types), c.type_vocab_size, c.embedding_size);
  if (!c.names.mapping.empty()) mapping_.emplace(dense(at(c.names.mapping), c.embedding_size, c.hidden_size));
  blocks_.reserve(c.names.blocks.size());
  for (const std::string& path : c.names.blocks) blocks_.push_back(make_block(at(path)));
  make_head();
}

int64_t EncoderModel::max_positions() const {
  return config_.max_position_embeddings - (config_.padding_idx ? *config_.padding_idx + 1 : 0);
}

int64_t EncoderModel::num_logits() const {
  switch (config_.head) {
    case Head::kMaskedLm: return config_.vocab_size;
    case Head::kQuestionAnswering: return 2;
    case Head::kNone: return 0;
    default: return config_.num_labels;
  }
}

void EncoderModel::collect(std::vector<Parameter*>& parameters) {
  words_.collect(parameters);
  positions_.collect(parameters);
  if (types_) types_->collect(parameters);
  embedding_norm_.collect(parameters);
  if (mapping_) mapping_->collect(parameters);
  for (Block& block : blocks_) {
    block.attention.collect(parameters);
    block.attention_norm.collect(parameters);
    block.mlp.collect(parameters);
    block.mlp_norm.collect(parameters);
  }
  for (std::optional<Linear>* each : {&pooler_, &class_dense_, &classifier_}) {
    if (*each) (*each)->collect(parameters);
  }
  if (!lm_) return;
  lm_->dense.collect(parameters);
  lm_->norm.collect(parameters);
  if (lm_->decoder) {
    lm_->decoder->collect(parameters);
  } else {
    parameters.push_back(&lm_->bias);
  }
}

std::vector<Linear*> EncoderModel::linears() {
  std::vector<Linear*> all;
  if (mapping_) all.push_back(&*mapping_);
  for (Block& block : blocks_) {
    block.attention.collect_linears(all);
    block.mlp.collect_linears(all);
  }
  for (std::optional<Linear>* each : {&pooler_, &class_dense_, &classifier_}) {
    if (*each) all.push_back(&**each);
  }
  if (!lm_) return all;
  all.push_back(&lm_->dense);
  if (lm_->decoder) all.push_back(&*lm_->decoder);
  return all;
}

std::vector<Embedding*> EncoderModel::embeddings() {
  std::vector<Embedding*> all{&words_, &positions_};
  if (types_) all.push_back(&*types_);
  return all;
}

void EncoderModel::prepare(Device& device, DType compute) {
  if (lm_ && !lm_->decoder) {
    tied_ = words_.prepare_tied(device, compute);
  } else {
    words_.prepare(device, compute);
  }
  positions_.prepare(device, compute);
  if (types_) types_->prepare(device, compute);
  embedding_norm_.prepare(device, compute);
  if (mapping_) mapping_->prepare(device, compute);
  for (Block& block : blocks_) {
    block.attention.prepare(device, compute);
    block.attention_norm.prepare(device, compute);
    block.mlp.prepare(device, compute);
    block.mlp_norm.prepare(device, compute);
  }
  for (std::optional<Linear>* each : {&pooler_, &class_dense_, &classifier_}) {
    if (*each) (*each)->prepare(device, compute);
  }
  if (!lm_) return;
  lm_->dense.prepare(device, compute);
  lm_->norm.prepare(device, compute);
  if (lm_->decoder) {
    lm_->decoder->prepare(device, compute);
  } else {
    lm_->bias.value = ops::cast(lm_->bias.value, DType::kFloat32);
  }
}

// Folders of models with other heads have no pooler; only a model without a head does without.
void EncoderModel::adapt(const WeightSource& weights, bool) {
  const EncoderNames& n = config_.names;
  if (config_.head == Head::kNone && pooler_ && find_entry(weights, n.pooler + ".weight") == nullptr) pooler_.reset();
  if (!lm_ || lm_->decoder) return;
  if (n.lm_bias != n.lm_decoder + ".bias") comes_untied(weights, n.lm_decoder + ".bias", n.lm_bias);  // see stored_names()
  if (!comes_untied(weights, n.lm_decoder + ".weight", at(n.words) + ".weight")) return;
  lm_->decoder.emplace(dense(n.lm_decoder, config_.embedding_size, config_.vocab_size));
}

std::vector<std::string> EncoderModel::stored_names(const std::string& name) const {
  const EncoderNames& n = config_.names;
  if (name.ends_with("LayerNorm.weight")) return {name, name.substr(0, name.size() - 6) + "gamma"};
  if (name.ends_with("LayerNorm.bias")) return {name, name.substr(0, name.size() - 4) + "beta"};
  // Of two that are tied a checkpoint may hold either; where the biases differ, the decoder's own is the one that is added.
  if (!lm_ || !config_.tie_word_embeddings) return {name};
  if (name == n.lm_bias || name == n.lm_decoder + ".bias") return {n.lm_decoder + ".bias", n.lm_bias};
  if (name == at(n.words) + ".weight" && !lm_->decoder) return {name, n.lm_decoder + ".weight"};
  return {name};
}

Tensor EncoderModel::positions(const Inputs& inputs, const Layout& layout) const {
  const int32_t* ids = inputs.ids.data<int32_t>();
  std::vector<int32_t> rows(static_cast<size_t>(layout.num_tokens()));
  for (int64_t s = 0; s < layout.num_sequences(); ++s) {
    const int32_t begin = (*layout.starts)[static_cast<size_t>(s)], end = (*layout.starts)[static_cast<size_t>(s) + 1];
    if (end - begin > max_positions()) {
      invalid("encoder", "sequence too long: got {} tokens, need at most {}", end - begin, max_positions());
    }
    int32_t next = config_.padding_idx ? *config_.padding_idx + 1 : 0;
    for (int32_t row = begin; row < end; ++row) {
      const bool pad = config_.padding_idx && ids[row] == *config_.padding_idx;
      rows[static_cast<size_t>(row)] = pad ? *config_.padding_idx : next++;
    }
  }
  return ops::int32_tensor(inputs.ids.device(), rows);
}

Tensor EncoderModel::embed(const Inputs& inputs, const Layout& layout) const {
  Tensor x = words_.forward(inputs.ids, compute_dtype_);
  if (types_) {
    const Tensor types = inputs.type_ids ? inputs.type_ids : Tensor::zeros(x.device(), DType::kInt32, {layout.num_tokens()});
    x = ops::add(x, types_->forward(types, compute_dtype_));
  }
  x = embedding_norm_.forward(ops::add(x, positions_.forward(positions(inputs, layout), compute_dtype_)));
  x = ops::dropout(x, config_.dropouts.embedding, layout.dropout, DropoutSites::kEmbedding);
  return mapping_ ? mapping_->forward(x) : x;
}

Tensor EncoderModel::vocabulary_logits(const Tensor& rows, const std::shared_ptr<const ops::DropoutRows>& draws) const {
  const Tensor x = lm_->norm.forward(lm_->dense.forward(rows, config_.lm_activation, {}, draws));
  if (lm_->decoder) return lm_->decoder->forward_float32(x, draws);
  if (tied_) return ops::linear(x, *tied_, {lm_->bias.value, Activation::kNone, {}, DType::kFloat32});
  return words_.logits(x, lm_->bias.value);
}

void EncoderModel::apply_head(const Layout& layout, Outputs& outputs) const {
  const Dropouts& drop = config_.dropouts;
  switch (config_.head) {
    case Head::kNone:
      if (pooler_) outputs.pooled = pooler_->forward(first_rows(outputs.hidden, layout), Activation::kTanh);
      return;
    case Head::kSequenceClassification: {
      const auto draws = ops::pick_dropout_rows(layout.dropout, {layout.starts->begin(), layout.starts->end() - 1});
      const Tensor first = ops::dropout(first_rows(outputs.hidden, layout), drop.class_dense, draws, DropoutSites::kClassDense);
      const Tensor dense_rows = pooler_ ? pooler_->forward(first, Activation::kTanh, {}, draws)
                                        : class_dense_->forward(first, config_.class_activation, {}, draws);
      outputs.logits =
          classifier_->forward_float32(ops::dropout(dense_rows, drop.classifier, draws, DropoutSites::kClassifier), draws);
      return;
    }
    default: break;
  }
  if (layout.wanted_rows.empty()) return;
  const Tensor rows = ops::pick_rows(outputs.hidden, layout.wanted_rows);
  const auto draws = ops::pick_dropout_rows(layout.dropout, layout.wanted_rows);
  if (lm_) {
    outputs.logits = vocabulary_logits(rows, draws);
    return;
  }
  outputs.logits = classifier_->forward_float32(ops::dropout(rows, drop.classifier, draws, DropoutSites::kClassifier), draws);
}

Tensor EncoderModel::run(int layer, const Tensor& x, const ForwardContext& context) const {
  const Block& block = blocks_[static_cast<size_t>(config_.layers[static_cast<size_t>(layer)])];
  const Dropouts& drop = config_.dropouts;
  const Tensor mixed =
      block.attention.forward(x, x, nullptr, context, {drop.attention_output, DropoutSites::attention_output(layer)},
                              {drop.attention_probs, DropoutSites::attention_probs(layer)});
  const Tensor normed = block.attention_norm.forward(mixed);
  const Tensor out =
      block.mlp_norm.forward(block.mlp.forward(normed, normed, context, {drop.mlp_output, DropoutSites::mlp_output(layer)}));
  if (context.observer != nullptr) context.observer->observe(block.path, out);
  return out;
}

Outputs EncoderModel::forward(const Inputs& inputs, const ForwardContext& context) const {
  const Layout& layout = *context.layout;
  if (inputs.ids.dim(0) != layout.num_tokens()) {
    invalid("encoder", "ids and positions differ: got {} and {}", inputs.ids.dim(0), layout.num_tokens());
  }
  if (context.states != nullptr) unsupported("encoder", "an encoder keeps no state between steps");
  Tensor x = embed(inputs, layout);
  if (context.observer != nullptr) context.observer->observe("embeddings", x);
  for (int layer = 0; layer < static_cast<int>(config_.layers.size()); ++layer) {
    if (gradient_checkpointing_) {
      x = ops::checkpoint(x, [this, layer, context](const Tensor& rows) { return run(layer, rows, context); });
    } else {
      x = run(layer, x, context);
    }
  }
  Outputs outputs;
  outputs.hidden = x;
  apply_head(layout, outputs);
  return outputs;
}

}  // namespace pagoda
