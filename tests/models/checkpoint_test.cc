// Checkpoints that say one thing and hold another, read as transformers 5.24 reads them: heads that config.json ties and the
// file has, bases without a head, classes of other names, float64, fields of no use to inference. Each folder is a fixture with
// its tensors renamed or scaled, so that what transformers gives follows from the fixture's own reference; that it does was
// checked once by loading the same folders with transformers' AutoModel classes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "models/decoder.h"
#include "ops/runtime.h"
#include "ops/tape.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";
using Tensors = std::map<std::string, Tensor>;

class Checkpoint : public ::testing::Test {
 protected:
  Checkpoint() : runtime_(one_thread()) {}
  static RuntimeOptions one_thread() {
    RuntimeOptions options;
    options.threads = 1;
    options.isa = Isa::kReference;
    return options;
  }
  // A copy of a fixture after `change`, with `fields` over its config.json.
  std::string folder(
      const std::string& name, const std::string& to, const std::string& fields,
      const std::function<void(Tensors&)>& change = [](Tensors&) {}) {
    const std::string path = pagoda::testing::temporary_path("checkpoint_" + to);
    make_directories(path);
    Json config = Json::parse(read_file(kFixtures + name + "/config.json", 1 << 20), name);
    const Json changes = Json::parse("{" + fields + "}", "fields");
    for (const JsonMember& member : changes.as_object("fields")) {
      config.set(member.key, member.value);
    }
    write_file_atomic(path + "/config.json", config.dump());
    Tensors tensors;
    const auto file = SafetensorsFile::open(kFixtures + name + "/model.safetensors");
    for (const TensorEntry& entry : file->tensors()) {
      Tensor tensor = Tensor::empty(runtime_.device(), entry.dtype, entry.shape);
      std::memcpy(tensor.view().data, entry.data(), static_cast<size_t>(entry.bytes));
      tensors.emplace(entry.name, tensor);
    }
    change(tensors);
    write_safetensors(path + "/model.safetensors", {tensors.begin(), tensors.end()});
    return path;
  }
  Tensor scaled(const Tensor& tensor, float by) {
    Tensor out = Tensor::empty(runtime_.device(), DType::kFloat32, tensor.dims());
    for (int64_t i = 0; i < tensor.numel(); ++i) out.data<float>()[i] = tensor.data<float>()[i] * by;
    return out;
  }
  std::unique_ptr<Model> load(const std::string& path) {
    const auto opened = ModelFolder::open(path);
    std::unique_ptr<Model> model = make_model(opened->config(), path);
    model->load(runtime_.device(), *opened);
    model->prepare_for_inference(runtime_.device(), DType::kFloat32);
    return model;
  }
  std::vector<float> rows(const Model& model, bool logits) {
    const NoGrad no_grad;
    const std::vector<int32_t> ids{3, 17, 4, 20, 9};
    Tensor tensor = Tensor::empty(runtime_.device(), DType::kInt32, {5});
    std::copy(ids.begin(), ids.end(), tensor.data<int32_t>());
    ForwardContext context;
    const auto layout = std::make_shared<Layout>(*Layout::whole({5}, true));
    if (!logits) layout->wanted_rows.clear();
    context.layout = layout;
    const Outputs outputs = model.forward({tensor, {}}, context);
    const Tensor& result = logits ? outputs.logits : outputs.hidden;
    return {result.data<float>(), result.data<float>() + result.numel()};
  }
  std::vector<float> logits(const std::string& path) { return rows(*load(path), true); }
  Runtime runtime_;
};

TEST_F(Checkpoint, ATiedHeadOfOtherValuesIsItsOwn) {
  const std::string path = folder("llama", "llama_both", R"("tie_word_embeddings": true)");  // the fixture has two matrices
  EXPECT_EQ(logits(path), logits(kFixtures + "llama"));
  const std::unique_ptr<Model> model = load(path);
  ASSERT_EQ(model->notices().size(), 1u);
  EXPECT_NE(model->notices()[0].find("lm_head.weight"), std::string::npos) << model->notices()[0];
  EXPECT_NE(model->notices()[0].find("tie_word_embeddings"), std::string::npos) << model->notices()[0];
  EXPECT_TRUE(load(kFixtures + "llama")->notices().empty());
}

TEST_F(Checkpoint, EveryDecoderFamilyHasThatRule) {
  for (const auto& [name, table] : {std::pair<std::string, std::string>{"gpt2", "transformer.wte.weight"},
                                    {"gpt_bigcode_mqa", "transformer.wte.weight"},
                                    {"qwen2", "model.embed_tokens.weight"},
                                    {"mistral", "model.embed_tokens.weight"}}) {
    const auto with_head = [&, at = table](float by) {
      return folder(name, name + "_head_" + std::to_string(by), R"("tie_word_embeddings": true)",
                    [&](Tensors& tensors) { tensors["lm_head.weight"] = scaled(tensors.at(at), by); });
    };
    const std::vector<float> same = logits(with_head(1)), twice = logits(with_head(2));
    EXPECT_TRUE(load(with_head(1))->notices().empty()) << name;  // as pytorch_model.bin files hold both
    EXPECT_EQ(load(with_head(2))->notices().size(), 1u) << name;
    ASSERT_EQ(same.size(), twice.size());
    for (size_t i = 0; i < same.size(); ++i) EXPECT_FLOAT_EQ(twice[i], 2 * same[i]) << name;
  }
}

