// Each optimiser says what state a parameter has and which update of ops it is.
#include "train/optimizer.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/ascii.h"
#include "base/error.h"
#include "formats/safetensors.h"
#include "ops/optim.h"

namespace pagoda::train {

namespace {

// "norm" as a whole part of a path, or its last word: "model.norm.weight", "attention_norm.weight".
bool names_a_norm(const std::string& name) {
  for (size_t at = name.find("norm"); at != std::string::npos; at = name.find("norm", at + 1)) {
    const bool begins = at == 0 || name[at - 1] == '.' || name[at - 1] == '_';
    const bool ends = at + 4 == name.size() || name[at + 4] == '.';
    if (begins && ends) return true;
  }
  return false;
}

class Adam : public Optimizer {
 public:
  Adam(const TrainingArguments& arguments, const std::vector<Parameter*>& parameters)
      : Optimizer(arguments, parameters), decoupled_(arguments.optim != "adam") {}

 private:
  std::vector<std::string> state_names(const Parameter&) const override { return {"exp_avg", "exp_avg_sq"}; }
  void update(const Slot& slot, const Tensor& gradient, double learning_rate, float scale) override {
    const ops::AdamOptions options{
        learning_rate, arguments_.adam_beta1, arguments_.adam_beta2, arguments_.adam_epsilon, slot.weight_decay, decoupled_,
        slot.step};
    ops::adam(options, slot.parameter->value, gradient, slot.state[0], slot.state[1], scale, slot.parameter->copies.get(),
              slot.parameter->version + 1);
  }
  bool decoupled_;
};

class Sgd : public Optimizer {
 public:
  Sgd(const TrainingArguments& arguments, const std::vector<Parameter*>& parameters) : Optimizer(arguments, parameters) {}

 private:
  std::vector<std::string> state_names(const Parameter&) const override {
    if (arguments_.momentum == 0) return {};
    return {"momentum_buffer"};
  }
  void update(const Slot& slot, const Tensor& gradient, double learning_rate, float scale) override {
    const ops::SgdOptions options{learning_rate, arguments_.momentum, slot.weight_decay, arguments_.nesterov, slot.step};
    ops::sgd(options, slot.parameter->value, gradient, slot.state.empty() ? Tensor() : slot.state[0], scale);
  }
};

class Lion : public Optimizer {
 public:
  Lion(const TrainingArguments& arguments, const std::vector<Parameter*>& parameters) : Optimizer(arguments, parameters) {}

 private:
  std::vector<std::string> state_names(const Parameter&) const override { return {"exp_avg"}; }
  void update(const Slot& slot, const Tensor& gradient, double learning_rate, float scale) override {
    const ops::LionOptions options{learning_rate, arguments_.adam_beta1, arguments_.adam_beta2, slot.weight_decay};
    ops::lion(options, slot.parameter->value, gradient, slot.state[0], scale);
  }
};

class Adafactor : public Optimizer {
 public:
  Adafactor(const TrainingArguments& arguments, const std::vector<Parameter*>& parameters) : Optimizer(arguments, parameters) {}

 private:
  std::vector<std::string> state_names(const Parameter& parameter) const override {
    if (parameter.shape.size() < 2) return {"exp_avg_sq"};
    return {"exp_avg_sq_row", "exp_avg_sq_col"};
  }
  std::vector<int64_t> state_shape(const Parameter& parameter, const std::string& name) const override {
    if (name == "exp_avg_sq_row") return {parameter.shape[0]};
    if (name == "exp_avg_sq_col") return {parameter.shape[1]};
    return parameter.shape;
  }
  void update(const Slot& slot, const Tensor& gradient, double learning_rate, float scale) override {
    ops::AdafactorOptions options;
    options.learning_rate = learning_rate;
    options.weight_decay = slot.weight_decay;
    options.step = slot.step;
    ops::adafactor(options, slot.parameter->value, gradient, slot.state[0], slot.state.size() > 1 ? slot.state[1] : Tensor(),
                   scale);
  }
};

// HF's --optim-args, "key=value,...", in the fields that they are of.
TrainingArguments with_optim_args(TrainingArguments arguments) {
  constexpr const char* kWhere = "--optim-args";
  std::string text = arguments.optim_args;
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  for (const std::string_view part : split_at(text, ',')) {
    if (part.empty()) continue;
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos) invalid(kWhere, "got '{}', need key=value,...", arguments.optim_args);
    const std::string key(part.substr(0, equals)), value(part.substr(equals + 1));
    if (arguments.optim != "sgd" || (key != "momentum" && key != "nesterov" && key != "dampening")) {
      invalid(kWhere, "{} has no option '{}' here: need momentum or nesterov, of sgd (others are flags of their own)",
              arguments.optim, key);
    }
    if (key == "nesterov") {
      const std::string lower = lower_case(value);
      arguments.nesterov = lower == "true" || lower == "1" || lower == "yes";
      if (!arguments.nesterov && lower != "false" && lower != "0" && lower != "no") {
        invalid(kWhere, "nesterov: got '{}', need true or false", value);
      }
      continue;
    }
    char* rest = nullptr;
    const double number = std::strtod(value.c_str(), &rest);
    if (value.empty() || *rest != '\0' || !(number >= 0) || !std::isfinite(number)) {
      invalid(kWhere, "{}: got '{}', need a number of at least 0", key, value);
    }
    if (key == "momentum") arguments.momentum = number;
    if (key == "dampening" && number != 0) unsupported(kWhere, "dampening: got {}, need 0", number);
  }
  if (arguments.nesterov && arguments.momentum == 0) invalid("--nesterov", "needs --momentum above 0");
  return arguments;
}

}  // namespace

