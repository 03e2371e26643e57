// Reads fields of config.json with checks: positive sizes, known activations, rotary of both spellings.
#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "nn/rotary.h"
#include "ops/math.h"

namespace pagoda {

class ConfigReader {
 public:
  ConfigReader(const Json& config, std::string where) : config_(config), where_(std::move(where)) {}
  const Json& json() const { return config_; }
  const std::string& where() const { return where_; }
  // A size: required, or with a default; 1 to `most`.
  int64_t size(const char* key, int64_t most = int64_t{1} << 31) const;
  int64_t size(const char* key, int64_t fallback, int64_t most) const;
  double positive(const char* key, double fallback) const;
  float probability(const char* key, double fallback) const;  // 0 to 1; null: the fallback
  // Whatever number stands there: only who draws weights needs a good one (Model::initialize_parameter).
  double initializer_range() const { return config_.get_double("initializer_range", 0.02, where_); }
  bool flag(const char* key, bool fallback) const { return config_.get_bool(key, fallback, where_); }
  Activation activation(const char* key, const char* fallback) const;
  // rope_parameters (transformers 5) or rope_scaling and rope_theta (4).
  RotaryConfig rotary(int64_t head_dim, int64_t max_position_embeddings) const;

 private:
  const Json* rope() const;
  void check_partial_rotary(const ConfigReader& rope, const std::string& type, int64_t head_dim) const;
  const Json& config_;
  std::string where_;
};

// The context length of a rotary model: max_position_embeddings times the scaling factor, as vLLM derives it.
int64_t rotary_context(const RotaryConfig& rotary);

Activation parse_activation(const std::string& name, const std::string& where);

}  // namespace pagoda
