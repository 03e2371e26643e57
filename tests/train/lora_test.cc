// LoRA: what trains, PEFT's file and back, merging, dropout, what is refused; gradients of the low-rank part in double.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/random.h"
#include "formats/model_folder.h"
#include "formats/safetensors.h"
#include "ops/loss.h"
#include "ops/tape.h"
#include "tests/folder.h"
#include "tests/gradients.h"
#include "train/lora_model.h"

namespace pagoda::train {
namespace {

using ::testing::HasSubstr;

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";

std::unique_ptr<LoraModel> open(const std::string& name, const LoraOptions& lora, std::optional<Head> head = {},
                                Json overrides = {}) {
  TrainingModelOptions options;
  options.runtime.threads = 1;
  options.head = head;
  options.config_overrides = std::move(overrides);
  return LoraModel::open(kFixtures + name, options, lora);
}

Tensor logits_of(TrainingModel& model) {
  Tensor ids = Tensor::empty(model.device(), DType::kInt32, {5});
  for (int32_t i = 0; i < 5; ++i) ids.data<int32_t>()[i] = 3 * i + 1;
  ForwardContext context;
  context.layout = Layout::whole({5}, true);
  return model.model().forward({ids}, context).logits;
}

// A step away from the beginning, so that B is not zero.
void move(TrainingModel& model) {
  uint64_t stream = 0;
  for (Parameter* parameter : model.trained_parameters()) {
    const RandomStream random(1, ++stream);
    for (int64_t i = 0; i < parameter->value.numel(); ++i) {
      parameter->value.data<float>()[i] += static_cast<float>(0.1 * random.normal(static_cast<uint64_t>(i)));
    }
    ++parameter->version;
  }
}

double distance(const Tensor& a, const Tensor& b) {
  double most = 0;
  for (int64_t i = 0; i < a.numel(); ++i)
    most = std::max(most, std::abs(static_cast<double>(a.data<float>()[i] - b.data<float>()[i])));
  return most;
}

LoraOptions rank(int64_t r, std::vector<std::string> targets = {}) {
  LoraOptions lora;
  lora.config.r = r;
  lora.config.lora_alpha = 12;
  lora.config.target_modules = std::move(targets);
  lora.config.base_model_name_or_path = "org/base";
  return lora;
}

class Lora : public ::testing::TestWithParam<const char*> {
 protected:
  testing::Folder folder_{"lora"};
};

TEST_P(Lora, BeginsAsTheModelAndTrainsItsPartsAlone) {
  const auto lora = open(GetParam(), rank(3));
  TrainingModelOptions options;
  options.runtime.threads = 1;
  const auto plain = TrainingModel::open(kFixtures + GetParam(), options);
  const Tensor logits = logits_of(*lora);
  EXPECT_EQ(distance(logits, logits_of(*plain)), 0);
  const auto trained = lora->trained_parameters();
  ASSERT_FALSE(trained.empty());
  for (const Parameter* parameter : trained) EXPECT_THAT(parameter->name, HasSubstr(".lora_"));
  Tensor labels = Tensor::zeros(lora->device(), DType::kInt64, {5});
  backward(ops::cross_entropy(logits, labels, 5));
  for (const Parameter* parameter : lora->model().parameters()) {
    EXPECT_EQ(parameter->value.grad().is_defined(), parameter->name.find(".lora_") != std::string::npos) << parameter->name;
  }
}

TEST_P(Lora, SavedLoadedAndMerged) {
  const auto lora = open(GetParam(), rank(2, {"all-linear"}));
  move(*lora);
  const Tensor want = logits_of(*lora);
  lora->save(folder_.path());
  const auto file = SafetensorsFile::open(folder_ / "adapter_model.safetensors");
  for (const TensorEntry& entry : file->tensors()) EXPECT_EQ(entry.name.rfind("base_model.model.", 0), 0u) << entry.name;
  const AdapterConfig config = read_adapter_config(folder_.path());
  EXPECT_EQ(config.r, 2);
  EXPECT_EQ(config.task_type, "CAUSAL_LM");
  EXPECT_EQ(config.base_model_name_or_path, "org/base");
  EXPECT_FALSE(config.target_modules.empty());
  const auto again = open(GetParam(), rank(2, {"all-linear"}));
  again->load(folder_.path());
  EXPECT_EQ(distance(want, logits_of(*again)), 0);
  // Another factor would make another model of the same numbers.
  LoraOptions louder = rank(2, {"all-linear"});
  louder.config.lora_alpha = 24;
  EXPECT_THROW(open(GetParam(), louder)->load(folder_.path()), Error);
  LoraOptions from;
  from.adapter = folder_.path();
  EXPECT_EQ(distance(want, logits_of(*open(GetParam(), from))), 0);
  // Merged into the plain model.
  TrainingModelOptions options;
  options.runtime.threads = 1;
  const auto plain = TrainingModel::open(kFixtures + GetParam(), options);
  EXPECT_GT(distance(want, logits_of(*plain)), 1e-3);
  merge_adapter(plain->device(), plain->model(), folder_.path());
  EXPECT_LT(distance(want, logits_of(*plain)), 2e-4);
}

INSTANTIATE_TEST_SUITE_P(Families, Lora, ::testing::Values("llama", "gpt2"),
                         [](const auto& family) { return std::string(family.param); });

// A PEFT adapter of a tied base that changes the head alone: PeftModel's head is a copy of the embedding, and so is merge's.
TEST(LoraTied, HeadsThatTheAdapterChangesAreUntied) {
  const testing::Folder folder("lora_tied");
  LoraOptions options = rank(2, {"q_proj"});
  options.config.modules_to_save = {"lm_head"};
  const auto lora = open("smollm2", options);
  const auto trained = lora->trained_parameters();
  const auto words = std::find_if(trained.begin(), trained.end(),
                                  [](const Parameter* each) { return each->name == "model.embed_tokens.weight"; });
  ASSERT_NE(words, trained.end());
  move(*lora);
  const Tensor want = logits_of(*lora);
  lora->save(folder.path());
  const AdapterConfig config = read_adapter_config(folder.path());
  EXPECT_TRUE(config.ensure_weight_tying);
  EXPECT_EQ(config.modules_to_save, (std::vector<std::string>{"lm_head", "embed_tokens"}));
  const auto base = ModelFolder::open(kFixtures + "smollm2");
  const auto merged = [&] {
    auto model = make_model(adapted_config(base->config(), folder.path()), "config.json");
    load_adapted(lora->device(), *model, *base, folder.path());
    return model;
  };
  Tensor ids = Tensor::empty(lora->device(), DType::kInt32, {5});
  for (int32_t i = 0; i < 5; ++i) ids.data<int32_t>()[i] = 3 * i + 1;
  ForwardContext context;
  context.layout = Layout::whole({5}, true);
  {
    const auto model = merged();
    EXPECT_NE(tied_embedding(*model), nullptr);
    model->prepare_for_inference(lora->device(), DType::kFloat32);
    EXPECT_LT(distance(model->forward({ids}, context).logits, want), 1e-4);
    LoraOptions again = options;
    again.adapter = folder.path();
    EXPECT_EQ(distance(logits_of(*open("smollm2", again)), want), 0);
  }
  // The head alone, as peft writes it without ensure_weight_tying.
  const auto file = SafetensorsFile::open(folder / "adapter_model.safetensors");
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const Parameter* parameter : trained) {
    if (parameter != *words) tensors.emplace_back(kAdapterPrefix + parameter->name, parameter->value);
  }
  Tensor head = Tensor::zeros(lora->device(), DType::kFloat32, (*words)->shape);
  head.data<float>()[0] = 1;
  tensors.emplace_back("base_model.model.lm_head.weight", head);
  write_safetensors(folder / "adapter_model.safetensors", tensors);
  const auto model = merged();
  EXPECT_EQ(tied_embedding(*model), nullptr);
  EXPECT_FALSE(adapted_config(base->config(), folder.path()).get_bool("tie_word_embeddings", true, "config"));
  model->prepare_for_inference(lora->device(), DType::kFloat32);
  const Tensor got = model->forward({ids}, context).logits;
  for (int64_t i = 0; i < got.numel(); ++i) {
    if (i % got.dim(1) != 0) {
      ASSERT_EQ(got.data<float>()[i], 0) << i;
    }
  }
  EXPECT_NE(got.data<float>()[0], 0);
}

TEST(LoraTied, ModulesThatAreNotThereAreRefused) {
  LoraOptions options = rank(2, {"q_proj"});
  options.config.modules_to_save = {"lm_haed"};
  EXPECT_THAT(testing::message_of([&] { open("smollm2", options); }), HasSubstr("'lm_haed'"));
  options = rank(2, {"query"});
  options.config.modules_to_save = {"word_embeddings"};
  EXPECT_THAT(testing::message_of([&] { open("encoders/bert", options, Head::kMaskedLm); }), HasSubstr("head too"));
}

TEST(LoraHead, NewHeadsAreSavedWhole) {
  const testing::Folder folder("lora_head");
  const Json overrides =
      Json::parse(R"({"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}})", "o");
  const auto lora = open("encoders/bert_bin", rank(2), Head::kSequenceClassification, overrides);
  EXPECT_FALSE(lora->new_parameters().empty());
  move(*lora);
  lora->save(folder.path());
  const auto file = SafetensorsFile::open(folder / "adapter_model.safetensors");
  EXPECT_NE(file->find("base_model.model.classifier.weight"), nullptr);
  EXPECT_NE(file->find("base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"), nullptr);
  EXPECT_EQ(file->find("base_model.model.bert.encoder.layer.0.attention.self.query.weight"), nullptr);
  EXPECT_EQ(read_adapter_config(folder.path()).task_type, "SEQ_CLS");
  EXPECT_TRUE(file_exists(folder / "config.json"));  // its labels
}

