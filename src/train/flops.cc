// Counted by parameters: a matrix is an embedding, the head, or part of every row's way.
#include "train/flops.h"

#include <algorithm>

#include "models/encoder.h"

namespace pagoda::train {

bool is_embedding(const Parameter& parameter) {
  const std::string& name = parameter.name;
  if (parameter.shape.size() != 2 || name.find("mapping") != std::string::npos) return false;
  return name.find("embed") != std::string::npos || name.find(".wte") != std::string::npos ||
         name.find(".wpe") != std::string::npos;
}

namespace {

// Products of a step for each forward: its own, the rows' gradient, and the matrix's unless it is frozen.
double passes(const Parameter& matrix) { return matrix.value.requires_grad() ? 3 : 2; }

// How often a pass multiplies rows by this matrix: layers may share it.
double uses(const Model& model, const Parameter& matrix) {
  const auto* encoder = dynamic_cast<const EncoderModel*>(&model);
  if (encoder == nullptr) return 1;
  const EncoderConfig& config = encoder->config();
  for (size_t block = 0; block < config.names.blocks.size(); ++block) {
    if (matrix.name.find(config.names.blocks[block] + ".") == std::string::npos) continue;
    return static_cast<double>(std::count(config.layers.begin(), config.layers.end(), static_cast<int>(block)));
  }
  return 1;
}

}  // namespace

StepFlops::StepFlops(Model& model) {
  const bool lm = model.head_kind() == Head::kCausalLm || model.head_kind() == Head::kMaskedLm;
  for (const Parameter* parameter : model.parameters()) {
    if (parameter->shape.size() != 2) continue;
    const double size = static_cast<double>(parameter->shape[0]) * static_cast<double>(parameter->shape[1]);
    const bool head = lm && parameter->shape[0] == model.vocab_size();
    if (head) head_ = size * passes(*parameter);  // or the embedding that it is tied to
    if (!head && !is_embedding(*parameter)) body_ += size * uses(model, *parameter) * passes(*parameter);
  }
  const double layers = static_cast<double>(model.num_layers()), hidden = static_cast<double>(model.hidden_size());
  attention_ = 3 * 2 * hidden * layers * (model.head_kind() == Head::kCausalLm ? 0.5 : 1.0);  // q k and p v
}

double StepFlops::of(const Layout& layout) const {
  double pairs = 0;
  for (const int32_t length : layout.lengths) pairs += static_cast<double>(length) * static_cast<double>(length);
  const double rows = static_cast<double>(layout.num_tokens()), wanted = static_cast<double>(layout.wanted_rows.size());
  return 2 * (body_ * rows + head_ * wanted + attention_ * pairs);
}

}  // namespace pagoda::train
