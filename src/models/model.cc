// Loading, preparing and initialising parameters, the same for every family.
#include "models/model.h"

#include <cmath>
#include <cstring>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/random.h"
#include "models/unused_weights.h"
#include "ops/math.h"

namespace pagoda {

namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

Tensor to_tensor(Device& device, const TensorEntry& entry) {
  const bool aligned = reinterpret_cast<uintptr_t>(entry.data()) % static_cast<uintptr_t>(dtype_size(entry.dtype)) == 0;
  if (aligned) return Tensor::borrow(device, entry.dtype, entry.shape, entry.data(), entry.owner);
  Tensor copy = Tensor::empty(device, entry.dtype, entry.shape);
  std::memcpy(copy.view().data, entry.data(), static_cast<size_t>(entry.bytes));
  return copy;
}

// Under a name as it is, without the base prefix, or with it.
const TensorEntry* find_stored(const WeightSource& weights, const std::string& name, const std::string& prefix) {
  if (const TensorEntry* entry = weights.find(name)) return entry;
  if (name.rfind(prefix, 0) == 0) return weights.find(name.substr(prefix.size()));
  return weights.find(prefix + name);
}

float value_at(const TensorEntry& entry, int64_t index) {
  const uint8_t* at = entry.data() + index * dtype_size(entry.dtype);
  const auto read = [&](auto zero) {
    std::memcpy(&zero, at, sizeof(zero));
    return static_cast<float>(zero);
  };
  switch (entry.dtype) {
    case DType::kFloat64: return read(double{});
    case DType::kFloat32: return read(float{});
    case DType::kBFloat16: return read(BFloat16{});
    default: return read(Float16{});
  }
}

bool is_plain(const TensorEntry& entry) {
  return !entry.encoded && (entry.dtype == DType::kFloat64 || entry.dtype == DType::kFloat32 ||
                            entry.dtype == DType::kBFloat16 || entry.dtype == DType::kFloat16);
}

bool same_values(const TensorEntry& a, const TensorEntry& b) {
  if (a.shape != b.shape) return false;
  if (a.encoded || b.encoded) return a.encoded == b.encoded;
  if (a.dtype == b.dtype) return a.data() == b.data() || std::memcmp(a.data(), b.data(), static_cast<size_t>(a.bytes)) == 0;
  if (!is_plain(a) || !is_plain(b)) return false;
  const int64_t count = a.bytes / dtype_size(a.dtype);
  for (int64_t i = 0; i < count; ++i) {
    if (value_at(a, i) != value_at(b, i)) return false;
  }
  return true;
}

}  // namespace

const char* head_name(Head head) {
  switch (head) {
    case Head::kNone: return "Model";
    case Head::kMaskedLm: return "ForMaskedLM";
    case Head::kSequenceClassification: return "ForSequenceClassification";
    case Head::kTokenClassification: return "ForTokenClassification";
    case Head::kQuestionAnswering: return "ForQuestionAnswering";
    case Head::kCausalLm: break;
  }
  return "ForCausalLM";
}

const TensorEntry* Model::find_entry(const WeightSource& weights, const std::string& name) const {
  const std::string prefix = base_prefix();
  for (const std::string& each : stored_names(name)) {
    if (const TensorEntry* entry = find_stored(weights, each, prefix)) return entry;
  }
  return nullptr;
}

bool Model::comes_untied(const WeightSource& weights, const std::string& name, const std::string& tied_to) {
  const std::string prefix = base_prefix();
  const TensorEntry* own = find_stored(weights, name, prefix);
  const TensorEntry* other = find_stored(weights, tied_to, prefix);
  if (own == nullptr || other == nullptr || same_values(*own, *other)) return false;
  notices_.push_back(name + " is in the checkpoint with other values than " + tied_to +
                     ": they are not tied, though config.json ties them (its \"tie_word_embeddings\": false would say so)");
  return true;
}

std::vector<Parameter*> Model::parameters() {
  std::vector<Parameter*> all;
  collect(all);
  return all;
}