TEST(LoraDropout, DropsByRowsOfTheBatchAlone) {
  LoraOptions options = rank(2);
  options.config.lora_dropout = 0.5;
  const auto lora = open("llama", options);
  move(*lora);
  const Tensor plain = logits_of(*lora);
  auto rows = std::make_shared<ops::DropoutRows>();
  rows->seed = 1;
  rows->numbers = {1, 2, 3, 4, 5};
  lora->draws()->rows = rows;
  const Tensor dropped = logits_of(*lora);
  EXPECT_GT(distance(plain, dropped), 1e-3);
  EXPECT_EQ(distance(dropped, logits_of(*lora)), 0);
  lora->draws()->rows = nullptr;
  EXPECT_EQ(distance(plain, logits_of(*lora)), 0);
}

struct HeadCase {
  std::string fixture;
  std::optional<Head> head;
  std::vector<std::string> targets;
  std::vector<std::string> outside;  // modules outside the layers that are adapted: as peft 0.21 has them
};

class LoraOnHeads : public ::testing::TestWithParam<HeadCase> {
 protected:
  // Logits of two sequences' rows of `draws`, from `first` on.
  static Tensor logits(TrainingModel& model, LowRankDraws& draws, const std::vector<int32_t>& lengths, int32_t first,
                       const std::vector<int32_t>& wanted) {
    auto layout = std::make_shared<Layout>(*Layout::whole(lengths, true));
    auto rows = std::make_shared<ops::DropoutRows>();
    rows->seed = 1;
    Tensor ids = Tensor::empty(model.device(), DType::kInt32, {layout->num_tokens()});
    for (int32_t i = 0; i < static_cast<int32_t>(layout->num_tokens()); ++i) {
      ids.data<int32_t>()[i] = 3 * (first + i) + 7;
      rows->numbers.push_back(static_cast<uint64_t>(first + i));
    }
    if (!wanted.empty()) layout->wanted_rows = wanted;
    layout->dropout = draws.rows = rows;
    ForwardContext context;
    context.layout = layout;
    return model.model().forward({ids}, context).logits;
  }
};

