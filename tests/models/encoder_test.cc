// Every encoder fixture and head against transformers: logits, hidden states, pooled rows, loss and gradients; rows of a ragged
// batch equal to the bit to those of one text alone; folders in older and other spellings.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "models/encoder.h"
#include "models/labels.h"
#include "ops/loss.h"
#include "ops/runtime.h"
#include "ops/tape.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/";
const std::string kFamilies[] = {"bert", "roberta", "distilbert", "albert"};

struct HeadName {
  const char* name;  // in reference.safetensors
  Head head;
};
const HeadName kHeads[] = {{"base", Head::kNone},
                           {"mlm", Head::kMaskedLm},
                           {"sequence", Head::kSequenceClassification},
                           {"token", Head::kTokenClassification},
                           {"qa", Head::kQuestionAnswering}};

struct Line {
  std::vector<int32_t> ids, types;
};

std::vector<int32_t> int_list(const Json& list) {
  std::vector<int32_t> values;
  for (const Json& each : list.as_array("cases")) values.push_back(static_cast<int32_t>(each.as_int("cases")));
  return values;
}

struct Fixture {
  explicit Fixture(const std::string& name)
      : folder(ModelFolder::open(kFixtures + name)),
        reference(SafetensorsFile::open(kFixtures + name + "/reference.safetensors")) {
    const Json cases = Json::parse(read_file(kFixtures + name + "/cases.json", 1 << 26), name);
    for (const Json& line : cases.at("lines", name).as_array(name)) {
      lines.push_back({int_list(line.at("input_ids", name)), int_list(line.at("token_type_ids", name))});
    }
  }
  std::shared_ptr<ModelFolder> folder;
  std::shared_ptr<SafetensorsFile> reference;
  std::vector<Line> lines;
};

RuntimeOptions one_thread(Isa isa) {
  RuntimeOptions options;
  options.threads = 1;
  options.isa = isa;
  return options;
}

Tensor int_tensor(Device& device, const std::vector<int32_t>& values) {
  Tensor tensor = Tensor::empty(device, DType::kInt32, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.data<int32_t>());
  return tensor;
}

Outputs run(Runtime& runtime, const Model& model, const std::vector<Line>& lines) {
  std::vector<int32_t> ids, types, lengths;
  for (const Line& line : lines) {
    ids.insert(ids.end(), line.ids.begin(), line.ids.end());
    types.insert(types.end(), line.types.begin(), line.types.end());
    lengths.push_back(static_cast<int32_t>(line.ids.size()));
  }
  ForwardContext context;
  context.layout = Layout::whole(lengths, true);
  return model.forward({int_tensor(runtime.device(), ids), int_tensor(runtime.device(), types)}, context);
}

float value_at(const TensorEntry& entry, int64_t i) {
  float value = 0;
  std::memcpy(&value, entry.data() + i * 4, sizeof value);
  return value;
}

// Largest |a - b| relative to the largest |b|.
double relative_error(const float* a, const TensorEntry& entry, int64_t count) {
  EXPECT_EQ(entry.bytes, count * 4) << entry.name;
  double worst = 0, scale = 1e-12;
  for (int64_t i = 0; i < count; ++i) {
    const float b = value_at(entry, i);
    scale = std::max(scale, std::fabs(static_cast<double>(b)));
    const double difference = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b));
    worst = std::isnan(difference) ? 1e30 : std::max(worst, difference);
  }
  return worst / scale;
}

