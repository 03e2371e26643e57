// A quantised folder: what it holds, and that it reads back as the weights that were chosen.
#include "convert/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "formats/tokenizer_loader.h"
#include "ops/runtime.h"
#include "ops/tape.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";

class QuantizeTest : public ::testing::Test {
 protected:
  QuantizeTest() : out_(pagoda::testing::temporary_path("quantize")), runtime_(RuntimeOptions{2, {}, {}}) {
    std::filesystem::remove_all(out_);
  }

  QuantizeReport run(const std::string& name, const QuantizeOptions& options) {
    const auto folder = ModelFolder::open(kFixtures + name);
    if (options.ids.empty()) return quantize(runtime_.device(), *folder, nullptr, out_, options);
    const std::unique_ptr<Model> model = make_model(folder->config(), name);
    model->load(runtime_.device(), *folder);
    model->prepare_for_training(runtime_.device(), DType::kFloat32);
    return quantize(runtime_.device(), *folder, model.get(), out_, options);
  }

  // Largest difference of any weight of `out` from the original's, relative to the original's largest.
  double distance(const std::string& name) {
    const auto before = ModelFolder::open(kFixtures + name), after = ModelFolder::open(out_);
    double worst = 0;
    int encoded = 0;
    for (const std::string& weight : before->weights().names()) {
      const TensorEntry *a = before->weights().find(weight), *b = after->weights().find(weight);
      EXPECT_TRUE(b != nullptr) << weight;
      if (b == nullptr || !b->encoded) continue;
      ++encoded;
      EXPECT_EQ(a->shape, b->shape);
      std::vector<float> values(static_cast<size_t>(a->shape[0] * a->shape[1]));
      b->encoded->decode(0, b->shape[0], values.data());
      double difference = 0, scale = 0;
      for (size_t i = 0; i < values.size(); ++i) {
        const float w = reinterpret_cast<const float*>(a->data())[i];
        difference = std::max(difference, std::fabs(static_cast<double>(w - values[i])));
        scale = std::max(scale, std::fabs(static_cast<double>(w)));
      }
      worst = std::max(worst, difference / scale);
    }
    EXPECT_GT(encoded, 0);
    return worst;
  }

  std::string out_;
  Runtime runtime_;
};

TEST_F(QuantizeTest, Int8HasAScaleARow) {
  const QuantizeReport report = run("llama", {});
  EXPECT_EQ(report.matrices.size(), 14u);
  EXPECT_TRUE(report.in_int8.empty());
  EXPECT_LT(distance("llama"), 1.0 / 127);
  const auto folder = ModelFolder::open(out_);
  EXPECT_EQ(folder->quantization()->at("format", "").as_string(""), "int-quantized");
  EXPECT_EQ(folder->dtype(), DType::kFloat32);
  EXPECT_EQ(folder->weights().find("lm_head.weight")->encoded, nullptr);
  EXPECT_TRUE(file_exists(out_ + "/generation_config.json"));
  EXPECT_LT(report.bytes_after, report.bytes_before);
}

TEST_F(QuantizeTest, WhatStaysMayChangeItsDtype) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    QuantizeOptions options;
    options.dtype = dtype;
    run("llama", options);
    const auto folder = ModelFolder::open(out_);
    for (const char* name : {"model.embed_tokens.weight", "model.norm.weight"}) {
      const TensorEntry* entry = folder->weights().find(name);
      ASSERT_NE(entry, nullptr) << name;
      EXPECT_EQ(entry->dtype, dtype) << name;
    }
  }
}

// As transformers 5.24 with compressed-tensors 0.20 loads them: the exact name of a module goes before Linear.
TEST_F(QuantizeTest, Int4HasInInt8WhatNoGroupDivides) {
  QuantizeOptions options;
  options.bits = 4;
  options.group_size = 16;
  for (const bool symmetric : {true, false}) {
    options.symmetric = symmetric;
    const QuantizeReport report = run("llama", options);
    EXPECT_EQ(report.matrices.size(), 14u);
    ASSERT_EQ(report.in_int8.size(), 2u);  // down_proj: 44 columns
    EXPECT_EQ(report.in_int8[0].first, "model.layers.0.mlp.down_proj");
    EXPECT_THAT(report.in_int8[0].second, HasSubstr("44 columns are no multiple of 16"));
    for (const QuantizedMatrix& matrix : report.matrices) {
      const bool wide = matrix.name.find("down_proj") != std::string::npos;
      EXPECT_EQ(matrix.bits, wide ? 8 : 4) << matrix.name;
      EXPECT_LT(matrix.error, wide ? 0.01 : 0.5) << matrix.name;  // 128 steps, not 8
    }
    EXPECT_LT(distance("llama"), symmetric ? 1.0 / 7 : 1.2 / 15);
    const Json ignored = ModelFolder::open(out_)->quantization()->at("ignore", "");
    EXPECT_EQ(ignored.dump(), R"(["lm_head"])");
    const Json group = ModelFolder::open(out_)->quantization()->at("config_groups", "").at("group_1", "");
    EXPECT_EQ(group.at("targets", "").dump(), R"(["model.layers.0.mlp.down_proj","model.layers.1.mlp.down_proj"])");
    EXPECT_EQ(group.at("weights", "").get_string("strategy", "", ""), "channel");
  }
}

