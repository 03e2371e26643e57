// Adapters in PEFT's format beside a model: adapter_model.safetensors of a LoRA, and its merging.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "models/adapter_config.h"
#include "models/model.h"
#include "nn/linear.h"

namespace pagoda {

// Before every key of PEFT's file: base_model.model.<module>.lora_A.weight.
constexpr const char* kAdapterPrefix = "base_model.model.";
constexpr const char* kMagnitude = ".lora_magnitude_vector";  // behind a module's name: of DoRA
// Between the name of an adapted module and that of a parameter of its own, such as the bias.
constexpr const char* kBaseLayer = ".base_layer";

// A weight that takes part in products.
struct ProductWeight {
  Linear* linear;
  size_t part;
  Parameter& parameter() const { return linear->weight(part); }
  int64_t inputs() const { return parameter().shape[linear->transposed() ? 0 : 1]; }
  int64_t outputs() const { return parameter().shape[linear->transposed() ? 1 : 0]; }
};
// All of a model, in its order.
std::vector<ProductWeight> product_weights(Model& model);

// The embedding that is the head's weight too; null where the head has one of its own, or is none of a causal LM.
Parameter* tied_embedding(Model& model);

// Adds an adapter to the weights of a model that is loaded and not prepared yet; whole modules that the adapter saves replace
// the model's. LoRA and DoRA of linear layers and embeddings, with lora_bias. Computed in float32 and rounded to the weight's
// own dtype (bfloat16 for weights in a coding). kInvalidInput names keys without a place in the model and shapes that do not
// fit. Returns the names of the parameters it changed.
std::vector<std::string> merge_adapter(Device& device, Model& model, const std::string& folder);

// The model that an adapter belongs to, as its file says; kInvalidInput where it says nothing.
std::string adapter_base(const std::string& folder);
// The base's config with labels and head of an adapter's own config.json, where it has one.
Json config_with_head(const Json& base, const std::string& folder);
// The same; untied where the adapter changes one of embedding and head that the base ties, or each in another way (peft does so
// unless ensure_weight_tying).
Json adapted_config(const Json& base, const std::string& folder);
// The base's folder under the configs of the model that it is with the adapter: adapted_config(), and the adapter's
// generation_config.json, where it has one.
std::shared_ptr<ModelFolder> open_adapted(const std::string& base, const std::string& folder);
// Whether an adapter holds the whole of a parameter (peft's modules_to_save).
std::function<bool(const Parameter&)> saved_whole(const std::string& folder);
// Loads a base's weights and merges the adapter; a head that neither has is kInvalidInput, but one that was tied begins as the
// embedding. What the adapter holds whole may have another shape in the base. Returns what merge_adapter does.
std::vector<std::string> load_adapted(Device& device, Model& model, const ModelFolder& base, const std::string& folder);

}  // namespace pagoda