TEST_F(Checkpoint, OfTwoTiedWeightsEitherWillDo) {
  const std::string path = folder("qwen2", "qwen2_head_alone", R"("tie_word_embeddings": true)", [](Tensors& tensors) {
    tensors["lm_head.weight"] = tensors.at("model.embed_tokens.weight");
    tensors.erase("model.embed_tokens.weight");
  });
  EXPECT_EQ(logits(path), logits(kFixtures + "qwen2"));
}

TEST_F(Checkpoint, ADecoderOfMasksToo) {
  const std::string words = "bert.embeddings.word_embeddings.weight", decoder = "cls.predictions.decoder.";
  const std::string masked = R"("architectures": ["BertForMaskedLM"])", bert = "encoders/bert";
  Tensor bias;
  const auto both = [&](float by) {
    return folder(bert, "bert_decoder_" + std::to_string(by), masked, [&](Tensors& tensors) {
      bias = tensors.at("cls.predictions.bias");
      tensors[decoder + "weight"] = scaled(tensors.at(words), by);
    });
  };
  const std::vector<float> plain = logits(folder(bert, "bert_masked", masked)), same = logits(both(1)), twice = logits(both(2));
  EXPECT_EQ(same, plain);
  const auto vocab = static_cast<size_t>(bias.numel());
  for (size_t i = 0; i < plain.size(); ++i) {
    const float add = bias.data<float>()[i % vocab];
    EXPECT_NEAR(twice[i], 2 * (plain[i] - add) + add, 1e-4);
  }
  EXPECT_EQ(load(both(2))->notices().size(), 1u);
  // Of two biases it is the decoder's that transformers adds.
  const std::vector<float> biased = logits(folder(bert, "bert_biases", masked, [&](Tensors& tensors) {
    tensors[decoder + "bias"] = scaled(tensors.at("cls.predictions.bias"), 3);
  }));
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(biased[i], plain[i] + 2 * bias.data<float>()[i % vocab], 1e-4);
}

TEST_F(Checkpoint, ABaseWithoutAHeadGivesHiddenStates) {
  const auto bare = [](const std::string& prefix) {
    return [prefix](Tensors& tensors) {
      Tensors renamed;
      for (const auto& [name, tensor] : tensors) {
        if (name != "lm_head.weight") renamed[name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : name] = tensor;
      }
      tensors = renamed;
    };
  };
  for (const auto& [name, base, prefix] : {std::tuple<std::string, std::string, std::string>{"llama", "LlamaModel", "model."},
                                           {"mistral", "MistralModel", "model."},
                                           {"qwen2", "Qwen2Model", "model."},
                                           {"gpt2", "GPT2Model", "transformer."},
                                           {"gpt_bigcode_mqa", "GPTBigCodeModel", "transformer."}}) {
    const std::string fields = R"("architectures": [")" + base + R"("], "tie_word_embeddings": )";
    const std::unique_ptr<Model> model = load(folder(name, name + "_base", fields + "false", bare(prefix)));
    EXPECT_EQ(model->num_logits(), 0) << name;
    EXPECT_EQ(rows(*model, false), rows(*load(kFixtures + name), false)) << name;
    EXPECT_THROW(rows(*model, true), Error) << name;
    // With tied weights AutoModelForCausalLM has its head all the same.
    if (name == "qwen2" || name == "gpt2") {
      EXPECT_EQ(logits(folder(name, name + "_tied_base", fields + "true", bare(prefix))), logits(kFixtures + name)) << name;
    }
  }
  // LlamaForCausalLM must have one.
  EXPECT_THROW(load(folder("llama", "llama_headless", "", bare("model."))), Error);
}

TEST_F(Checkpoint, AClassOfAnotherNameGoesByModelType) {
  for (const char* name : {R"(["MyLlama"])", R"(["FooForCausalLM"])", "[]", "null"}) {
    EXPECT_EQ(logits(folder("llama", "llama_named", std::string(R"("architectures": )") + name)), logits(kFixtures + "llama"))
        << name;
  }
  const auto refused = [](const std::string& text) {
    try {
      make_model(Json::parse(text, "config.json"), "config.json");
      return false;
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kUnsupported;
    }
  };
  EXPECT_TRUE(refused(R"({"architectures": ["LlamaForSequenceClassification"], "model_type": "llama"})"));
  EXPECT_TRUE(refused(R"({"architectures": ["BertForNextSentencePrediction"], "model_type": "bert"})"));
  EXPECT_TRUE(refused(R"({"architectures": ["FooForCausalLM"], "model_type": "foo"})"));
}