// A tied head gets a weight of its own beside the table.
TEST_F(QuantizeTest, Int4ModelsMayHaveTheirHeadInInt8) {
  QuantizeOptions options;
  options.bits = 4;
  options.int8_head = true;
  for (const std::string name : {"llama", "llama_tied_bias"}) {
    std::filesystem::remove_all(out_);
    options.group_size = name == "llama" ? 16 : 8;
    const QuantizeReport report = run(name, options);
    const auto measured = std::find_if(report.matrices.begin(), report.matrices.end(),
                                       [](const QuantizedMatrix& matrix) { return matrix.name == "lm_head"; });
    ASSERT_NE(measured, report.matrices.end());
    EXPECT_LT(measured->error, 0.01) << "128 steps, not 8";
    const auto after = ModelFolder::open(out_);
    EXPECT_FALSE(after->config().get_bool("tie_word_embeddings", true, "config.json"));
    EXPECT_EQ(after->quantization()->at("ignore", "").dump().find("lm_head"), std::string::npos);
    const TensorEntry* table = after->weights().find("model.embed_tokens.weight");
    ASSERT_NE(table, nullptr);
    EXPECT_EQ(table->encoded, nullptr);
    const TensorEntry* head = after->weights().find("lm_head.weight");
    ASSERT_NE(head, nullptr);
    ASSERT_NE(head->encoded, nullptr);
    EXPECT_EQ(head->shape, table->shape);
    const std::unique_ptr<Model> model = make_model(after->config(), name);
    model->load(runtime_.device(), *after);
    model->prepare(runtime_.device(), DType::kFloat32);
  }
  options.bits = 8;
  EXPECT_THROW(run("llama", options), Error);
}

TEST_F(QuantizeTest, CalibrationWritesWhatItMeasured) {
  QuantizeOptions options;
  options.bits = 4;
  options.group_size = 16;
  for (int i = 0; i < 600; ++i) options.ids.push_back((i * 37 + i / 7) % 99);
  options.max_length = 50;
  const QuantizeReport report = run("llama", options);
  EXPECT_EQ(report.calibration_tokens, 600);
  EXPECT_LT(distance("llama"), 0.5);
  // The error of the report is that of the file.
  const auto before = ModelFolder::open(kFixtures + "llama"), after = ModelFolder::open(out_);
  for (const QuantizedMatrix& matrix : report.matrices) {
    const TensorEntry *a = before->weights().find(matrix.name + ".weight"), *b = after->weights().find(matrix.name + ".weight");
    std::vector<float> values(static_cast<size_t>(matrix.n * matrix.k));
    b->encoded->decode(0, matrix.n, values.data());
    double error = 0, size = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double w = static_cast<double>(reinterpret_cast<const float*>(a->data())[i]);
      error += (w - static_cast<double>(values[i])) * (w - static_cast<double>(values[i]));
      size += w * w;
    }
    EXPECT_NEAR(std::sqrt(error / size), matrix.error, 1e-5) << matrix.name;
  }
}

TEST_F(QuantizeTest, GgufBecomesAFolder) {
  const QuantizeReport report = run("gguf/llama_q8_0.gguf", {});
  EXPECT_EQ(report.matrices.size(), 14u);
  const auto folder = ModelFolder::open(out_);
  EXPECT_EQ(folder->dtype(), DType::kBFloat16);
  EXPECT_EQ(folder->weights().find("model.embed_tokens.weight")->dtype, DType::kBFloat16);
  // With its tokenizer.
  EXPECT_EQ(report.no_tokenizer, "");
  const auto before = load_tokenizer(kFixtures + "gguf/llama_q8_0.gguf"), after = load_tokenizer(out_);
  for (const char* text : {"", "ab", "abba baab", " a  b ", "a</s>b", "\u4E2D\u6587"}) {
    EXPECT_EQ(after->encode_ids(text, true), before->encode_ids(text, true)) << text;
    EXPECT_EQ(after->encode_ids(text, false), before->encode_ids(text, false)) << text;
  }
  EXPECT_EQ(load_tokenizer_config(out_).eos_token, "</s>");
  EXPECT_FALSE(load_tokenizer_config(out_).chat_template.empty());
}

