// Optimisers and schedules against torch's and transformers' numbers; no dependence on threads; parameter groups.
#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/random.h"
#include "formats/safetensors.h"
#include "ops/optim.h"
#include "ops/runtime.h"
#include "tests/folder.h"
#include "train/schedule.h"

namespace pagoda::train {
namespace {

using ::pagoda::testing::Folder;
using ::pagoda::testing::message_of;

Json read_cases(const std::string& name) {
  const std::string path = PAGODA_SOURCE_DIR "/tests/fixtures/training/" + name + ".json";
  return Json::parse(read_file(path, 1 << 26), path);
}

RuntimeOptions threads(int count) {
  RuntimeOptions options;
  options.threads = count;
  return options;
}

void fill(const Tensor& tensor, const Json& values) {
  int64_t i = 0;
  for (const Json& value : values.as_array("case")) tensor.data<float>()[i++] = static_cast<float>(value.as_double("case"));
}

// Parameters "m.weight", "v.weight" ... of these shapes, all of which decay.
std::vector<Parameter> make_parameters(Device& device, const std::vector<std::vector<int64_t>>& shapes) {
  std::vector<Parameter> parameters;
  for (size_t i = 0; i < shapes.size(); ++i) {
    Parameter parameter{"p" + std::to_string(i) + ".weight", shapes[i], Init::kNormal,
                        Tensor::zeros(device, DType::kFloat32, shapes[i])};
    parameter.value.set_requires_grad(true);
    parameters.push_back(std::move(parameter));
  }
  return parameters;
}

std::vector<Parameter*> pointers(std::vector<Parameter>& parameters) {
  std::vector<Parameter*> all;
  for (Parameter& parameter : parameters) all.push_back(&parameter);
  return all;
}

TrainingArguments arguments_of(const std::string& name) {
  TrainingArguments arguments;
  arguments.optim = name.substr(0, name.find('_'));
  arguments.adam_beta2 = 0.98;
  arguments.adam_epsilon = 1e-6;
  arguments.weight_decay = 0.1;
  if (name.find('_') != std::string::npos) arguments.momentum = 0.9;
  arguments.nesterov = name == "sgd_nesterov";
  return arguments;
}

TEST(Optimizers, EqualTorch) {
  Runtime runtime(threads(2));
  const Json cases = read_cases("optimizers");
  for (const Json& each : cases.as_array("cases")) {
    const std::string name = each.at("name", "case").as_string("name");
    SCOPED_TRACE(name);
    std::vector<Parameter> parameters = make_parameters(runtime.device(), {{5, 7}, {9}});
    for (size_t i = 0; i < 2; ++i) fill(parameters[i].value, each.at("initial", "case").as_array("case")[i]);
    const auto optimizer = Optimizer::make(arguments_of(name), pointers(parameters));
    for (const Json& step : each.at("gradients", "case").as_array("case")) {
      for (size_t i = 0; i < 2; ++i) {
        const Tensor gradient = Tensor::like(parameters[i].value);
        fill(gradient, step.as_array("case")[i]);
        // Half the gradient, doubled in the update: clipping's factor is part of it.
        for (int64_t j = 0; j < gradient.numel(); ++j) gradient.data<float>()[j] *= 0.5f;
        parameters[i].value.set_grad(gradient);
      }
      optimizer->step(1e-2, 2.0f);
    }
    for (size_t i = 0; i < 2; ++i) {
      const Json::Array& wanted = each.at("final", "case").as_array("case")[i].as_array("case");
      for (size_t j = 0; j < wanted.size(); ++j) {
        EXPECT_NEAR(static_cast<double>(parameters[i].value.data<float>()[j]), wanted[j].as_double("case"), 2e-6)
            << i << " " << j;
      }
      EXPECT_EQ(parameters[i].version, 6u);
      EXPECT_FALSE(parameters[i].value.grad());
    }
  }
}

TEST(Schedules, EqualTransformers) {
  const Json cases = read_cases("schedules");
  for (const Json& each : cases.as_array("cases")) {
    const std::string type = each.at("type", "case").as_string("type");
    const int64_t warmup = each.at("warmup_steps", "case").as_int("case");
    SCOPED_TRACE(type + " " + each.at("options", "case").dump() + " " + std::to_string(warmup));
    const Schedule schedule(type, 1e-3, warmup, 40, each.at("options", "case"));
    const Json::Array& rates = each.at("rates", "case").as_array("case");
    for (size_t step = 0; step < rates.size(); ++step) {
      // transformers gives complex numbers where a polynomial is past its end; torch never trains there.
      if (!rates[step].is_number()) continue;
      EXPECT_NEAR(1e-3 * schedule.factor(static_cast<int64_t>(step)), rates[step].as_double("case"), 1e-15) << step;
    }
  }
}

// torch.optim.lr_scheduler.ReduceLROnPlateau(SGD(lr=1e-3), factor=0.5, patience=1, cooldown=1, min_lr=2e-4) on these metrics.
TEST(Schedules, ReduceOnPlateauEqualsTorch) {
  const Json options = Json::parse(R"({"factor": 0.5, "patience": 1, "cooldown": 1, "min_lr": 2e-4})", "test");
  const std::vector<double> metrics{1.0, 0.9, 0.95, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.5, 0.6, 0.7, 0.8};
  const std::vector<double> rates{1e-3, 1e-3, 1e-3, 5e-4, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 2.5e-4, 2e-4, 2e-4, 2e-4, 2e-4, 2e-4};
  auto schedule = std::make_unique<Schedule>("reduce_lr_on_plateau", 1e-3, 5, 40, options);
  for (size_t i = 0; i < metrics.size(); ++i) {
    schedule->observe(metrics[i]);
    EXPECT_NEAR(1e-3 * schedule->factor(static_cast<int64_t>(i)), rates[i], 1e-15) << i;
    auto resumed = std::make_unique<Schedule>("reduce_lr_on_plateau", 1e-3, 5, 40, options);
    resumed->restore(schedule->state());
    schedule = std::move(resumed);
  }
  EXPECT_NE(
      message_of([] { Schedule("reduce_lr_on_plateau", 1e-3, 0, 9, Json::parse("{\"factor\": 1}", "test")); }).find("factor"),
      std::string::npos);
}

TEST(Optimizers, OptimArgsAreThoseOfSgd) {
  TrainingArguments arguments;
  arguments.output_dir = "out";
  arguments.optim = "sgd";
  arguments.nesterov = true;
  EXPECT_NE(message_of([&] { arguments.check(); }).find("--nesterov"), std::string::npos);
  arguments.optim_args = "momentum=0.9, nesterov=True";
  EXPECT_EQ(message_of([&] { arguments.check(); }), "no error");
  arguments.optim_args = "momentum=x";
  EXPECT_NE(message_of([&] { arguments.check(); }).find("--optim-args"), std::string::npos);
  arguments.optim_args = "momentum=0.9";
  arguments.optim = "adamw";
  arguments.nesterov = false;
  EXPECT_NE(message_of([&] { arguments.check(); }).find("adamw has no option 'momentum'"), std::string::npos);
  arguments.optim = "sgd";
  arguments.optim_args = "momentum=0.9,nesterov=maybe";
  EXPECT_NE(message_of([&] { arguments.check(); }).find("nesterov: got 'maybe'"), std::string::npos);
  arguments.optim_args = "momentum=0.9,nesterov=No,";
  EXPECT_EQ(message_of([&] { arguments.check(); }), "no error");
}

TEST(Optimizers, RefuseWhatIsOfSgdAlone) {
  TrainingArguments arguments;
  arguments.output_dir = "out";
  arguments.momentum = 0.9;
  EXPECT_NE(message_of([&] { arguments.check(); }).find("[--momentum] has no effect on adamw"), std::string::npos);
  arguments.momentum = 0;
  arguments.nesterov = true;
  EXPECT_NE(message_of([&] { arguments.check(); }).find("[--nesterov] has no effect on adamw"), std::string::npos);
  arguments.momentum = 0.9;
  arguments.optim = "sgd";
  EXPECT_EQ(message_of([&] { arguments.check(); }), "no error");
}

TEST(Schedules, RefuseWhatTheyDoNotHave) {
  const auto make = [](const char* type, const char* options, double learning_rate = 1e-3) {
    return message_of([=] { Schedule(type, learning_rate, 0, 10, Json::parse(options, "test")); });
  };
  EXPECT_NE(make("cosin", "{}").find("got 'cosin', need one of linear"), std::string::npos);
  EXPECT_NE(make("linear", "{\"power\": 2}").find("linear has no option 'power'"), std::string::npos);
  EXPECT_NE(make("polynomial", "{\"lr_end\": 1}").find("lr_end"), std::string::npos);
  EXPECT_NE(make("cosine_with_min_lr", "{}").find("min_lr"), std::string::npos);
  EXPECT_NE(make("cosine_with_min_lr", "{\"min_lr\": 1e-5}", 0).find("learning rate above 0: got 0"), std::string::npos);
  EXPECT_NE(make("warmup_stable_decay", "{\"num_decay_steps\": 11}").find("num_decay_steps"), std::string::npos);
}

// Sizes over several runs and blocks, and not multiples of them.
TEST(Optimizers, GiveTheSameBitsWithAnyNumberOfThreads) {
  for (const std::string& name : Optimizer::names()) {
    std::vector<std::vector<float>> results;
    std::vector<double> norms;
    for (const int count : {1, 2, 3}) {
      Runtime runtime(threads(count));
      std::vector<Parameter> parameters = make_parameters(runtime.device(), {{173, 301}, {70001}});
      TrainingArguments arguments = arguments_of(name);
      if (name == "sgd") arguments.momentum = 0.9;
      const auto optimizer = Optimizer::make(arguments, pointers(parameters));
      const RandomStream random(1, 2);
      for (uint64_t step = 0; step < 2; ++step) {
        for (Parameter& parameter : parameters) {
          const Tensor gradient = Tensor::like(parameter.value);
          for (int64_t i = 0; i < gradient.numel(); ++i)
            gradient.data<float>()[i] = static_cast<float>(random.normal(static_cast<uint64_t>(i) + step));
          parameter.value.set_grad(gradient);
        }
        norms.push_back(optimizer->gradient_norm());
        optimizer->step(1e-3, 0.7f);
      }
      std::vector<float> values;
      for (const Parameter& parameter : parameters) {
        values.insert(values.end(), parameter.value.data<float>(), parameter.value.data<float>() + parameter.value.numel());
      }
      results.push_back(std::move(values));
    }
    for (size_t i = 1; i < results.size(); ++i) {
      EXPECT_EQ(std::memcmp(results[0].data(), results[i].data(), results[0].size() * 4), 0) << name << " " << i;
      EXPECT_EQ(norms[0], norms[2 * i]);
      EXPECT_EQ(norms[1], norms[2 * i + 1]);
    }
  }
}

TEST(Optimizers, StateGoesToAFileAndBack) {
  const Folder folder("optimizer");
  Runtime runtime(threads(1));
  for (const std::string& name : Optimizer::names()) {
    SCOPED_TRACE(name);
    std::vector<Parameter> parameters = make_parameters(runtime.device(), {{5, 7}, {9}, {3}});
    TrainingArguments arguments = arguments_of(name);
    if (name == "sgd") arguments.momentum = 0.9;
    const auto step = [](Optimizer& optimizer, std::vector<Parameter>& all) {
      for (size_t i = 0; i < 2; ++i) {  // the third never has a gradient
        const Tensor gradient = Tensor::like(all[i].value);
        for (int64_t j = 0; j < gradient.numel(); ++j) gradient.data<float>()[j] = static_cast<float>(j + 1);
        all[i].value.set_grad(gradient);
      }
      optimizer.step(1e-2, 1);
    };
    const auto first = Optimizer::make(arguments, pointers(parameters));
    step(*first, parameters);
    write_safetensors(folder / "state.safetensors", first->state());
    const auto second = Optimizer::make(arguments, pointers(parameters));
    second->load_state(folder / "state.safetensors");
    EXPECT_EQ(first->state().size(), second->state().size());
    std::vector<Parameter> copies = make_parameters(runtime.device(), {{5, 7}, {9}, {3}});
    for (size_t i = 0; i < 3; ++i) {
      std::copy(parameters[i].value.data<float>(), parameters[i].value.data<float>() + parameters[i].value.numel(),
                copies[i].value.data<float>());
    }
    const auto third = Optimizer::make(arguments, pointers(copies));
    third->load_state(folder / "state.safetensors");
    step(*first, parameters);
    step(*third, copies);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(std::memcmp(parameters[i].value.data<float>(), copies[i].value.data<float>(),
                            static_cast<size_t>(copies[i].value.bytes())),
                0);
    }
    const std::string other = name == "adamw" || name == "adam" ? "lion" : "adamw";
    const auto wrong = Optimizer::make(arguments_of(other), pointers(parameters));
    EXPECT_NE(message_of([&] { wrong->load_state(folder / "state.safetensors"); }).find("another optimiser"),
              std::string::npos);
  }
}

TEST(Optimizers, FiniteAndNorms) {
  Runtime runtime(threads(2));
  const Tensor x = Tensor::zeros(runtime.device(), DType::kFloat32, {10001});
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = 2;
  EXPECT_EQ(ops::sum_of_squares(x), 40004.0);
  EXPECT_TRUE(ops::all_finite(x));
  x.data<float>()[9999] = INFINITY;
  EXPECT_FALSE(ops::all_finite(x));
  const Tensor half = Tensor::zeros(runtime.device(), DType::kBFloat16, {5});
  EXPECT_TRUE(ops::all_finite(half));
  half.data<uint16_t>()[3] = 0x7FC0;
  EXPECT_FALSE(ops::all_finite(half));
}

}  // namespace
}  // namespace pagoda::train
