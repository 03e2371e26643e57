// By names: the same lists for every family.
#include "models/unused_weights.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pagoda {

namespace {

constexpr size_t kNamed = 3;

// Buffers that older versions of transformers saved.
bool is_table(std::string_view name) {
  constexpr std::string_view kEnds[] = {"rotary_emb.inv_freq", ".attn.bias",    ".attn.masked_bias", ".masked_bias",
                                        ".attention.bias",     ".position_ids", ".token_type_ids",   "rope_freqs.weight"};
  return std::any_of(std::begin(kEnds), std::end(kEnds), [&](std::string_view end) { return name.ends_with(end); });
}

// By the module that stands first, or first below the base.
bool is_head(std::string_view name, std::string_view base) {
  constexpr std::string_view kModules[] = {
      "cls",   "classifier",      "pre_classifier",   "qa_outputs",      "pooler",      "lm_head",
      "score", "vocab_transform", "vocab_layer_norm", "vocab_projector", "predictions", "sop_classifier"};
  if (name.substr(0, base.size()) == base) name.remove_prefix(base.size());
  const std::string_view module = name.substr(0, name.find('.'));
  return std::find(std::begin(kModules), std::end(kModules), module) != std::end(kModules);
}

// GPTQ's files have a bias for every layer.
bool is_zero_bias(std::string_view name, const TensorEntry& entry) {
  return name.ends_with(".bias") && entry.has_data() && entry.shape.size() == 1 &&
         std::all_of(entry.data(), entry.data() + entry.bytes, [](uint8_t byte) { return byte == 0; });
}

}  // namespace

std::string unused_weights(const WeightSource& weights, const std::set<const TensorEntry*>& used,
                           const std::string& base_prefix, bool quantised) {
  std::vector<std::string> unused;
  for (const std::string& name : weights.names()) {
    const TensorEntry* entry = weights.find(name);
    if (entry == nullptr || used.count(entry) != 0 || is_table(name) || is_head(name, base_prefix)) continue;
    if (is_zero_bias(name, *entry) || (quantised && !name.ends_with(".weight"))) continue;
    unused.push_back(name);
  }
  if (unused.empty()) return "";
  std::string text =
      fmt::format("{} of the checkpoint's tensors {} no place in the model of config.json and {} not used: ", unused.size(),
                  unused.size() == 1 ? "has" : "have", unused.size() == 1 ? "is" : "are");
  for (size_t i = 0; i < std::min(kNamed, unused.size()); ++i) text += (i == 0 ? "" : ", ") + unused[i];
  return text + (unused.size() > kNamed ? fmt::format(" and {} more", unused.size() - kNamed) : "");
}

}  // namespace pagoda