TEST_F(QuantizeTest, EncodersKeepTheirVectorsInInt8) {
  for (const std::string& name : list_directory(kFixtures + "encoders")) {
    const std::string path = "encoders/" + name;
    if (!file_exists(kFixtures + path + "/config.json")) continue;
    std::filesystem::remove_all(out_);
    const QuantizeReport report = run(path, {});
    EXPECT_GE(report.matrices.size(), 6u) << name;
    const NoGrad no_grad;
    std::vector<Tensor> hidden;
    for (const std::string& each : {kFixtures + path, out_}) {
      const auto folder = ModelFolder::open(each);
      const std::unique_ptr<Model> model = make_model(folder->config(), each, Head::kNone);
      model->load(runtime_.device(), *folder);
      model->prepare_for_inference(runtime_.device(), DType::kFloat32);
      Tensor ids = Tensor::empty(runtime_.device(), DType::kInt32, {12});
      for (int i = 0; i < 12; ++i) ids.data<int32_t>()[i] = 5 + 3 * i % 17;
      ForwardContext context;
      context.layout = Layout::whole({12}, true);
      hidden.push_back(model->forward({ids}, context).hidden);
    }
    double product = 0, a = 0, b = 0;
    for (int64_t i = 0; i < hidden[0].numel(); ++i) {
      const double x = static_cast<double>(hidden[0].data<float>()[i]), y = static_cast<double>(hidden[1].data<float>()[i]);
      product += x * y;
      a += x * x;
      b += y * y;
    }
    EXPECT_GT(product / std::sqrt(a * b), 0.999) << name;
    EXPECT_LT(product / std::sqrt(a * b), 1) << name;
  }
}

TEST_F(QuantizeTest, SaysWhatItCannot) {
  const auto message = [&](const std::string& name, const QuantizeOptions& options) -> std::string {
    try {
      run(name, options);
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  QuantizeOptions options;
  EXPECT_THAT(message("gpt2", options), HasSubstr("Conv1D"));
  options.bits = 4;
  options.group_size = 128;
  EXPECT_THAT(message("llama", options), HasSubstr("no matrix has a multiple of 128 columns"));
  EXPECT_FALSE(directory_exists(out_));
}

TEST_F(QuantizeTest, NamesTheTensorThatIsNotFinite) {
  const std::string bad = out_ + "_bad";
  std::filesystem::remove_all(bad);
  std::filesystem::copy(kFixtures + "llama", bad, std::filesystem::copy_options::recursive);
  std::string name;
  {
    const std::string path = bad + "/model.safetensors";
    std::string bytes = read_file(path, 1 << 30);
    const auto file = SafetensorsFile::open(path);
    const TensorEntry* entry = file->find("model.layers.1.self_attn.k_proj.weight");
    ASSERT_NE(entry, nullptr);
    name = entry->name;
    const std::string_view tensor(reinterpret_cast<const char*>(entry->data()), static_cast<size_t>(entry->bytes));
    const size_t at = bytes.find(tensor);
    ASSERT_NE(at, std::string::npos);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(bytes.data() + at, &nan, sizeof nan);
    std::filesystem::remove(path);
    write_file_atomic(path, bytes);
  }
  QuantizeOptions plain, calibrated;
  for (int i = 0; i < 60; ++i) calibrated.ids.push_back(i);
  for (const QuantizeOptions& options : {plain, calibrated}) {
    try {
      run(std::filesystem::relative(bad, kFixtures).string(), options);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_THAT(error.message(), HasSubstr("[" + name + "] got nan at [0, 0]"));
    }
    EXPECT_FALSE(file_exists(out_ + "/model.safetensors"));
  }
  std::filesystem::remove_all(bad);
}

TEST_F(QuantizeTest, CancelLeavesNoModel) {
  std::atomic<bool> cancel{true};
  QuantizeOptions options;
  options.cancel = &cancel;
  EXPECT_THROW(run("llama", options), Cancelled);
  EXPECT_FALSE(file_exists(out_ + "/model.safetensors"));
  EXPECT_FALSE(file_exists(out_ + "/config.json"));
}

}  // namespace
}  // namespace pagoda
