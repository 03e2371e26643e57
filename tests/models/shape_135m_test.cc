// The shape that fixtures are too small for: SmolLM2-135M with random weights, every instruction set against the reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/random.h"
#include "engine/runner.h"
#include "models/model.h"
#include "ops/runtime.h"
#include "ops/tape.h"

namespace pagoda {
namespace {

constexpr int64_t kTokens = 300;

std::unique_ptr<Model> make_135m(Device& device, DType compute) {
  const std::string path = PAGODA_SOURCE_DIR "/tools/demo_config.json";
  std::unique_ptr<Model> model = make_model(Json::parse(read_file(path, 1 << 20), path), path);
  uint64_t stream = 0;
  for (Parameter* parameter : model->parameters())
    model->initialize_parameter(device, *parameter, DType::kBFloat16, 1, stream++);
  model->prepare_for_inference(device, compute);
  return model;
}

std::vector<int32_t> random_ids(int64_t vocab) {
  std::vector<int32_t> ids;
  const RandomStream random(3, 0);
  for (uint64_t i = 0; i < kTokens; ++i) ids.push_back(static_cast<int32_t>(random.bits(i) % static_cast<uint64_t>(vocab)));
  return ids;
}

std::vector<float> logits_of(Isa isa, DType compute) {
  RuntimeOptions options;
  options.threads = 2;
  options.isa = isa;
  Runtime runtime(options);
  const std::unique_ptr<Model> model = make_135m(runtime.device(), compute);
  const std::vector<int32_t> line = random_ids(model->vocab_size());
  Tensor ids = Tensor::empty(runtime.device(), DType::kInt32, {kTokens});
  std::copy(line.begin(), line.end(), ids.data<int32_t>());
  const NoGrad no_grad;
  ForwardContext context;
  context.layout = Layout::whole({kTokens}, true);
  const Outputs outputs = model->forward({ids}, context);
  return std::vector<float>(outputs.logits.data<float>(), outputs.logits.data<float>() + outputs.logits.numel());
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0, scale = 1e-12;
  for (size_t i = 0; i < b.size(); ++i) {
    scale = std::max(scale, std::fabs(static_cast<double>(b[i])));
    worst = std::max(worst, std::isnan(a[i]) ? 1e30 : std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return worst / scale;
}

// bfloat16 keeps 8 bits: each rounding moves a value by up to 2^-9, and 30 layers round their rows some ten times each. Two
// instruction sets that round at different places drift apart by about sqrt(300) * 2^-9 of a value: 3.4 % of the largest logit
// is the bound, 5 % with room for the unlucky.
TEST(Shape135MSlow, EveryInstructionSetAgreesWithTheReference) {
  for (const DType compute : {DType::kFloat32, DType::kBFloat16}) {
    const std::vector<float> reference = logits_of(Isa::kReference, compute);
    for (const Isa isa : supported_isas(detect_cpu())) {
      if (isa == Isa::kReference) continue;
      const double error = relative_error(logits_of(isa, compute), reference);
      RecordProperty(std::string(isa_name(isa)) + "_" + dtype_name(compute), std::to_string(error));
      EXPECT_LT(error, compute == DType::kFloat32 ? 1e-4 : 0.05) << isa_name(isa) << " " << dtype_name(compute);
    }
  }
}

// What a step costs in forks: at decode at most six a layer.
TEST(Shape135MSlow, ForksOfADecodeStep) {
  RuntimeOptions options;
  options.threads = 2;
  Runtime runtime(options);
  const std::unique_ptr<Model> model = make_135m(runtime.device(), DType::kBFloat16);
  KvCache cache(model->layer_states(), DType::kBFloat16, 64);
  Runner runner(runtime, *model, cache);
  std::vector<int32_t> ids = random_ids(model->vocab_size());
  BlockManager blocks(cache.num_pages());
  BlockTable table;
  SchedulerOutput step;
  ASSERT_TRUE(blocks.reserve(table, kTokens, step.copies));
  step.items.push_back({&ids, &table, 0, kTokens - 1, true, false});
  runner.run(step);
  step.items[0].from = kTokens - 1;
  step.items[0].num_new_tokens = 1;
  const uint64_t before = runtime.pool().regions();
  runner.run(step);
  const uint64_t forks = runtime.pool().regions() - before;
  EXPECT_GE(forks, 30u);
  EXPECT_LE(forks, 6u * 30u + 2u);  // the head and the rotary table besides
}

}  // namespace
}  // namespace pagoda