bool decays(const Parameter& parameter) {
  std::string name = parameter.name;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  // Those that begin with ones or are vectors of a norm are norms under whatever name (GPT-2's ln_1).
  if (parameter.init == Init::kOnes) return false;
  for (const char* word : {"bias", "layernorm", "rmsnorm"}) {
    if (name.find(word) != std::string::npos) return false;
  }
  return !names_a_norm(name);
}

const std::vector<std::string>& Optimizer::names() {
  static const std::vector<std::string> kNames = {"adamw", "adam", "sgd", "adafactor", "lion"};
  return kNames;
}

std::unique_ptr<Optimizer> Optimizer::make(const TrainingArguments& given, const std::vector<Parameter*>& parameters) {
  const TrainingArguments arguments = with_optim_args(given);
  const std::string name = plain_name(arguments.optim);
  if (name == "adamw" || name == "adam") return std::make_unique<Adam>(arguments, parameters);
  if (name == "sgd") return std::make_unique<Sgd>(arguments, parameters);
  if (name == "adafactor") return std::make_unique<Adafactor>(arguments, parameters);
  if (name == "lion") return std::make_unique<Lion>(arguments, parameters);
  invalid("--optim", "got '{}', need adamw (adamw_torch), adam, sgd, adafactor or lion", arguments.optim);
}

std::string Optimizer::plain_name(const std::string& name) {
  if (name == "adamw_torch" || name == "adamw_torch_fused") return "adamw";
  return name == "lion_32bit" ? "lion" : name;
}

Optimizer::Optimizer(const TrainingArguments& arguments, const std::vector<Parameter*>& parameters) : arguments_(arguments) {
  for (Parameter* parameter : parameters) {
    slots_.push_back({parameter, decays(*parameter) ? arguments.weight_decay : 0.0, 0, {}});
  }
}

double Optimizer::gradient_norm() const {
  double sum = 0;
  for (const Slot& slot : slots_) {
    if (const Tensor gradient = slot.parameter->value.grad()) sum += ops::sum_of_squares(gradient);
  }
  return std::sqrt(sum);
}

void Optimizer::make_state(Slot& slot) {
  for (const std::string& name : state_names(*slot.parameter)) {
    slot.state.push_back(Tensor::zeros(slot.parameter->value.device(), DType::kFloat32, state_shape(*slot.parameter, name)));
  }
}

void Optimizer::step(double learning_rate, float gradient_scale) {
  for (Slot& slot : slots_) {
    const Tensor gradient = slot.parameter->value.grad();
    if (!gradient) continue;
    if (!slot.owned) {
      slot.parameter->value.set_grad(Tensor());
      continue;
    }
    if (slot.step == 0) make_state(slot);
    ++slot.step;
    update(slot, gradient, learning_rate, gradient_scale);
    ++slot.parameter->version;
    slot.parameter->value.set_grad(Tensor());
  }
}

void Optimizer::zero_gradients() {
  for (Slot& slot : slots_) slot.parameter->value.set_grad(Tensor());
}

void Optimizer::set_owned(const std::vector<bool>& owned) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].owned = owned[i];
    if (owned[i]) continue;
    slots_[i].state.clear();
    slots_[i].step = 0;
  }
}

std::vector<std::pair<std::string, Tensor>> Optimizer::state() const {
  std::vector<std::pair<std::string, Tensor>> all;
  for (const Slot& slot : slots_) {
    if (slot.step == 0) continue;
    Tensor step = Tensor::empty(slot.parameter->value.device(), DType::kInt64, {1});
    step.data<int64_t>()[0] = slot.step;
    all.emplace_back(slot.parameter->name + ".step", step);
    const std::vector<std::string> names = state_names(*slot.parameter);
    for (size_t i = 0; i < names.size(); ++i) all.emplace_back(slot.parameter->name + "." + names[i], slot.state[i]);
  }
  return all;
}

void Optimizer::load_state(const std::string& path) {
  const auto file = SafetensorsFile::open(path);
  size_t used = 0;
  for (Slot& slot : slots_) {
    const std::string& name = slot.parameter->name;
    slot.state.clear();
    slot.step = 0;
    const TensorEntry* step = file->find(name + ".step");
    if (step == nullptr) continue;  // it had no gradient so far
    if (step->dtype != DType::kInt64 || step->bytes != 8) invalid(path, "{}.step: need one int64", name);
    std::memcpy(&slot.step, step->data(), 8);
    if (slot.step < 1) invalid(path, "{}.step: got {}, need 1 or more", name, slot.step);
    make_state(slot);
    ++used;
    const std::vector<std::string> names = state_names(*slot.parameter);
    for (size_t i = 0; i < names.size(); ++i) {
      const TensorEntry* entry = file->find(name + "." + names[i]);
      if (entry == nullptr) invalid(path, "{}.{} is missing: the checkpoint is of another optimiser", name, names[i]);
      if (entry->dtype != DType::kFloat32 || entry->bytes != slot.state[i].bytes()) {
        invalid(path, "{}.{}: got {} bytes of {}, need {} of float32", name, names[i], entry->bytes, dtype_name(entry->dtype),
                slot.state[i].bytes());
      }
      std::memcpy(slot.state[i].view().data, entry->data(), static_cast<size_t>(entry->bytes));
      ++used;
    }
  }
  if (used != file->tensors().size()) {
    invalid(path, "got {} tensors, need {}: the checkpoint is of another optimiser or model", file->tensors().size(), used);
  }
}

}  // namespace pagoda::train