// Heads see some rows of the batch: what is dropped of those is what would be dropped were all of them there.
TEST_P(LoraOnHeads, DropWhatTheirRowsDrop) {
  LoraOptions options = rank(2, GetParam().targets);
  options.config.lora_dropout = 0.5;
  const auto lora = open(GetParam().fixture, options, GetParam().head);
  std::vector<std::string> outside;
  for (const Parameter* parameter : lora->trained_parameters()) {
    const size_t end = parameter->name.find(".lora_A.weight");
    const bool inside = parameter->name.find("layer") != std::string::npos;
    if (end != std::string::npos && !inside) outside.push_back(parameter->name.substr(0, end));
  }
  EXPECT_THAT(outside, ::testing::UnorderedElementsAreArray(GetParam().outside));
  move(*lora);
  const Tensor all = logits(*lora, *lora->draws(), {5, 4}, 0, {});
  const bool by_sequence = GetParam().head == Head::kSequenceClassification;
  const std::vector<int32_t> wanted{1, 3, 6};
  const Tensor some =
      by_sequence ? logits(*lora, *lora->draws(), {4}, 5, {}) : logits(*lora, *lora->draws(), {5, 4}, 0, wanted);
  for (int64_t i = 0; i < some.dim(0); ++i) {
    const int64_t row = by_sequence ? 1 : wanted[static_cast<size_t>(i)];
    EXPECT_LT(distance(some.slice(0, i, i + 1), all.slice(0, row, row + 1)), 1e-4) << i;
  }
  backward(ops::cross_entropy(some, Tensor::zeros(lora->device(), DType::kInt64, {some.dim(0)}), some.dim(0)));
  for (const Parameter* parameter : lora->trained_parameters()) EXPECT_TRUE(parameter->value.grad()) << parameter->name;
}

