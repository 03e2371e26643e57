// A real trained GPT-2 shape (minGPT's sorting demo): every published intermediate value of a PyTorch run within 1e-5.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>

#include "base/file.h"
#include "base/json.h"
#include "models/model.h"
#include "ops/math.h"
#include "ops/runtime.h"
#include "ops/tape.h"
#include "tests/test_data.h"

namespace pagoda {
namespace {

std::vector<float> decode_base64(const std::string& text) {
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    int value = -1;
    if (c >= 'A' && c <= 'Z') value = c - 'A';
    if (c >= 'a' && c <= 'z') value = c - 'a' + 26;
    if (c >= '0' && c <= '9') value = c - '0' + 52;
    if (c == '+') value = 62;
    if (c == '/') value = 63;
    if (value < 0) continue;
    bits = (bits << 6) | static_cast<uint32_t>(value);
    if ((count += 6) >= 8) bytes += static_cast<char>((bits >> (count -= 8)) & 0xFF);
  }
  std::vector<float> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), values.size() * 4);
  return values;
}

// Keeps a copy of everything that is shown.
class Recorder : public Observer {
 public:
  void observe(std::string_view path, const Tensor& tensor) override {
    std::vector<float>& values = seen_[std::string(path)];
    const View& v = tensor.view();
    const int64_t heads = v.rank == 3 ? v.dims[1] : 1, width = v.dims[v.rank - 1];
    values.clear();
    for (int64_t t = 0; t < v.dims[0]; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const float* from = v.as<float>() + t * v.strides[0] + (v.rank == 3 ? h * v.strides[1] : 0);
        values.insert(values.end(), from, from + width);
      }
    }
  }
  const std::vector<float>& at(const std::string& path) const { return seen_.at(path); }

 private:
  std::map<std::string, std::vector<float>> seen_;
};

class GptNano : public ::testing::TestWithParam<Isa> {};

