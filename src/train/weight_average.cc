// Keeps, exchanges and stores the averages.
#include "train/weight_average.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "ops/optim.h"

namespace pagoda::train {
namespace {

constexpr const char* kFile = "ema.safetensors";

Tensor copy_of(const Tensor& tensor) {
  Tensor copy = Tensor::like(tensor);
  std::copy(tensor.data<float>(), tensor.data<float>() + tensor.numel(), copy.data<float>());
  return copy;
}

}  // namespace

WeightAverage::WeightAverage(const std::vector<Parameter*>& parameters, double decay) : decay_(decay), parameters_(parameters) {
  if (decay <= 0) return;
  for (const Parameter* parameter : parameters) averages_.push_back(copy_of(parameter->value));
}

void WeightAverage::update() {
  for (size_t i = 0; i < averages_.size(); ++i) ops::moving_average(decay_, parameters_[i]->value, averages_[i]);
}

void WeightAverage::save(const std::string& folder) const {
  if (averages_.empty()) return;
  std::vector<std::pair<std::string, Tensor>> named;
  for (size_t i = 0; i < averages_.size(); ++i) named.emplace_back(parameters_[i]->name, averages_[i]);
  write_safetensors(join_path(folder, kFile), named);
}

std::shared_ptr<SafetensorsFile> WeightAverage::open(const std::string& folder) const {
  const std::string path = join_path(folder, kFile);
  if (!file_exists(path)) invalid(path, "missing: the run had no --ema-decay");
  auto file = SafetensorsFile::open(path);
  for (size_t i = 0; i < averages_.size(); ++i) {
    const TensorEntry* entry = file->find(parameters_[i]->name);
    if (entry == nullptr || entry->dtype != DType::kFloat32 || entry->bytes != averages_[i].bytes()) {
      invalid(path, "{}: missing, or of another shape than the model's", parameters_[i]->name);
    }
  }
  return file;
}

void WeightAverage::check(const std::string& folder) const {
  if (!averages_.empty()) open(folder);
}

void WeightAverage::load(const std::string& folder) {
  if (averages_.empty()) return;
  const auto file = open(folder);
  for (size_t i = 0; i < averages_.size(); ++i) {
    const TensorEntry& entry = *file->find(parameters_[i]->name);
    std::copy(entry.data(), entry.data() + entry.bytes, static_cast<uint8_t*>(averages_[i].view().data));
  }
}

void WeightAverage::swap() {
  for (size_t i = 0; i < averages_.size(); ++i) {
    float* weights = parameters_[i]->value.data<float>();
    std::swap_ranges(weights, weights + averages_[i].numel(), averages_[i].data<float>());
    ++parameters_[i]->version;
  }
}

}  // namespace pagoda::train