INSTANTIATE_TEST_SUITE_P(
    Heads, LoraOnHeads,
    ::testing::Values(HeadCase{"encoders/bert", Head::kMaskedLm, {"all-linear"}, {"cls.predictions.transform.dense"}},
                      HeadCase{"encoders/distilbert", Head::kMaskedLm, {"all-linear"}, {"vocab_transform"}},
                      HeadCase{"encoders/roberta", Head::kMaskedLm, {"all-linear"}, {"lm_head.dense"}},
                      HeadCase{"encoders/albert",
                               Head::kMaskedLm,
                               {"all-linear"},
                               {"albert.encoder.embedding_hidden_mapping_in", "predictions.dense"}},
                      HeadCase{"encoders/bert", Head::kSequenceClassification, {"all-linear"}, {"bert.pooler.dense"}},
                      HeadCase{"encoders/bert", Head::kTokenClassification, {"all-linear"}, {}},
                      HeadCase{"llama", std::nullopt, {"all-linear"}, {}},
                      HeadCase{"llama", std::nullopt, {"q_proj", "lm_head"}, {"lm_head"}}),
    [](const auto& each) {
      std::string name = each.param.fixture + std::to_string(each.index);
      std::replace(name.begin(), name.end(), '/', '_');
      return name;
    });

