// New weights as transformers draws them, weights of another shape, and the floating point operations that a model needs.
#include "train/training_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "ops/loss.h"
#include "ops/tape.h"
#include "tests/folder.h"
#include "train/flops.h"

namespace pagoda::train {
namespace {

using ::pagoda::testing::Folder;
using ::pagoda::testing::message_of;

const std::string kEncoders = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/";

std::unique_ptr<TrainingModel> open(const std::string& path, TrainingModelOptions options = {}) {
  options.runtime.threads = 1;
  return TrainingModel::open(path, options);
}

const Parameter& parameter(TrainingModel& model, const std::string& name) {
  for (const Parameter* each : model.model().parameters()) {
    if (each->name == name) return *each;
  }
  throw std::runtime_error("no parameter " + name);
}

int64_t zeros_of_row(const Parameter& table, int64_t row) {
  const float* values = table.value.data<float>() + row * table.shape[1];
  return std::count(values, values + table.shape[1], 0.0f);
}

struct Padded {
  std::string config, table;
  int64_t row;  // -1: none is zero
};

// Evaluation needs no gradients: a GGUF file (or a folder with one alone) does, with its own tokenizer.
TEST(OpenedForEvaluation, AGgufFileIsAModel) {
  const std::string path = PAGODA_SOURCE_DIR "/tests/fixtures/gguf/llama_q8_0.gguf";
  EXPECT_NE(message_of([&] { open(path); }).find("cannot be trained"), std::string::npos);
  TrainingModelOptions options;
  options.evaluated_only = true;
  const Folder folder("gguf_alone");
  folder.write("model.gguf", read_file(path, 1 << 24));
  for (const std::string& each : {path, folder.path()}) {
    const auto model = open(each, options);
    EXPECT_TRUE(model->new_parameters().empty()) << each;
    EXPECT_FALSE(model->tokenizer()->encode_ids("ab", true).empty()) << each;
  }
}

TEST(NewWeights, TheRowOfPaddingIsZero) {
  const Folder folder("new_weights");
  const std::string llama =
      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 50, "hidden_size": 16,
    "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "rms_norm_eps": 1e-5)";
  const std::string bert = R"("vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 40, "architectures": )";
  const Padded cases[] = {
      {llama + "}", "model.embed_tokens.weight", -1},
      {llama + R"(, "pad_token_id": 3})", "model.embed_tokens.weight", 3},
      {llama + R"(, "pad_token_id": -1})", "model.embed_tokens.weight", 49},
      {llama + R"(, "pad_token_id": 70})", "model.embed_tokens.weight", -1},
      {llama + R"(, "pad_token_id": null})", "model.embed_tokens.weight", -1},
      {R"({"model_type": "bert", )" + bert + R"(["BertForMaskedLM"]})", "bert.embeddings.word_embeddings.weight", 0},
      {R"({"model_type": "bert", )" + bert + R"(["BertForMaskedLM"]})", "bert.embeddings.position_embeddings.weight", -1},
      {R"({"model_type": "roberta", "pad_token_id": 5, )" + bert + R"(["RobertaForMaskedLM"]})",
       "roberta.embeddings.word_embeddings.weight", 5},
      {R"({"model_type": "roberta", "pad_token_id": 5, )" + bert + R"(["RobertaForMaskedLM"]})",
       "roberta.embeddings.position_embeddings.weight", 5},
      {R"({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2,
         "n_positions": 32, "pad_token_id": 3})",
       "transformer.wte.weight", -1}};
  for (const Padded& each : cases) {
    const auto model = open(folder.write("config.json", each.config));
    const Parameter& table = parameter(*model, each.table);
    for (int64_t row = 0; row < table.shape[0]; ++row) {
      EXPECT_EQ(zeros_of_row(table, row), row == each.row ? table.shape[1] : 0) << each.config << " row " << row;
    }
  }
}

