// Training a few low-rank matrices beside a model's frozen weights (LoRA), saved in PEFT's format.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "models/adapter.h"
#include "nn/lora.h"
#include "train/task.h"
#include "train/training_model.h"

namespace pagoda::train {

struct LoraOptions {
  // r, lora_alpha, lora_dropout, bias, use_rslora, use_dora. target_modules: names of modules, or what they end with behind a
  // dot; one expression for whole names (what has a character that no name has); "all-linear": all but the head's last (peft's
  // choice); empty: peft's choice for the family. modules_to_save: trained and
  // saved whole, besides those that the checkpoint lacks (new heads). base_model_name_or_path: what the adapter's file says of
  // its model.
  AdapterConfig config;
  std::string adapter;  // a folder to go on from; empty: A is drawn and B zero, as peft does
};

class LoraModel : public TrainingModel {
 public:
  // `path` as in TrainingModel::open; it must have weights. kInvalidInput for modules that are not there, naming some that are.
  static std::unique_ptr<LoraModel> open(const std::string& path, const TrainingModelOptions& options, const LoraOptions& lora);
  // adapter_config.json, adapter_model.safetensors; config.json for its labels; the tokenizer.
  void save(const std::string& folder) override;
  void load(const std::string& folder) override;
  Json options() const override { return Json::object().set("lora_dropout", config_of_adapter_.lora_dropout); }
  const std::shared_ptr<LowRankDraws>& draws() const { return draws_; }

 private:
  LoraModel() = default;
  void choose_saved_modules(bool of_adapter);
  // of_adapter: whose modules, where training goes on from an adapter; empty: by names.
  void attach(uint64_t seed, const std::string& of_adapter);
  std::shared_ptr<LowRank> low_rank(const ProductWeight& weight, uint64_t seed, uint32_t number);
  void load_from(const std::string& folder);
  void load_values(const TensorEntry& entry, Parameter& parameter, const std::string& where);
  std::string key_of(const Parameter& parameter) const;  // in the adapter's file
  AdapterConfig config_of_adapter_;
  std::set<std::string> adapted_;  // modules
  // Weights that stay as they are, and which the adapter has beside its own all the same: peft saves those of adapted
  // embeddings and heads.
  std::vector<Parameter*> base_layers_;
  bool fan_in_fan_out_ = false;
  Parameter* tied_ = nullptr;  // an embedding that trains and is the head too
  std::shared_ptr<LowRankDraws> draws_ = std::make_shared<LowRankDraws>();
};

// Tells the low-rank parts of a model which rows a batch has, for their dropout. Else it is the task that it holds.
class LoraTask : public Task {
 public:
  LoraTask(std::unique_ptr<Task> task, std::shared_ptr<LowRankDraws> draws)
      : task_(std::move(task)), draws_(std::move(draws)) {}
  int64_t num_examples() const override { return task_->num_examples(); }
  MicroBatch next(int64_t examples) override { return task_->next(examples); }
  Json state() const override { return task_->state(); }
  void restore(const Json& state) override { task_->restore(state); }
  int64_t examples_left() const override { return task_->examples_left(); }
  Json options() const override { return task_->options(); }
  bool has_validation() const override { return task_->has_validation(); }
  int64_t num_validation_examples() const override { return task_->num_validation_examples(); }
  std::vector<std::string> metric_names() const override { return task_->metric_names(); }
  Tensor loss(const Model& model, const MicroBatch& batch, int64_t count, Observer* observer) const override;
  void end_batches() override;
  Metrics evaluate(const Model& model, const TaskHooks& hooks, Communicator* ranks) override;

 private:
  std::unique_ptr<Task> task_;
  std::shared_ptr<LowRankDraws> draws_;
};

}  // namespace pagoda::train
