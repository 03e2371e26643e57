// Counts products, attention and bytes from a decoder's shape.
#include "cli/step_cost.h"

#include <algorithm>

namespace pagoda::cli {

int64_t product_weights(const DecoderConfig& config) {
  const int64_t q = config.num_attention_heads * config.head_dim, kv = config.num_key_value_heads * config.head_dim;
  const auto mlp_matrices = static_cast<int64_t>(config.names.mlp_in.size()) + 1;
  return config.num_hidden_layers * (config.hidden_size * (q + 2 * kv) + q * config.hidden_size +
                                     mlp_matrices * config.hidden_size * config.intermediate_size);
}

int64_t head_weights(const DecoderConfig& config) { return config.hidden_size * config.vocab_size; }

WeightBytes weight_bytes(const DecoderConfig& config, DType dtype) {
  const auto element = static_cast<double>(dtype_size(dtype));
  return {static_cast<double>(product_weights(config)) * element, static_cast<double>(head_weights(config)) * element};
}

WeightBytes weight_bytes(const DecoderModel& model) {
  return {static_cast<double>(model.block_bytes()), static_cast<double>(model.head_bytes())};
}

StepCost step_cost(const DecoderConfig& config, const WeightBytes& weights, DType cached, const std::vector<StepRows>& rows) {
  const auto products = static_cast<double>(product_weights(config)), head = static_cast<double>(head_weights(config));
  const double pair = 4.0 * static_cast<double>(config.num_attention_heads * config.head_dim);
  const int64_t scale_bytes = cached == DType::kInt8 ? 4 : 0;
  const double token_bytes =
      2.0 * static_cast<double>(config.num_key_value_heads * (config.head_dim * dtype_size(cached) + scale_bytes));
  StepCost cost;
  cost.bytes = weights.products;
  bool wants_logits = false;
  for (const StepRows& sequence : rows) {
    cost.flops += 2 * products * static_cast<double>(sequence.count) + 2 * head * static_cast<double>(sequence.logits);
    wants_logits = wants_logits || sequence.logits > 0;
    const int64_t context = sequence.from + sequence.count;
    for (const int64_t window : config.windows) {
      int64_t visible = 0;
      for (int64_t position = sequence.from; position < context; ++position) {
        visible += window > 0 ? std::min(position + 1, window) : position + 1;
      }
      cost.flops += pair * static_cast<double>(visible);
      cost.bytes += token_bytes * static_cast<double>(window > 0 ? std::min(context, window + sequence.count - 1) : context);
    }
  }
  if (wants_logits) cost.bytes += weights.head;
  return cost;
}

StepCost encoder_cost(const EncoderConfig& config, DType compute, const std::vector<int64_t>& lengths) {
  const auto hidden = static_cast<double>(config.hidden_size), embedding = static_cast<double>(config.embedding_size);
  const double block = 4 * hidden * hidden + 2 * hidden * static_cast<double>(config.intermediate_size);
  const double mapping = config.names.mapping.empty() ? 0 : embedding * hidden;
  const auto labels = static_cast<double>(config.num_labels);
  double row_head = 0, sequence_head = 0;  // weights that every row, and one row of a sequence, goes through
  switch (config.head) {
    case Head::kMaskedLm: row_head = hidden * embedding + embedding * static_cast<double>(config.vocab_size); break;
    case Head::kTokenClassification: row_head = hidden * labels; break;
    case Head::kQuestionAnswering: row_head = 2 * hidden; break;
    case Head::kSequenceClassification: sequence_head = hidden * hidden + hidden * labels; break;
    default: sequence_head = config.names.pooler.empty() ? 0 : hidden * hidden;
  }
  const auto layers = static_cast<double>(config.layers.size());
  StepCost cost;
  for (const int64_t each : lengths) {
    const auto length = static_cast<double>(each);
    cost.flops +=
        2 * length * (layers * block + mapping + row_head) + 2 * sequence_head + layers * 4 * hidden * length * length;
  }
  const double weights = static_cast<double>(config.names.blocks.size()) * block + mapping + row_head + sequence_head;
  cost.bytes = weights * static_cast<double>(dtype_size(compute));
  return cost;
}

double least_seconds(const StepCost& cost, const MachineRates& rates) {
  const double computing = rates.flops_per_s > 0 ? cost.flops / rates.flops_per_s : 0;
  const double reading = rates.read_bytes_per_s > 0 ? cost.bytes / rates.read_bytes_per_s : 0;
  return std::max(computing, reading);
}

}  // namespace pagoda::cli
