// Reads the committed oracle cases and turns their parameters, under HF's names, into SamplingParams.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "generate/params.h"

namespace pagoda {

inline Json read_cases(const std::string& name) {
  return read_json(std::string(PAGODA_SOURCE_DIR) + "/tests/generate/data/" + name);
}

inline std::vector<int32_t> ids_of(const Json& list) {
  std::vector<int32_t> ids;
  for (const Json& id : list.as_array("ids")) ids.push_back(static_cast<int32_t>(id.as_int("id")));
  return ids;
}

inline std::vector<float> floats_of(const Json& list) {
  std::vector<float> values;
  for (const Json& value : list.as_array("row")) values.push_back(static_cast<float>(value.as_double("value")));
  return values;
}

inline SamplingParams params_of(const Json& parameters) {
  SamplingParams params = from_generation_config(parameters, "case");
  params.presence_penalty = parameters.get_double("presence_penalty", 0.0, "case");
  params.frequency_penalty = parameters.get_double("frequency_penalty", 0.0, "case");
  return params;
}

}  // namespace pagoda