bool same_bits(const float* a, const float* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

class Encoder : public ::testing::TestWithParam<std::tuple<std::string, Isa>> {};

TEST_P(Encoder, HeadsEqualTransformersAndABatchEqualsItsLines) {
  const auto& [name, isa] = GetParam();
  const Fixture fixture(name);
  Runtime runtime(one_thread(isa));
  const NoGrad no_grad;
  for (const HeadName& head : kHeads) {
    const std::unique_ptr<Model> model = make_model(fixture.folder->config(), name, head.head);
    model->load(runtime.device(), *fixture.folder);
    model->prepare_for_inference(runtime.device(), DType::kFloat32);
    const Outputs all = run(runtime, *model, fixture.lines);
    const int64_t columns = model->num_logits(), hidden = model->hidden_size();
    const bool of_sequence = head.head == Head::kSequenceClassification;
    int64_t row = 0, compared = 0;
    for (size_t i = 0; i < fixture.lines.size(); ++i) {
      const int64_t length = static_cast<int64_t>(fixture.lines[i].ids.size()), line = static_cast<int64_t>(i);
      const Outputs alone = run(runtime, *model, {fixture.lines[i]});
      const std::string at = std::string(head.name) + " of " + name + ", line " + std::to_string(i);
      EXPECT_TRUE(same_bits(all.hidden.data<float>() + row * hidden, alone.hidden.data<float>(), length * hidden)) << at;
      if (head.head == Head::kNone) {
        const TensorEntry* expected = fixture.reference->find("base.hidden." + std::to_string(i));
        ASSERT_NE(expected, nullptr) << at;
        EXPECT_LT(relative_error(alone.hidden.data<float>(), *expected, length * hidden), 1e-4) << at;
        const TensorEntry* pooled = fixture.reference->find("base.pooled." + std::to_string(i));
        ASSERT_EQ(pooled != nullptr, alone.pooled.is_defined()) << at;
        if (pooled != nullptr) {
          EXPECT_LT(relative_error(alone.pooled.data<float>(), *pooled, hidden), 1e-4) << at;
          EXPECT_TRUE(same_bits(all.pooled.data<float>() + line * hidden, alone.pooled.data<float>(), hidden)) << at;
        }
        ++compared;
      } else {
        const int64_t first = of_sequence ? line : row, rows = of_sequence ? 1 : length;
        ASSERT_EQ(alone.logits.dim(0), rows);
        ASSERT_EQ(alone.logits.dim(1), columns);
        EXPECT_TRUE(same_bits(all.logits.data<float>() + first * columns, alone.logits.data<float>(), rows * columns)) << at;
        // The largest logits are not committed.
        if (const TensorEntry* expected = fixture.reference->find(std::string(head.name) + ".logits." + std::to_string(i))) {
          EXPECT_LT(relative_error(alone.logits.data<float>(), *expected, rows * columns), 1e-4) << at;
          ++compared;
        }
      }
      row += length;
    }
    EXPECT_GE(compared, 3) << head.name << " of " << name;
  }
}

TEST_P(Encoder, LossAndGradientsEqualPyTorch) {
  const auto& [name, isa] = GetParam();
  const Fixture fixture(name);
  Runtime runtime(one_thread(isa));
  for (const HeadName& head : kHeads) {
    const TensorEntry* expected_loss = fixture.reference->find(std::string(head.name) + ".loss");
    if (expected_loss == nullptr) continue;
    const std::unique_ptr<Model> model = make_model(fixture.folder->config(), name, head.head);
    model->load(runtime.device(), *fixture.folder);
    model->prepare_for_training(runtime.device(), DType::kFloat32);
    const Outputs outputs = run(runtime, *model, fixture.lines);
    // The rule of tests/fixtures/encoders.py: row r of line i is of class (7 r + i) mod classes.
    Tensor labels = Tensor::empty(runtime.device(), DType::kInt64, {outputs.logits.dim(0)});
    int64_t row = 0;
    for (size_t i = 0; i < fixture.lines.size(); ++i) {
      const int64_t rows = head.head == Head::kSequenceClassification ? 1 : static_cast<int64_t>(fixture.lines[i].ids.size());
      for (int64_t r = 0; r < rows; ++r, ++row) {
        labels.data<int64_t>()[row] = (7 * r + static_cast<int64_t>(i)) % model->num_logits();
      }
    }
    const Tensor loss = ops::cross_entropy(outputs.logits, labels, labels.dim(0));
    EXPECT_LT(relative_error(loss.data<float>(), *expected_loss, 1), 1e-5) << head.name;
    backward(loss);
    int checked = 0;
    for (const Parameter* parameter : model->parameters()) {
      const TensorEntry* expected = fixture.reference->find(std::string(head.name) + ".grad." + parameter->name);
      if (expected == nullptr) continue;
      ++checked;
      ASSERT_TRUE(parameter->value.grad()) << parameter->name;
      const Tensor grad = parameter->value.grad();
      float largest = 0;
      for (int64_t i = 0; i < grad.numel(); ++i) largest = std::max(largest, std::fabs(value_at(*expected, i)));
      if (largest < 1e-7f) {  // none by softmax's symmetry: the bias of keys
        for (int64_t i = 0; i < grad.numel(); ++i) EXPECT_LT(std::fabs(grad.data<float>()[i]), 1e-6f) << parameter->name;
        continue;
      }
      // torch gives the row of the padding id no gradient; here it is an id like others.
      const int64_t pad = fixture.folder->config().get_int("pad_token_id", 0, name), width = grad.dim(-1);
      if (parameter->name.find("word_embeddings") != std::string::npos ||
          (name == "roberta" && parameter->name.find("position_embeddings") != std::string::npos)) {
        for (int64_t i = pad * width; i < (pad + 1) * width; ++i) grad.data<float>()[i] = value_at(*expected, i);
      }
      EXPECT_LT(relative_error(grad.data<float>(), *expected, grad.numel()), 1e-4) << head.name << " " << parameter->name;
    }
    EXPECT_TRUE(head.head == Head::kTokenClassification || checked > 20) << head.name << ": " << checked;
  }
}

TEST_P(Encoder, Bfloat16IsNearFloat32AndABatchEqualsItsLines) {
  const auto& [name, isa] = GetParam();
  const Fixture fixture(name);
  Runtime runtime(one_thread(isa));
  const NoGrad no_grad;
  for (const HeadName& head : kHeads) {
    if (head.head == Head::kNone) continue;
    const std::unique_ptr<Model> model = make_model(fixture.folder->config(), name, head.head);
    model->load(runtime.device(), *fixture.folder);
    model->prepare_for_inference(runtime.device(), DType::kBFloat16);
    const Outputs all = run(runtime, *model, fixture.lines);
    int64_t row = 0;
    for (size_t i = 0; i < fixture.lines.size(); ++i) {
      const Outputs alone = run(runtime, *model, {fixture.lines[i]});
      EXPECT_TRUE(
          same_bits(all.logits.data<float>() + row * model->num_logits(), alone.logits.data<float>(), alone.logits.numel()))
          << head.name;
      if (const TensorEntry* expected = fixture.reference->find(std::string(head.name) + ".logits." + std::to_string(i))) {
        EXPECT_LT(relative_error(alone.logits.data<float>(), *expected, alone.logits.numel()), 0.06) << head.name << " " << i;
      }
      row += alone.logits.dim(0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Encoder,
                         ::testing::Combine(::testing::ValuesIn(kFamilies), ::testing::ValuesIn(supported_isas(detect_cpu()))),
                         [](const auto& param) { return std::get<0>(param.param) + "_" + isa_name(std::get<1>(param.param)); });

// A copy of a fixture's weights under other names; `rename` gives "" for what is left out.
std::string renamed_folder(const std::string& name, const std::string& to,
                           const std::function<std::string(const std::string&)>& rename) {
  const std::string folder = pagoda::testing::temporary_path("encoder_" + to);
  make_directories(folder);
  write_file_atomic(folder + "/config.json", read_file(kFixtures + name + "/config.json", 1 << 20));
  Runtime runtime(one_thread(Isa::kReference));
  const std::shared_ptr<SafetensorsFile> file = SafetensorsFile::open(kFixtures + name + "/model.safetensors");
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const TensorEntry& entry : file->tensors()) {
    const std::string renamed = rename(entry.name);
    if (renamed.empty()) continue;
    Tensor tensor = Tensor::empty(runtime.device(), entry.dtype, entry.shape);
    std::memcpy(tensor.view().data, entry.data(), static_cast<size_t>(entry.bytes));
    tensors.emplace_back(renamed, tensor);
  }
  write_safetensors(folder + "/model.safetensors", tensors);
  return folder;
}

std::vector<float> logits_of(const std::string& folder, Head head, const std::vector<Line>& lines) {
  Runtime runtime(one_thread(Isa::kReference));
  const NoGrad no_grad;
  const std::shared_ptr<ModelFolder> opened = ModelFolder::open(folder);
  const std::unique_ptr<Model> model = make_model(opened->config(), folder, head);
  model->load(runtime.device(), *opened);
  model->prepare_for_inference(runtime.device(), DType::kFloat32);
  const Outputs outputs = run(runtime, *model, lines);
  const Tensor& tensor = head == Head::kNone ? outputs.hidden : outputs.logits;
  return {tensor.data<float>(), tensor.data<float>() + tensor.numel()};
}

TEST(EncoderFolder, PrefixAbsentOlderNormsAndTheDecodersBias) {
  const Fixture fixture("bert");
  const auto plain = [](const std::string& name) {
    std::string out = name.rfind("bert.", 0) == 0 ? name.substr(5) : name;
    if (out == "cls.predictions.bias") return std::string("cls.predictions.decoder.bias");
    for (const auto& [now, before] : {std::pair{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}}) {
      const size_t at = out.find(now);
      if (at != std::string::npos) return out.substr(0, at) + before;
    }
    return out;
  };
  const std::string folder = renamed_folder("bert", "older", plain);
  for (const HeadName& head : kHeads) {
    EXPECT_EQ(logits_of(folder, head.head, fixture.lines), logits_of(kFixtures + "bert", head.head, fixture.lines))
        << head.name;
  }
}

TEST(EncoderFolder, APickleOfTheBaseAlone) {
  const Fixture fixture("bert");
  EXPECT_EQ(logits_of(kFixtures + "bert_bin", Head::kNone, fixture.lines),
            logits_of(kFixtures + "bert", Head::kNone, fixture.lines));
}

TEST(EncoderFolder, WithoutAPoolerThereAreHiddenStatesAndNoClassifier) {
  const Fixture fixture("bert");
  const std::string folder = renamed_folder("bert", "no_pooler", [](const std::string& name) {
    return name.find("pooler") == std::string::npos ? name : std::string();
  });
  EXPECT_EQ(logits_of(folder, Head::kNone, fixture.lines), logits_of(kFixtures + "bert", Head::kNone, fixture.lines));
  try {
    logits_of(folder, Head::kSequenceClassification, fixture.lines);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("bert.pooler.dense.weight"), std::string::npos) << error.message();
  }
}

Json bert_config_with(const std::string& fields) {
  return Json::parse(R"({"model_type":"bert","vocab_size":30,"hidden_size":8,"num_attention_heads":2,"num_hidden_layers":1,)"
                     R"("intermediate_size":12,"max_position_embeddings":10,)" +
                         fields + "}",
                     "config.json");
}

void expect_refused(const Json& config, const std::string& text, std::optional<Head> head = {}) {
  try {
    make_model(config, "config.json", head);
    ADD_FAILURE() << "accepted: " << config.dump();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find(text), std::string::npos) << error.message();
  }
}

TEST(EncoderConfig, ArchitecturesChooseHeads) {
  const auto model = [](const std::string& architecture) {
    return make_model(bert_config_with(R"("architectures":[")" + architecture + "\"]"), "config.json");
  };
  EXPECT_EQ(model("BertModel")->head_kind(), Head::kNone);
  EXPECT_EQ(model("BertForMaskedLM")->num_logits(), 30);
  EXPECT_EQ(model("BertForPreTraining")->head_kind(), Head::kMaskedLm);
  EXPECT_EQ(model("BertForTokenClassification")->num_logits(), 2);
  EXPECT_EQ(model("BertForQuestionAnswering")->num_logits(), 2);
  EXPECT_EQ(model("XLMRobertaForSequenceClassification")->max_positions(), 8);  // pad_token_id 1: rows 0 and 1 are not used
  EXPECT_EQ(make_model(bert_config_with(R"("num_labels":1)"), "", Head::kSequenceClassification)->num_logits(), 1);
  EXPECT_EQ(make_model(bert_config_with(R"("num_labels":1)"), "")->head_kind(), Head::kNone);
  expect_refused(bert_config_with(R"("architectures":["BertLMHeadModel"])"), "the nearest is ");
  expect_refused(bert_config_with(R"("architectures":["BertModel"])"), "is an encoder", Head::kCausalLm);
  expect_refused(bert_config_with(R"("position_embedding_type":"relative_key")"), "position_embedding_type");
  expect_refused(bert_config_with(R"("is_decoder":true)"), "is_decoder");
  expect_refused(Json::parse(R"({"architectures":["GPT2LMHeadModel"],"vocab_size":9})", "config.json"), "needs an encoder",
                 Head::kMaskedLm);
}