// "dense" is the new pooler's last word too, which is saved whole: peft cannot load an adapter whose targets name it.
TEST(LoraNames, GoOnFromTheirModules) {
  const testing::Folder folder("lora_names");
  for (const char* target : {"all-linear", "dense"}) {
    LoraOptions options = rank(2, {target});
    const auto lora = open("encoders/bert_bin", options, Head::kSequenceClassification);
    EXPECT_THAT(lora->new_parameters(), ::testing::Contains("bert.pooler.dense.weight"));
    move(*lora);
    const Tensor want = logits_of(*lora);
    lora->save(folder.path());
    const std::vector<std::string> names = read_adapter_config(folder.path()).target_modules;
    EXPECT_THAT(names, ::testing::Contains("output.dense"));
    EXPECT_THAT(names, ::testing::Not(::testing::Contains("dense")));
    LoraOptions again;
    again.adapter = folder.path();
    const auto next = open("encoders/bert_bin", again, Head::kSequenceClassification);
    EXPECT_EQ(distance(want, logits_of(*next)), 0) << target;
    EXPECT_EQ(next->trained_parameters().size(), lora->trained_parameters().size());
    next->save(folder.path());
    EXPECT_EQ(read_adapter_config(folder.path()).target_modules, names);
  }
}

// As peft's layers_to_transform or an expression for target_modules leaves it.
TEST(LoraNames, TheFileSaysWhichModules) {
  const testing::Folder folder("lora_file");
  const auto lora = open("llama", rank(2, {"q_proj"}));
  move(*lora);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const Parameter* parameter : lora->trained_parameters()) {
    const bool first = parameter->name.find("layers.0.") != std::string::npos;
    if (first) tensors.emplace_back(kAdapterPrefix + parameter->name, parameter->value);
  }
  ASSERT_EQ(tensors.size(), 2u);
  write_safetensors(folder / "adapter_model.safetensors", tensors);
  folder.write("adapter_config.json",
               R"({"peft_type": "LORA", "r": 2, "target_modules": ".*q_proj", "layers_to_transform": [0]})");
  LoraOptions from;
  from.adapter = folder.path();
  const auto next = open("llama", from);
  EXPECT_EQ(next->trained_parameters().size(), 2u);
  next->save(folder.path());
  EXPECT_THAT(read_adapter_config(folder.path()).target_modules, ::testing::ElementsAre("0.self_attn.q_proj"));
}

// Adapters that are more than scale * B A beside the base as it is.
TEST(LoraErrors, OnlyPlainLoraIsTaken) {
  const testing::Folder folder("lora_plain");
  const auto error = [&](const std::string& fields) {
    folder.write("adapter_config.json", R"({"peft_type": "LORA", "r": 2, )" + fields + "}");
    return testing::message_of([&] { read_adapter_config(folder.path()); });
  };
  for (const char* kind :
       {"\"pissa\"", "\"pissa_niter_16\"", "\"olora\"", "\"OLoRA\"", "\"corda\"", "\"loftq\"", "\"lora_ga\"", "\"new\"", "3"}) {
    EXPECT_THAT(error(std::string(R"("init_lora_weights": )") + kind), HasSubstr("init_lora_weights")) << kind;
  }
  for (const char* kind : {"true", "false", "null", "\"gaussian\"", "\"eva\"", "\"orthogonal\"", "\"mica\""}) {
    EXPECT_EQ(error(std::string(R"("init_lora_weights": )") + kind), "no error") << kind;
  }
  for (const char* field : {R"("alora_invocation_tokens": [1, 2])", R"("use_qalora": true)", R"("use_bdlora": {"nblocks": 2})",
                            R"("layer_replication": [[0, 1], [0, 2]])", R"("kasa_config": {"beta": 1})",
                            R"("trainable_token_indices": [1])", R"("target_parameters": ["x"])"}) {
    const std::string name = std::string(field).substr(1, std::string(field).find('"', 1) - 1);
    EXPECT_THAT(error(field), HasSubstr(name + ": need LoRA or DoRA without it"));
  }
  // What peft 0.21 writes of a plain one.
  EXPECT_EQ(error(R"("alora_invocation_tokens": null, "arrow_config": null, "auto_mapping": null, "corda_config": null,
    "eva_config": null, "exclude_modules": null, "layer_replication": null, "layers_to_transform": null, "loftq_config": {},
    "lora_bias": false, "megatron_config": null, "megatron_core": "megatron.core", "qalora_group_size": 16,
    "rank_pattern": {}, "alpha_pattern": {}, "target_parameters": null, "trainable_token_indices": null, "use_bdlora": null,
    "use_dora": false, "use_qalora": false, "use_rslora": true)"),
            "no error");
}