TEST_P(GptNano, EveryPublishedTensor) {
  const char* data = test::test_data();
  if (data == nullptr) GTEST_SKIP() << "needs PAGODA_TEST_DATA";
  const std::string root = std::string(data) + "/checkpoints/gpt_nano_sort/";
  const Json published = Json::parse(read_file(root + "gpt-nano-sort-t0-partials.json", 1 << 24), "partials");
  const auto expected = [&](const std::string& name) {
    return decode_base64(published.at(name, "partials").at("data", name).as_string(name));
  };
  int compared = 0;
  const auto compare = [&](const std::string& name, const std::vector<float>& got) {
    const std::vector<float> need = expected(name);
    ASSERT_EQ(got.size(), need.size()) << name;
    for (size_t i = 0; i < need.size(); ++i) {
      if (std::isinf(need[i])) {
        ASSERT_EQ(got[i], need[i]) << name << " " << i;
      } else {
        ASSERT_NEAR(got[i], need[i], 1e-5 * std::max(1.0f, std::fabs(need[i]))) << name << " " << i;
      }
    }
    ++compared;
  };
  RuntimeOptions options;
  options.threads = 1;
  options.isa = GetParam();
  Runtime runtime(options);
  Device& device = runtime.device();
  const auto folder = ModelFolder::open(root + "hf");
  const std::unique_ptr<Model> model = make_model(folder->config(), "gpt_nano");
  model->load(device, *folder);
  // The folder lacks the biases of c_attn, which the published file has: they are taken from there.
  const Json checkpoint = Json::parse(read_file(root + "gpt-nano-sort-model.json", 1 << 24), "model");
  for (const Parameter* parameter : model->parameters()) {
    if (parameter->name.find("c_attn.bias") == std::string::npos) continue;
    const std::vector<float> bias =
        decode_base64(checkpoint.at(parameter->name, "model").at("data", "model").as_string("model"));
    ASSERT_EQ(static_cast<int64_t>(bias.size()), parameter->value.numel());
    std::copy(bias.begin(), bias.end(), parameter->value.data<float>());
  }
  // Embeddings are compared as they lie in the checkpoint; the pass itself runs on prepared weights.
  constexpr int64_t kSequences = 3, kLength = 11, kHidden = 48, kHeads = 3, kDim = 16;
  const std::vector<float> idx = expected("idx");
  Tensor ids = Tensor::empty(device, DType::kInt32, {kSequences * kLength});
  for (size_t i = 0; i < idx.size(); ++i) ids.data<int32_t>()[i] = static_cast<int32_t>(idx[i]);
  Tensor positions = Tensor::empty(device, DType::kInt32, {kLength});
  for (int32_t i = 0; i < kLength; ++i) positions.data<int32_t>()[i] = i;
  const NoGrad no_grad;
  const auto values = [](const Tensor& t) { return std::vector<float>(t.data<float>(), t.data<float>() + t.numel()); };
  for (const Parameter* parameter : model->parameters()) {
    if (parameter->name == "transformer.wte.weight")
      compare("tok_emb", values(ops::embedding(parameter->value, ids, DType::kFloat32)));
    if (parameter->name == "transformer.wpe.weight")
      compare("pos_emb", values(ops::embedding(parameter->value, positions, DType::kFloat32)));
  }
  model->prepare_for_inference(device, DType::kFloat32);
  Recorder seen;
  ForwardContext context;
  context.layout = Layout::whole({kLength, kLength, kLength}, true);
  context.observer = &seen;
  const Outputs outputs = model->forward({ids}, context);
  const std::string block = "transformer.h.0";
  compare("x", seen.at("embeddings"));
  compare("ln1", seen.at(block + ".attention_norm"));
  const std::vector<float>&q = seen.at(block + ".attn.q"), &k = seen.at(block + ".attn.k"), &v = seen.at(block + ".attn.v");
  // Published as [sequence, head, position, dim]; ours are [row, head, dim].
  const auto by_head = [&](const std::vector<float>& rows) {
    std::vector<float> out;
    for (int64_t s = 0; s < kSequences; ++s)
      for (int64_t h = 0; h < kHeads; ++h)
        for (int64_t t = 0; t < kLength; ++t)
          for (int64_t d = 0; d < kDim; ++d)
            out.push_back(rows[static_cast<size_t>(((s * kLength + t) * kHeads + h) * kDim + d)]);
    return out;
  };
  compare("q", by_head(q));
  compare("k", by_head(k));
  compare("v", by_head(v));
  std::vector<float> joined;
  for (int64_t t = 0; t < kSequences * kLength; ++t) {
    for (const std::vector<float>* part : {&q, &k, &v})
      joined.insert(joined.end(), part->begin() + t * kHidden, part->begin() + (t + 1) * kHidden);
  }
  compare("qkv", joined);
  // The unfused path: scores and their softmax, row by row.
  const std::vector<float> qh = by_head(q), kh = by_head(k);
  Tensor scores = Tensor::empty(device, DType::kFloat32, {kSequences * kHeads * kLength, kLength});
  const float scale = 1 / std::sqrt(static_cast<float>(kDim));
  for (int64_t row = 0; row < scores.dim(0); ++row) {
    const int64_t group = row / kLength, t = row % kLength;
    for (int64_t j = 0; j < kLength; ++j) {
      float dot = 0;
      for (int64_t d = 0; d < kDim; ++d) {
        dot += qh[static_cast<size_t>((group * kLength + t) * kDim + d)] *
               kh[static_cast<size_t>((group * kLength + j) * kDim + d)];
      }
      scores.data<float>()[row * kLength + j] = j <= t ? dot * scale : -INFINITY;
    }
  }
  compare("att", values(scores));
  compare("attSm", values(ops::softmax(scores)));
  compare("y", seen.at(block + ".attn.mixed"));
  std::vector<float> projected = seen.at(block + ".after_attention"), mlp = seen.at(block);
  compare("attnResid", projected);
  for (size_t i = 0; i < projected.size(); ++i) {
    mlp[i] -= projected[i];
    projected[i] -= seen.at("embeddings")[i];
  }
  compare("yProj", projected);
  compare("ln2", seen.at(block + ".mlp_norm"));
  compare("fc", seen.at(block + ".mlp.in"));
  compare("gelu", seen.at(block + ".mlp.activated"));
  compare("mlp", mlp);
  compare("mlpResid", seen.at(block));
  compare("block0", seen.at(block));
  compare("block1", seen.at("transformer.h.1"));
  compare("block2", seen.at("transformer.h.2"));
  compare("ln_f", seen.at("final_norm"));
  compare("lm_head", values(outputs.logits));
  compare("probs", values(ops::softmax(outputs.logits)));
  EXPECT_EQ(compared, 24);
}

INSTANTIATE_TEST_SUITE_P(All, GptNano, ::testing::ValuesIn(supported_isas(detect_cpu())),
                         [](const auto& param) { return std::string(isa_name(param.param)); });

}  // namespace
}  // namespace pagoda
