// How far a folder's logits lie from recorded ones, for tests of formats whose weights are decoded at load.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "formats/model_folder.h"
#include "formats/safetensors.h"
#include "models/model.h"
#include "ops/runtime.h"
#include "ops/tape.h"

namespace pagoda::testing {

inline std::vector<float> floats(const TensorEntry& entry) {
  std::vector<float> values(static_cast<size_t>(entry.bytes / 4));
  std::memcpy(values.data(), entry.data(), static_cast<size_t>(entry.bytes));
  return values;
}

// Largest difference relative to the largest logit. ids: int32; expected: float32.
inline double logits_error(const std::string& path, const TensorEntry& ids, const TensorEntry& expected, DType dtype) {
  RuntimeOptions options;
  options.threads = 2;
  Runtime runtime(options);
  const auto folder = ModelFolder::open(path);
  const std::unique_ptr<Model> model = make_model(folder->config(), folder->config_path());
  model->load(runtime.device(), *folder);
  model->prepare_for_inference(runtime.device(), dtype);
  const NoGrad no_grad;
  Tensor input = Tensor::empty(runtime.device(), DType::kInt32, {ids.shape[0]});
  std::memcpy(input.data<int32_t>(), ids.data(), static_cast<size_t>(ids.bytes));
  ForwardContext context;
  context.layout = Layout::whole({static_cast<int32_t>(ids.shape[0])}, true);
  const Tensor logits = model->forward({input}, context).logits;
  const std::vector<float> wanted = floats(expected);
  EXPECT_EQ(logits.numel(), static_cast<int64_t>(wanted.size()));
  if (logits.numel() != static_cast<int64_t>(wanted.size())) return HUGE_VAL;
  double worst = 0, scale = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(logits.data<float>()[i]) - static_cast<double>(wanted[i]));
    if (std::isnan(difference)) return HUGE_VAL;  // which std::max would pass over
    worst = std::max(worst, difference);
    scale = std::max(scale, std::fabs(static_cast<double>(wanted[i])));
  }
  return worst / scale;
}

}  // namespace pagoda::testing