TEST(EncoderConfig, LabelsAsTransformersReadsThem) {
  const auto labels = [](const std::string& text) { return read_labels(Json::parse(text, "c"), "c"); };
  EXPECT_EQ(labels("{}").names, (std::vector<std::string>{"LABEL_0", "LABEL_1"}));
  EXPECT_EQ(labels(R"({"num_labels":1})").names, (std::vector<std::string>{"LABEL_0"}));
  EXPECT_EQ(labels(R"({"id2label":{"1":"b","0":"a"}})").names, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(labels(R"({"problem_type":"regression"})").problem_type, "regression");
  EXPECT_EQ(labels(R"({"id2label":{"0":"a"},"label2id":{"entailment":0}})").label2id[0].first, "entailment");
  EXPECT_EQ(labels(R"({"id2label":{"0":"a","1":"b"},"label2id":{"a":"0","b":"1"}})").label2id[1].second, 1);
  // num_labels goes before names of another number, and nothing of these is used.
  const Labels three = labels(R"({"id2label":{"0":"a","1":"b"},"label2id":{"a":0,"b":1},"num_labels":3})");
  EXPECT_EQ(three.names, (std::vector<std::string>{"LABEL_0", "LABEL_1", "LABEL_2"}));
  EXPECT_EQ(three.label2id[2], (std::pair<std::string, int64_t>{"LABEL_2", 2}));
  EXPECT_NE(three.notice.find("num_labels is 3 and id2label has 2 names"), std::string::npos) << three.notice;
  // What label2id has beyond the outputs stands aside.
  const Labels beyond = labels(R"({"id2label":{"0":"a"},"label2id":{"a":0,"b":7,"c":-1,"d":"x","e":0.5}})");
  EXPECT_EQ(beyond.label2id, (std::vector<std::pair<std::string, int64_t>>{{"a", 0}}));
  EXPECT_EQ(beyond.without_output, (std::vector<std::string>{"b", "c", "d", "e"}));
  for (const char* bad : {R"({"id2label":{"2":"b","0":"a"}})", R"({"id2label":{"x":"b"}})", R"({"id2label":[1]})",
                          R"({"id2label":{"0":"a","00":"b"}})", R"({"problem_type":"other"})", R"({"num_labels":-1})",
                          R"({"num_labels":16777216})"}) {
    EXPECT_THROW(labels(bad), Error) << bad;
  }
}

TEST(EncoderConfig, TooLongASequenceIsRefused) {
  const Fixture fixture("bert");
  Line line;
  line.ids.assign(73, 5);
  line.types.assign(73, 0);
  EXPECT_THROW(logits_of(kFixtures + "bert", Head::kNone, {line}), Error);
  line.types.assign(73, 3);  // and a type outside the table
  line.ids.resize(4);
  line.types.resize(4);
  EXPECT_THROW(logits_of(kFixtures + "bert", Head::kNone, {line}), Error);
}

}  // namespace
}  // namespace pagoda
