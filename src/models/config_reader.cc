// Checked fields of config.json.
#include "models/config_reader.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace pagoda {

int64_t ConfigReader::size(const char* key, int64_t most) const {
  const Json* value = config_.find(key);
  if (value == nullptr || value->is_null()) invalid(where_, "missing field: need '{}'", key);
  return size(key, 0, most);
}

int64_t ConfigReader::size(const char* key, int64_t fallback, int64_t most) const {
  const int64_t value = config_.get_int(key, fallback, where_);
  if (value < 1 || value > most) invalid(where_, "{}: got {}, need 1 to {}", key, value, most);
  return value;
}

float ConfigReader::probability(const char* key, double fallback) const {
  const double value = config_.get_double(key, fallback, where_);
  if (!(value >= 0 && value <= 1)) invalid(where_, "{}: got {}, need 0 to 1", key, value);
  return static_cast<float>(value);
}

double ConfigReader::positive(const char* key, double fallback) const {
  const double value = config_.get_double(key, fallback, where_);
  if (!(value > 0) || !std::isfinite(value)) invalid(where_, "{}: got {}, need a positive number", key, value);
  return value;
}

Activation parse_activation(const std::string& name, const std::string& where) {
  static const std::pair<const char*, Activation> kNames[] = {
      {"silu", Activation::kSilu},
      {"swish", Activation::kSilu},
      {"gelu", Activation::kGelu},
      {"gelu_python", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh},
      {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"gelu_python_tanh", Activation::kGeluTanh},
      {"gelu_accurate", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluFast},
      {"gelu_10", Activation::kGelu10},
      {"quick_gelu", Activation::kQuickGelu},
      {"relu", Activation::kRelu},
      {"relu2", Activation::kRelu2},
      {"relu6", Activation::kRelu6},
      {"leaky_relu", Activation::kLeakyRelu},
      {"sigmoid", Activation::kSigmoid},
      {"tanh", Activation::kTanh},
      {"mish", Activation::kMish},
      {"hardswish", Activation::kHardSwish},
      {"laplace", Activation::kLaplace},
      {"sqrtsoftplus", Activation::kSqrtSoftplus},
      {"linear", Activation::kNone},
  };
  std::string known;
  for (const auto& [text, kind] : kNames) {
    if (name == text) return kind;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  unsupported(where, "unknown activation: got '{}', need one of {}", name, known);
}

Activation ConfigReader::activation(const char* key, const char* fallback) const {
  return parse_activation(config_.get_string(key, fallback, where_), where_);
}

const Json* ConfigReader::rope() const {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* value = config_.find(key);
    if (value != nullptr && !value->is_null()) {
      if (!value->is_object()) invalid(where_, "{}: got {}, need object", key, value->type_name());
      return value;
    }
  }
  return nullptr;
}

// transformers' LLaMA, Mistral and Qwen2 turn whole heads: rope type default does not look at partial_rotary_factor, and with
// any other their tables and heads would differ in width.
void ConfigReader::check_partial_rotary(const ConfigReader& rope, const std::string& type, int64_t head_dim) const {
  if (type == "default") return;
  const double partial = rope.positive("partial_rotary_factor", positive("partial_rotary_factor", 1));
  if (static_cast<int64_t>(static_cast<double>(head_dim) * partial) == head_dim) return;
  unsupported(where_, "partial_rotary_factor: got {} with rope type '{}', need 1 (or type 'default', which ignores it)",
              partial, type);
}

