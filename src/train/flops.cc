// Counted by parameters: a matrix is an embedding, the head, or part of every row's way.
#include "train/flops.h"

namespace pagoda::train {

StepFlops::StepFlops(Model& model) {
  const bool lm = model.head_kind() == Head::kCausalLm || model.head_kind() == Head::kMaskedLm;
  for (const Parameter* parameter : model.parameters()) {
    const std::string& name = parameter->name;
    if (parameter->shape.size() != 2) continue;
    const double size = static_cast<double>(parameter->shape[0]) * static_cast<double>(parameter->shape[1]);
    const bool embedding = name.find("embed") != std::string::npos || name.find(".wte") != std::string::npos ||
                           name.find(".wpe") != std::string::npos;
    if (embedding && name.find("mapping") == std::string::npos) continue;
    const bool head = lm && parameter->shape[0] == model.vocab_size();
    if (!head) body_ += size;
  }
  if (lm) head_ = static_cast<double>(model.hidden_size()) * static_cast<double>(model.vocab_size());
  const double layers = static_cast<double>(model.num_layers()), hidden = static_cast<double>(model.hidden_size());
  attention_ = 2 * hidden * layers * (model.head_kind() == Head::kCausalLm ? 0.5 : 1.0);  // q k and p v
}

double StepFlops::of(const Layout& layout) const {
  double pairs = 0;
  for (const int32_t length : layout.lengths) pairs += static_cast<double>(length) * static_cast<double>(length);
  const double rows = static_cast<double>(layout.num_tokens()), wanted = static_cast<double>(layout.wanted_rows.size());
  return 3 * 2 * (body_ * rows + head_ * wanted + attention_ * pairs);
}

}  // namespace pagoda::train