// torch.nn.Embedding's padding_idx, in the families where transformers passes it on: what reads the row gives it no gradient.
TEST(Padding, ItsRowHasNoGradientFromWhatReadsIt) {
  const auto gradients = [](const std::string& path, std::optional<Head> head, Json overrides, const std::string& table) {
    TrainingModelOptions options;
    options.head = head;
    options.config_overrides = std::move(overrides);
    const auto model = open(path, options);
    Tensor ids = Tensor::empty(model->device(), DType::kInt32, {4}),
           labels = Tensor::zeros(model->device(), DType::kInt64, {4});
    for (int32_t i = 0; i < 4; ++i) ids.data<int32_t>()[i] = i % 2 == 0 ? 5 : 6;
    ForwardContext context;
    context.layout = Layout::whole({4}, true);
    const Tensor logits = model->model().forward({ids}, context).logits;
    backward(ops::cross_entropy(logits, labels.slice(0, 0, logits.dim(0)), logits.dim(0)));
    const Parameter& embedding = parameter(*model, table);
    std::vector<double> most;  // of each row
    for (int64_t row = 0; row < embedding.shape[0]; ++row) {
      const float* values = embedding.value.grad().data<float>() + row * embedding.shape[1];
      most.push_back(std::accumulate(values, values + embedding.shape[1], 0.0,
                                     [](double sum, float value) { return sum + std::abs(static_cast<double>(value)); }));
    }
    return most;
  };
  const std::string fixtures = PAGODA_SOURCE_DIR "/tests/fixtures/", words = "model.embed_tokens.weight";
  const Json five = Json::object().set("pad_token_id", 5);
  const auto llama = gradients(fixtures + "llama", {}, five, words);
  EXPECT_EQ(llama[5], 0);
  EXPECT_GT(llama[6], 1e-4);
  const auto gpt2 = gradients(fixtures + "gpt2", {}, five, "transformer.wte.weight"),
             plain = gradients(fixtures + "gpt2", {}, {}, "transformer.wte.weight");
  EXPECT_EQ(gpt2, plain);
  // A tied head gives it what it gives all rows.
  const auto tied = gradients(fixtures + "smollm2", {}, five, words), whole = gradients(fixtures + "smollm2", {}, {}, words);
  for (size_t row = 0; row < tied.size(); ++row) EXPECT_EQ(tied[row] == whole[row], row != 5) << row;
  EXPECT_GT(tied[5], 0);
  const std::string roberta = kEncoders + "roberta", base = "roberta.embeddings.";
  EXPECT_EQ(gradients(roberta, Head::kSequenceClassification, five, base + "word_embeddings.weight")[5], 0);
  const auto places = gradients(roberta, Head::kSequenceClassification, five, base + "position_embeddings.weight");
  EXPECT_EQ(places[5], 0);
  EXPECT_GT(places[6], 0);
}

TEST(OtherShapes, AreDrawnAnewWhenAsked) {
  TrainingModelOptions options;
  options.head = Head::kSequenceClassification;
  Json names = Json::object();
  for (const char* id : {"0", "1", "2", "3", "4", "5", "6"}) names.set(id, std::string("label ") + id);
  options.config_overrides = Json::object().set("id2label", names);
  options.config_overrides.set("num_labels", 7);
  // A folder with a classifier of two labels.
  const Folder folder("other_shapes");
  TrainingModelOptions two;
  two.head = Head::kSequenceClassification;
  make_directories(folder / "two");
  const auto before = open(kEncoders + "bert", two);
  before->save(folder / "two");
  const std::string error = message_of([&] { open(folder / "two", options); });
  EXPECT_NE(error.find("classifier.weight: got shape"), std::string::npos) << error;
  EXPECT_NE(error.find("--ignore-mismatched-sizes"), std::string::npos) << error;
  options.ignore_mismatched_sizes = true;
  const auto model = open(folder / "two", options);
  EXPECT_EQ(model->new_parameters(), (std::vector<std::string>{"classifier.weight", "classifier.bias"}));
  EXPECT_EQ(parameter(*model, "classifier.weight").shape[0], 7);
  const Parameter &kept = parameter(*model, "bert.pooler.dense.weight"), &was = parameter(*before, "bert.pooler.dense.weight");
  EXPECT_TRUE(std::equal(kept.value.data<float>(), kept.value.data<float>() + kept.value.numel(), was.value.data<float>()));
}

// ALBERT's layers share their matrices: each of them multiplies all the same.
TEST(Flops, SharedLayersCountEachTime) {
  const Folder folder("flops");
  const std::string sizes = R"("vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2,
    "max_position_embeddings": 40, "num_hidden_layers": 6)";
  const auto flops = [&](const std::string& config) {
    const auto model = open(folder.write("config.json", config));
    return StepFlops(model->model()).of(*Layout::whole({7, 5}, false));
  };
  const double shared = flops(R"({"model_type": "albert", "architectures": ["AlbertForMaskedLM"], "embedding_size": 16,
    "num_hidden_groups": 1, )" +
                              sizes + "}");
  const double own = flops(R"({"model_type": "albert", "architectures": ["AlbertForMaskedLM"], "embedding_size": 16,
    "num_hidden_groups": 6, )" +
                           sizes + "}");
  EXPECT_DOUBLE_EQ(shared, own);
  // 6 layers of 4 h^2 + 2 h i, the mapping, the head's dense, all rows; the vocabulary for the two wanted rows; q k and p v.
  const double rows = 12, body = 6 * (4 * 16 * 16 + 2 * 16 * 32) + 16 * 16 + 16 * 16, pairs = 49 + 25;
  EXPECT_DOUBLE_EQ(shared, 6 * (rows * body + 2 * 16 * 50 + 2 * 16 * 6 * pairs));
}

// LoRA freezes them: of three products of a pass two are left.
TEST(Flops, FrozenWeightsHaveNoGradient) {
  const Folder folder("flops_frozen");
  const auto model = open(folder.write("config.json", R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32})"));
  const auto flops = [&] { return StepFlops(model->model()).of(*Layout::whole({7, 5}, false)); };
  const double rows = 12, body = 2 * 12 * 16 * 16, head = 16 * 50, pairs = 49 + 25, attention = 2 * 16;
  EXPECT_DOUBLE_EQ(flops(), 2 * (3 * rows * body + 3 * 2 * head + 3 * attention * pairs));
  for (Parameter* parameter : model->model().parameters()) parameter->value.set_requires_grad(false);
  EXPECT_DOUBLE_EQ(flops(), 2 * (2 * rows * body + 2 * 2 * head + 3 * attention * pairs));
}

}  // namespace
}  // namespace pagoda::train