RotaryConfig ConfigReader::rotary(int64_t head_dim, int64_t max_position_embeddings) const {
  RotaryConfig c;
  const Json* rope_json = rope();
  const Json none = Json::object();
  const ConfigReader r(rope_json != nullptr ? *rope_json : none, where_ + ": rope");
  c.theta = r.positive("rope_theta", positive("rope_theta", 10000));
  c.max_position_embeddings = max_position_embeddings;
  const std::string type = r.json().get_string("rope_type", r.json().get_string("type", "default", where_), where_);
  c.dim = r.size("dimension_count", head_dim, head_dim) / 2 * 2;  // GGUF's
  if (c.dim < 2) invalid(r.where(), "dimension_count: got {}, need an even number", c.dim);
  check_partial_rotary(r, type, head_dim);
  c.original_max_position_embeddings =
      r.size("original_max_position_embeddings",
             config_.get_int("original_max_position_embeddings", max_position_embeddings, where_), int64_t{1} << 31);
  if (const Json* factors = r.json().find("frequency_factors")) {
    for (const Json& each : factors->as_array(r.where() + ": frequency_factors")) {
      const double value = each.as_double(r.where() + ": frequency_factors");
      if (!(value > 0) || !std::isfinite(value)) invalid(r.where(), "frequency_factors: got {}, need positive numbers", value);
      c.frequency_factors.push_back(static_cast<float>(value));
    }
    if (static_cast<int64_t>(c.frequency_factors.size()) != c.dim / 2)
      invalid(r.where(), "frequency_factors: got {}, need {}", c.frequency_factors.size(), c.dim / 2);
  }
  const auto factor = [&] {
    if (!r.json().contains("factor")) invalid(where_, "rope: missing field: need 'factor' for type '{}'", type);
    return r.positive("factor", 1);
  };
  if (type == "default" || type == "mrope") {
    if (type == "mrope")
      unsupported(where_, "rope type 'mrope' needs an image model: need default, linear, dynamic, yarn or llama3");
  } else if (type == "linear") {
    c.type = RotaryConfig::Type::kLinear;
    c.factor = factor();
  } else if (type == "dynamic") {
    c.type = RotaryConfig::Type::kDynamic;
    c.factor = factor();
    if (c.dim < 4) invalid(where_, "rope: dynamic scaling needs at least 4 rotary dimensions: got {}", c.dim);
  } else if (type == "yarn") {
    c.type = RotaryConfig::Type::kYarn;
    const Json* given = r.json().find("factor");
    c.factor = given == nullptr || given->is_null()
                   ? static_cast<double>(max_position_embeddings) / static_cast<double>(c.original_max_position_embeddings)
                   : r.positive("factor", 1);
    const auto mscale_of = [&](double mscale) { return c.factor <= 1 ? 1.0 : 0.1 * mscale * std::log(c.factor) + 1.0; };
    const double mscale = r.json().get_double("mscale", 0, where_), all = r.json().get_double("mscale_all_dim", 0, where_);
    c.attention_factor = mscale != 0 && all != 0 ? mscale_of(mscale) / mscale_of(all) : mscale_of(1);
    c.attention_factor = r.positive("attention_factor", c.attention_factor);
    c.beta_fast = r.positive("beta_fast", 32);
    c.beta_slow = r.positive("beta_slow", 1);
    c.truncate = r.flag("truncate", true);
    if (c.theta <= 1) invalid(where_, "rope_theta: got {}, need more than 1 for yarn", c.theta);
  } else if (type == "llama3") {
    c.type = RotaryConfig::Type::kLlama3;
    c.factor = factor();
    c.low_freq_factor = r.positive("low_freq_factor", 1);
    c.high_freq_factor = r.positive("high_freq_factor", 4);
    if (c.high_freq_factor == c.low_freq_factor)
      invalid(where_, "rope: low_freq_factor and high_freq_factor must differ: got {}", c.low_freq_factor);
  } else {
    unsupported(where_, "unknown rope type: got '{}', need default, linear, dynamic, yarn or llama3", type);
  }
  return c;
}

int64_t rotary_context(const RotaryConfig& c) {
  double length = static_cast<double>(c.max_position_embeddings);
  if (c.type == RotaryConfig::Type::kYarn) length = static_cast<double>(c.original_max_position_embeddings);
  if (c.type != RotaryConfig::Type::kDefault && c.type != RotaryConfig::Type::kLlama3) length *= c.factor;
  return std::max(c.max_position_embeddings, static_cast<int64_t>(std::min(length, 1e9)));
}

}  // namespace pagoda
