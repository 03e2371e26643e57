// How fast one optimiser step is: forward, backward and AdamW of the published sizes of RoBERTa (masked LM) and GPT-2, against
// the FLOPs that the machine gives. bench_train [--model roberta|gpt2|small] [--dtype bfloat16|float32] [--sequences N]
// [--length N] [--steps N] [--accumulate N] [--threads N] [--isa NAME]
#include <algorithm>
#include <cstdio>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "machine.h"
#include "models/model.h"
#include "ops/loss.h"
#include "ops/machine.h"
#include "ops/runtime.h"
#include "ops/tape.h"
#include "training_configs.h"

namespace pagoda {
namespace {

void run(int argc, char** argv) {
  std::string model_name = "roberta", dtype_text = "bfloat16";
  int64_t sequences = 8, length = 128, steps = 5, passes = 1;
  RuntimeOptions options;
  options.threads = 2;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    if (value.empty()) invalid("bench_train", "{}: need a value", flag);
    if (flag == "--model") {
      model_name = value;
    } else if (flag == "--dtype") {
      dtype_text = value;
    } else if (flag == "--sequences") {
      sequences = std::stoll(value);
    } else if (flag == "--length") {
      length = std::stoll(value);
    } else if (flag == "--steps") {
      steps = std::stoll(value);
    } else if (flag == "--accumulate") {
      passes = std::stoll(value);
    } else if (flag == "--threads") {
      options.threads = std::stoi(value);
    } else if (flag == "--isa") {
      options.isa = parse_isa(value);
    } else {
      invalid("bench_train", "unknown flag: got {}", flag);
    }
  }
  if (dtype_text != "bfloat16" && dtype_text != "float32") invalid("--dtype", "got {}, need bfloat16 or float32", dtype_text);
  const DType compute = dtype_text == "float32" ? DType::kFloat32 : DType::kBFloat16;
  Runtime runtime(options);
  Device& device = runtime.device();
  const std::unique_ptr<Model> model = make_model(training_config(model_name), "config");
  uint64_t stream = 0;
  int64_t products = 0;  // weights of matrices that every token meets
  for (Parameter* parameter : model->parameters()) {
    model->initialize_parameter(device, *parameter, DType::kFloat32, 0, stream++);
    if (parameter->shape.size() == 2 && parameter->name.find("embed") == std::string::npos &&
        parameter->name.find(".wte") == std::string::npos && parameter->name.find(".wpe") == std::string::npos) {
      products += parameter->shape[0] * parameter->shape[1];
    }
  }
  model->prepare_for_training(device, compute);
  const bool causal = model->head_kind() == Head::kCausalLm;
  const int64_t tokens = sequences * length;
  Tensor ids = Tensor::empty(device, DType::kInt32, {tokens});
  const RandomStream random(1, 1);
  for (int64_t t = 0; t < tokens; ++t) {
    ids.data<int32_t>()[t] =
        static_cast<int32_t>(10 + random.bits(static_cast<uint64_t>(t)) % static_cast<uint64_t>(model->vocab_size() - 20));
  }
  auto layout = std::make_shared<Layout>(
      *Layout::whole(std::vector<int32_t>(static_cast<size_t>(sequences), static_cast<int32_t>(length)), true));
  if (!causal) {
    layout->wanted_rows.clear();
    for (int64_t t = 0; t < tokens; ++t) {
      if (random.uniform(static_cast<uint64_t>(t + tokens)) < 0.15) layout->wanted_rows.push_back(static_cast<int32_t>(t));
    }
  }
  const int64_t labelled = static_cast<int64_t>(layout->wanted_rows.size());
  Tensor labels = Tensor::empty(device, DType::kInt64, {labelled});
  for (int64_t i = 0; i < labelled; ++i)
    labels.data<int64_t>()[i] = ids.data<int32_t>()[layout->wanted_rows[static_cast<size_t>(i)]];
  // Forward once, backward twice; attention's two products over all (or half of all) pairs.
  const double attention =
      2.0 * 2.0 * static_cast<double>(tokens * length * model->hidden_size() * model->num_layers()) * (causal ? 0.5 : 1.0);
  const double flops = 3 * static_cast<double>(passes) *
                       (2.0 * static_cast<double>(products) * static_cast<double>(tokens) + attention +
                        2.0 * static_cast<double>(labelled * model->hidden_size() * model->vocab_size()));
  std::vector<Tensor> first, second;
  for (Parameter* parameter : model->parameters()) {
    first.push_back(Tensor::zeros(device, DType::kFloat32, parameter->shape));
    second.push_back(Tensor::zeros(device, DType::kFloat32, parameter->shape));
  }
  const double limit = measure_training_flop_rate(runtime, compute);
  double best = 1e30, best_forward = 0, best_backward = 0, best_update = 0, loss_value = 0;
  for (int64_t step = 0; step <= steps; ++step) {
    ForwardContext context;
    context.layout = layout;
    const double begin = seconds();
    double in_forward = 0;
    Tensor loss;
    for (int64_t pass = 0; pass < passes; ++pass) {
      const double start = seconds();
      loss = ops::cross_entropy(model->forward({ids}, context).logits, labels, labelled);
      in_forward += seconds() - start;
      backward(loss);
    }
    const double back = seconds(), forward = begin + in_forward;
    size_t i = 0;
    for (Parameter* parameter : model->parameters()) {
      const AdamStep update = {1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, step + 1};
      ++parameter->version;
      if (parameter->value.grad()) {
        const PackedView none;
        device.kernels->adam(device.exec, update, parameter->value.view(), parameter->value.grad().view(), first[i].view(),
                             second[i].view(), parameter->copies ? parameter->copies->renew_upright(parameter->version) : none,
                             parameter->copies ? parameter->copies->renew_turned(parameter->version) : none);
      }
      parameter->value.set_grad(Tensor());
      ++i;
    }
    const double end = seconds();
    loss_value = static_cast<double>(loss.data<float>()[0]);
    std::printf("step %ld: loss %.4f, forward %.0f ms, backward %.0f, update %.0f\n", static_cast<long>(step), loss_value,
                1e3 * (forward - begin), 1e3 * (back - forward), 1e3 * (end - back));
    std::fflush(stdout);
    if (step > 0 && end - begin < best) {
      best = end - begin;
      best_forward = forward - begin;
      best_backward = back - forward;
      best_update = end - back;
    }
  }
  std::printf(
      "%s %s, %ld x %ld tokens, %d threads, best of %ld: %.0f tokens/s, forward %.0f ms, backward %.0f ms, update %.0f ms\n",
      model_name.c_str(), dtype_text.c_str(), static_cast<long>(sequences), static_cast<long>(length), options.threads,
      static_cast<long>(steps), static_cast<double>(tokens * passes) / best, 1e3 * best_forward, 1e3 * best_backward,
      1e3 * best_update);
  std::printf("%.2f TFLOP a step: %.0f GFLOP/s = %.1f %% of the %.0f GFLOP/s that registers allow\n", flops * 1e-12,
              flops / best * 1e-9, 100 * flops / best / limit, limit * 1e-9);
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) { return pagoda::run_benchmark(argc, argv, pagoda::run); }