TEST(LoraErrors, AreClear) {
  const auto error = [](const std::function<void()>& run) {
    try {
      run();
    } catch (const Error& thrown) {
      return thrown.message();
    }
    return std::string();
  };
  EXPECT_THAT(error([] { open("llama", rank(2, {"nowhere"})); }), HasSubstr("need some of down_proj"));
  EXPECT_THAT(error([] { open("llama", rank(0)); }), HasSubstr("--lora-r"));
  const testing::Folder folder("lora_errors");
  EXPECT_THAT(error([&] { read_adapter_config(folder.path()); }), HasSubstr("adapter_config.json"));
  folder.write("adapter_config.json", R"({"peft_type": "LORA", "use_bdlora": true, "r": 2})");
  EXPECT_THAT(error([&] { read_adapter_config(folder.path()); }), HasSubstr("use_bdlora"));
  folder.write("adapter_config.json", R"({"peft_type": "LORA", "r": 2})");
  TrainingModelOptions options;
  options.runtime.threads = 1;
  const auto plain = TrainingModel::open(kFixtures + "llama", options);
  const auto merge = [&](const std::string& name, std::vector<int64_t> a, std::vector<int64_t> b) {
    const std::string module = "base_model.model.model.layers.0." + name;
    write_safetensors(folder / "adapter_model.safetensors",
                      {{module + ".lora_A.weight", Tensor::zeros(plain->device(), DType::kFloat32, a)},
                       {module + ".lora_B.weight", Tensor::zeros(plain->device(), DType::kFloat32, b)}});
    return error([&] { merge_adapter(plain->device(), plain->model(), folder.path()); });
  };
  EXPECT_THAT(merge("self_attn.other", {2, 4}, {4, 2}), HasSubstr("no parameter 'model.layers.0.self_attn.other.weight'"));
  EXPECT_THAT(merge("self_attn.q_proj", {2, 1}, {1, 2}), HasSubstr("do not fit"));
}

TEST(LowRankPart, GradientsInDouble) {
  RuntimeOptions options;
  options.threads = 1;
  options.isa = Isa::kReference;
  Runtime runtime(options);
  const auto leaf = [&](std::vector<int64_t> dims, uint64_t stream) {
    Tensor tensor = Tensor::empty(runtime.device(), DType::kFloat64, dims);
    const RandomStream random(9, stream);
    for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data<double>()[i] = random.normal(static_cast<uint64_t>(i));
    tensor.set_requires_grad(true);
    return tensor;
  };
  const Tensor x = leaf({3, 4}, 1);
  LowRank part;
  part.a = {"a", {2, 4}, Init::kNormal, leaf({2, 4}, 2)};
  part.b = {"b", {5, 2}, Init::kZeros, leaf({5, 2}, 3)};
  part.scale = 1.5F;
  auto draws = std::make_shared<LowRankDraws>();
  auto rows = std::make_shared<ops::DropoutRows>();
  rows->numbers = {7, 8, 9};
  draws->rows = rows;
  part.draws = draws;
  part.dropout = {0.25F, 99};
  Tensor labels = Tensor::zeros(runtime.device(), DType::kInt64, {3});
  const auto loss = [&] { return ops::cross_entropy(part.forward(x, DType::kFloat64), labels, 3); };
  testing::expect_gradients({x, part.a.value, part.b.value}, loss);
}

}  // namespace
}  // namespace pagoda::train
