// Optimisers over the named parameters of a model: groups, clipping, state by parameter name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "nn/module.h"
#include "train/arguments.h"

namespace pagoda::train {

// Does weight decay apply to it? Not to norms and biases: transformers' Trainer.get_decay_parameter_names.
bool decays(const Parameter& parameter);

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // By TrainingArguments::optim; kInvalidInput names those that there are. Parameters are float32 and stay where they are.
  static std::unique_ptr<Optimizer> make(const TrainingArguments& arguments, const std::vector<Parameter*>& parameters);
  static const std::vector<std::string>& names();
  static std::string plain_name(const std::string& name);  // HF's other names for the same: adamw_torch is adamw

  // The norm of all gradients together, in a fixed order of sums (torch.nn.utils.clip_grad_norm_).
  double gradient_norm() const;
  // One update from the gradients, each multiplied by `gradient_scale`, which are dropped then. Parameters without a gradient
  // stay as they are. Raises Parameter::version.
  void step(double learning_rate, float gradient_scale);
  void zero_gradients();
  // Only these of the parameters are updated, and have state; the gradients of the others are dropped. (ZeRO-1)
  void set_owned(const std::vector<bool>& owned);

  // {"PARAMETER.exp_avg", tensor} ... and {"PARAMETER.step", int64 [1]}, of parameters updated so far.
  std::vector<std::pair<std::string, Tensor>> state() const;
  // kInvalidInput where a tensor of another optimiser or shape is met.
  void load_state(const std::string& file);

 protected:
  struct Slot {
    Parameter* parameter;
    double weight_decay;
    int64_t step = 0;
    std::vector<Tensor> state;  // as state_names()
    bool owned = true;
  };
  Optimizer(const TrainingArguments& arguments, const std::vector<Parameter*>& parameters);
  virtual std::vector<std::string> state_names(const Parameter& parameter) const = 0;
  virtual std::vector<int64_t> state_shape(const Parameter& parameter, const std::string& name) const {
    static_cast<void>(name);
    return parameter.shape;
  }
  virtual void update(const Slot& slot, const Tensor& gradient, double learning_rate, float gradient_scale) = 0;
  const TrainingArguments arguments_;

 private:
  void make_state(Slot& slot);
  std::vector<Slot> slots_;
};

}  // namespace pagoda::train