// As the UNEXPECTED keys of transformers.
TEST_F(Checkpoint, WeightsWithoutAPlaceAreNamed) {
  const std::unique_ptr<Model> fewer = load(folder("llama", "llama_fewer", R"("num_hidden_layers": 1)"));
  ASSERT_EQ(fewer->notices().size(), 1u);
  EXPECT_NE(fewer->notices()[0].find("9 of the checkpoint's tensors have no place"), std::string::npos) << fewer->notices()[0];
  EXPECT_NE(fewer->notices()[0].find("model.layers.1.input_layernorm.weight, "), std::string::npos) << fewer->notices()[0];
  EXPECT_NE(fewer->notices()[0].find(" and 6 more"), std::string::npos) << fewer->notices()[0];
  const std::unique_ptr<Model> biased = load(folder("llama", "llama_biased", "", [&](Tensors& tensors) {
    Tensor bias = Tensor::zeros(runtime_.device(), DType::kFloat32, {4});
    tensors["model.layers.0.self_attn.q_proj.bias"] = bias;  // zeros change nothing
    bias = Tensor::zeros(runtime_.device(), DType::kFloat32, {4});
    bias.data<float>()[2] = 1;
    tensors["model.layers.0.self_attn.k_proj.bias"] = bias;
  }));
  ASSERT_EQ(biased->notices().size(), 1u);
  EXPECT_NE(biased->notices()[0].find("1 of the checkpoint's tensors has no place in the model of config.json and is not used: "
                                      "model.layers.0.self_attn.k_proj.bias"),
            std::string::npos)
      << biased->notices()[0];
}

// Tables that transformers computes anew, and heads of other tasks.
TEST_F(Checkpoint, WhatEveryoneLeavesOutIsNotTold) {
  const auto with = [&](const std::string& fixture, const std::vector<std::string>& names) {
    return load(folder(fixture, fixture + "_more", "", [&](Tensors& tensors) {
      for (const std::string& name : names) tensors[name] = Tensor::zeros(runtime_.device(), DType::kFloat32, {2, 2});
    }));
  };
  EXPECT_TRUE(with("llama", {"model.layers.0.self_attn.rotary_emb.inv_freq", "score.weight"})->notices().empty());
  EXPECT_TRUE(with("gpt2", {"transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"})->notices().empty());
  for (const char* fixture :
       {"llama", "gpt2", "qwen2", "mistral", "encoders/bert", "encoders/roberta", "encoders/distilbert", "encoders/albert"}) {
    const auto opened = ModelFolder::open(kFixtures + fixture);
    for (const bool base : {false, true}) {
      if (base && std::string(fixture).rfind("encoders", 0) != 0) continue;
      const std::unique_ptr<Model> model =
          make_model(opened->config(), fixture, base ? std::optional<Head>(Head::kNone) : std::nullopt);
      model->load(runtime_.device(), *opened);
      EXPECT_TRUE(model->notices().empty()) << fixture << ": " << model->notices()[0];
    }
  }
}

TEST_F(Checkpoint, Float64IsRead) {
  const std::string path = folder("llama", "llama_float64", "", [this](Tensors& tensors) {
    for (auto& [name, tensor] : tensors) {
      Tensor wide = Tensor::empty(runtime_.device(), DType::kFloat64, tensor.dims());
      for (int64_t i = 0; i < tensor.numel(); ++i) wide.data<double>()[i] = static_cast<double>(tensor.data<float>()[i]);
      tensor = wide;
    }
  });
  EXPECT_EQ(logits(path), logits(kFixtures + "llama"));
}

TEST_F(Checkpoint, InitializerRangeIsForWhoDraws) {
  for (const std::string value : {"0", "0.0", "NaN", "-1"}) {
    for (const std::string name : {"llama", "gpt2", "encoders/bert", "encoders/distilbert"}) {
      const std::string path = folder(name, "initializer", "\"initializer_range\": " + value);
      const std::unique_ptr<Model> model = load(path);
      Parameter* parameter = model->parameters().front();
      const auto draw = [&] { model->initialize_parameter(runtime_.device(), *parameter, DType::kFloat32, 0, 0); };
      if (value[0] == '0') {
        EXPECT_NO_THROW(draw());
      } else {
        EXPECT_THROW(draw(), Error) << name << " " << value;
      }
    }
  }
}

// transformers' LlamaRotaryEmbedding turns whole heads for type default, and cannot run with the others.
TEST_F(Checkpoint, PartialRotaryFactorIsNotLlamas) {
  const std::string rope = R"("rope_parameters": {"rope_theta": 10000.0, "partial_rotary_factor": 0.5, "rope_type": )";
  EXPECT_EQ(logits(folder("llama", "llama_partial", rope + R"("default"})")), logits(kFixtures + "llama"));
  EXPECT_EQ(logits(folder("llama", "llama_partial_outside", R"("partial_rotary_factor": 0.5)")), logits(kFixtures + "llama"));
  EXPECT_THROW(load(folder("llama", "llama_partial_linear", rope + R"("linear", "factor": 2.0})")), Error);
}

}  // namespace
}  // namespace pagoda
