// What every model is to the rest of the engine: inputs, outputs, parameters, the state its layers keep.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "formats/model_folder.h"
#include "nn/context.h"
#include "nn/module.h"

namespace pagoda {

struct Inputs {
  Tensor ids;         // int32 [T]. Room: embeddings, pixels
  Tensor type_ids{};  // int32 [T]: HF's token_type_ids; undefined: zeros. Models without types do not look at them
};

struct Outputs {
  Tensor hidden;  // [T, hidden_size], after the last norm
  // [wanted rows, num_logits] float32 (float64 in the double reference); of sequence classification [sequences, num_logits]
  Tensor logits;
  Tensor pooled;  // [sequences, hidden_size]: HF's pooler_output, where an encoder without a head has a pooler
};

// What the last module computes: HF's classes of the same names.
enum class Head : uint8_t {
  kCausalLm,
  kNone,  // BertModel
  kMaskedLm,
  kSequenceClassification,
  kTokenClassification,
  kQuestionAnswering,
};
const char* head_name(Head head);  // "ForMaskedLM"; "Model" for kNone

// State that one layer keeps between steps: the engine sizes pages by it.
struct LayerStateSpec {
  int64_t num_key_value_heads = 0, head_dim = 0, v_head_dim = 0;
  int64_t window = 0;  // > 0: keys further back are never read again
};

// Probabilities of dropout in training, as config.json has them. Inference drops nothing.
struct Dropouts {
  float embedding = 0, attention_output = 0, mlp_output = 0;
  float attention_probs = 0;
  float class_dense = 0, classifier = 0;  // before these layers of a head
};

// The numbers of a model's dropouts: layer i has kFirst + 4 i and those that follow.
struct DropoutSites {
  static constexpr uint32_t kEmbedding = 1, kClassDense = 2, kClassifier = 3, kFirst = 16;
  static constexpr uint32_t attention_output(int layer) { return kFirst + 4 * static_cast<uint32_t>(layer); }
  static constexpr uint32_t mlp_output(int layer) { return attention_output(layer) + 1; }
  static constexpr uint32_t attention_probs(int layer) { return attention_output(layer) + 2; }
};

class Model : public Module {
 public:
  // Shapes: see Inputs, Outputs. Throws kInvalidInput for ids or positions outside the model.
  virtual Outputs forward(const Inputs& inputs, const ForwardContext& context) const = 0;
  virtual std::vector<LayerStateSpec> layer_states() const = 0;
  virtual int64_t vocab_size() const = 0;
  virtual int64_t hidden_size() const = 0;
  // Positions that exist (learned tables) or that the model was made for (rotary; scaling counted as vLLM counts it).
  virtual int64_t max_positions() const = 0;
  virtual bool positions_are_learned() const = 0;
  virtual double initializer_range() const = 0;
  virtual int64_t num_layers() const = 0;
  virtual Head head_kind() const { return Head::kCausalLm; }
  virtual int64_t num_logits() const { return vocab_size(); }  // columns of Outputs::logits; 0: none

  virtual const Dropouts& dropouts() const = 0;
  virtual void set_dropouts(const Dropouts& dropouts) = 0;
  // In training each block keeps its input alone and is computed again in the backward pass.
  void set_gradient_checkpointing(bool value) { gradient_checkpointing_ = value; }

  const std::string& architecture() const { return architecture_; }
  // What load() met that its caller should tell: a line each.
  const std::vector<std::string>& notices() const { return notices_; }
  void set_architecture(std::string name) { architecture_ = std::move(name); }
  DType compute_dtype() const { return compute_dtype_; }

  std::vector<Parameter*> parameters();
  // Fills every parameter from a folder's weights; names may lack the base prefix ("model.", "transformer.") as HF allows, or
  // have it where this model has none (a BertModel out of a BertForMaskedLM's folder).
  // A missing weight or a wrong shape throws kInvalidInput; a missing bias is zeros, as HF initialises it. The tensors look
  // into the mapped file; float64 becomes float32. What config.json ties and the file holds apart is read apart.
  // `missing`: gets the parameters that the folder lacks, whose values stay undefined, instead of the error; also those that it
  // has in another shape and of which `replaced` is true.
  void load(Device& device, const ModelFolder& folder, std::vector<Parameter*>* missing = nullptr,
            const std::function<bool(const Parameter&)>& replaced = {});
  // load() and prepare(): ready to serve in `compute`.
  void prepare_for_inference(Device& device, DType compute);
  // Parameters widened to float32 (float64) copies that require gradients. compute: float32, float64, or bfloat16, whose
  // activations and products are bfloat16 while parameters and their gradients stay float32.
  void prepare_for_training(Device& device, DType compute);
  // Random values after HF's _init_weights of the family; `stream` is the parameter's number, so that each draws its own.
  void initialize_parameter(Device& device, Parameter& parameter, DType dtype, uint64_t seed, uint64_t stream) const;

 protected:
  virtual std::string base_prefix() const = 0;  // "model." or "transformer."
  // Called before weights are looked up: a model drops modules here that a checkpoint may lack (a pooler), and adds those that
  // it has beyond the configuration (a head of its own). draws_missing: load() has `missing`.
  virtual void adapt(const WeightSource&, bool draws_missing) { static_cast<void>(draws_missing); }
  // The names under which a checkpoint may hold a parameter, the first that it has counts.
  virtual std::vector<std::string> stored_names(const std::string& name) const { return {name}; }
  const TensorEntry* find_entry(const WeightSource& weights, const std::string& name) const;
  // transformers' rule for two parameters that config.json ties (PreTrainedModel.tie_weights): with both in the checkpoint and
  // of different values they stay two, with a notice.
  bool comes_untied(const WeightSource& weights, const std::string& name, const std::string& tied_to);
  DType compute_dtype_ = DType::kFloat32;
  bool gradient_checkpointing_ = false;

 private:
  std::string architecture_;
  std::vector<std::string> notices_;
};

// Builds the model that config.json names: by `architectures`, and a class that is not known by `model_type`. kUnsupported says
// which architectures there are and which is nearest. head: another than the config's own, of the families that have it
// (encoders); kUnsupported where it has not.
std::unique_ptr<Model> make_model(const Json& config, const std::string& where, std::optional<Head> head = {});

}  // namespace pagoda