void Model::load(Device& device, const ModelFolder& folder, std::vector<Parameter*>* missing,
                 const std::function<bool(const Parameter&)>& replaced) {
  const WeightSource& weights = folder.weights();
  notices_.clear();
  adapt(weights, missing != nullptr);
  std::set<const TensorEntry*> used;
  for (Parameter* parameter : parameters()) {
    const TensorEntry* entry = find_entry(weights, parameter->name);
    used.insert(entry);
    if (entry != nullptr && entry->shape != parameter->shape && replaced && replaced(*parameter)) entry = nullptr;
    if (entry == nullptr && parameter->init == Init::kZeros && missing == nullptr) {
      // transformers initialises what a checkpoint lacks, biases with zeros: a checkpoint trained without them loads.
      parameter->value = Tensor::zeros(device, DType::kFloat32, parameter->shape);
      continue;
    }
    if (entry == nullptr && missing != nullptr) {
      missing->push_back(parameter);
      continue;
    }
    if (entry == nullptr) invalid(folder.path(), "tensor missing: need '{}' {}", parameter->name, shape_text(parameter->shape));
    if (entry->shape != parameter->shape) {
      invalid(folder.path(), "{}: got shape {}, need {} by config.json{}", parameter->name, shape_text(entry->shape),
              shape_text(parameter->shape), missing != nullptr ? " (--ignore-mismatched-sizes draws it anew)" : "");
    }
    if (entry->encoded) {
      // Vectors at once; matrices when they are packed, one at a time.
      if (parameter->shape.size() < 2) {
        parameter->value = decode(device, *entry->encoded, parameter->shape, DType::kFloat32);
      } else {
        parameter->encoded = entry->encoded;
      }
      continue;
    }
    if (!is_plain(*entry)) {
      unsupported(folder.path(), "{}: got dtype {}, need float64, float32, bfloat16 or float16", parameter->name,
                  dtype_name(entry->dtype));
    }
    parameter->value = to_tensor(device, *entry);
    if (entry->dtype == DType::kFloat64) {
      const Tensor wide = std::exchange(parameter->value, Tensor::empty(device, DType::kFloat32, entry->shape));
      device.kernels->cast(device.exec, wide.view(), parameter->value.view());
    }
  }
  std::string unused = unused_weights(weights, used, base_prefix(), folder.quantization() != nullptr);
  if (!unused.empty()) notices_.push_back(std::move(unused));
}

void Model::prepare_for_inference(Device& device, DType compute) {
  if (compute != DType::kFloat32 && compute != DType::kBFloat16) {
    unsupported("dtype", "cannot compute in {}: need float32 or bfloat16", dtype_name(compute));
  }
  compute_dtype_ = compute;
  prepare(device, compute);
}

void Model::prepare_for_training(Device& device, DType compute) {
  compute_dtype_ = compute;
  const DType masters = compute == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  for (Parameter* parameter : parameters()) {
    Tensor copy = Tensor::empty(device, masters, parameter->shape);
    const Tensor loaded = take(device, *parameter, DType::kFloat32);
    device.kernels->cast(device.exec, loaded.view(), copy.view());
    copy.set_requires_grad(true);
    parameter->value = copy;
  }
}

void Model::initialize_parameter(Device& device, Parameter& parameter, DType dtype, uint64_t seed, uint64_t stream) const {
  Tensor value = Tensor::empty(device, dtype, parameter.shape);
  const RandomStream random(seed, stream);
  double deviation = initializer_range();
  if (parameter.init == Init::kNormalResidual) deviation /= std::sqrt(2.0 * static_cast<double>(num_layers()));
  const bool drawn = parameter.init == Init::kNormal || parameter.init == Init::kNormalResidual;
  if (drawn && !(deviation >= 0 && std::isfinite(deviation))) {
    invalid("config.json", "initializer_range: got {}, need 0 or more to draw weights", initializer_range());
  }
  device.exec.pool->parallel_for(value.numel(), 1 << 14, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const double x = drawn ? random.normal(static_cast<uint64_t>(i)) * deviation : parameter.init == Init::kOnes ? 1 : 0;
      if (dtype == DType::kBFloat16) {
        value.data<BFloat16>()[i] = BFloat16(static_cast<float>(x));
      } else if (dtype == DType::kFloat16) {
        value.data<Float16>()[i] = Float16(static_cast<float>(x));
      } else {
        value.data<float>()[i] = static_cast<float>(x);
      }
    }
  });
  parameter.value = value;
}

}  // namespace pagoda
