// EmbeddingModel and Pipeline give what the pipelines give, to many threads.
#include <gtest/gtest.h>
#include <pagoda/pagoda.h>

#include <cmath>
#include <thread>

#include "tests/api/expect_error.h"
#include "tests/api/models.h"

namespace pagoda {
namespace {

using testing::expect_error;

const std::vector<std::string> kTexts = {"Paris is a city.", "Bern", "a longer text about the capital of France"};

TEST(EmbeddingModel, EncodesAsTheFolderSays) {
  for (const char* modules : {"dense", "layers", "normalized_inside", "prompts"}) {
    const std::string folder = testing::sentence_model(modules);
    const EmbeddingModel model = EmbeddingModel::open(folder, {.threads = 1});
    const std::vector<std::vector<float>> vectors = model.encode(kTexts);
    ASSERT_EQ(vectors.size(), kTexts.size());
    for (size_t i = 0; i < kTexts.size(); ++i) {
      const std::string inputs = "\"" + kTexts[i] + "\"";
      EXPECT_EQ(vectors[i],
                testing::numbers(testing::pipeline_runs("feature-extraction", folder, inputs, R"({"pooling": "auto"})")))
          << modules;
      EXPECT_EQ(model.encode({kTexts[i]})[0], vectors[i]) << "alone";
    }
  }
}

TEST(EmbeddingModel, NormalizesAndPrompts) {
  const EmbeddingModel model = EmbeddingModel::open(testing::sentence_model("prompts"), {.threads = 1});
  double length = 0;
  const std::vector<float> unit = model.encode({kTexts[0]}, {.normalize_embeddings = true})[0];
  for (const float value : unit) length += static_cast<double>(value) * static_cast<double>(value);
  EXPECT_NEAR(length, 1, 1e-5);
  const EmbeddingModel plain = EmbeddingModel::open(testing::kBert, {.threads = 1});
  EXPECT_EQ(plain.encode({"b"}, {.prompt = "a "}), plain.encode({"a b"}));
  EXPECT_NE(model.encode({kTexts[0]}, {.prompt_name = "query"}), model.encode({kTexts[0]}, {.prompt = ""}));
  expect_error(ErrorKind::kInvalidInput, "prompt", [&] { model.encode(kTexts, {.prompt_name = "no such"}); });
  expect_error(ErrorKind::kInvalidInput, "UTF-8", [&] { model.encode({"\xff"}); });
  EXPECT_TRUE(model.encode({}).empty());
  EXPECT_GT(model.max_seq_length(), 0);
  EXPECT_FALSE(model.tokenizer().encode("Paris").empty());
}

TEST(EmbeddingModel, ServesManyThreads) {
  const EmbeddingModel model = EmbeddingModel::open(testing::kBert, {.threads = 2});
  const std::vector<std::vector<float>> alone = model.encode(kTexts);
  std::vector<std::vector<std::vector<float>>> all(6);
  std::vector<std::thread> threads;
  for (auto& vectors : all) threads.emplace_back([&] { vectors = model.encode(kTexts); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& vectors : all) EXPECT_EQ(vectors, alone);
}

TEST(Pipeline, RunsTasksFromJsonToJson) {
  const Pipeline pipeline = Pipeline::open("fill-mask", testing::kMaskedLm, {.threads = 1});
  const std::string inputs = R"(["once upon a [MASK], there was a frog.", "the two [MASK] played."])";
  const std::string expected = testing::pipeline_runs("fill-mask", testing::kMaskedLm, inputs, R"({"top_k": 2})");
  EXPECT_EQ(pipeline.run(inputs, R"({"top_k": 2})"), expected);
  std::vector<std::string> all(4);
  std::vector<std::thread> threads;
  for (std::string& each : all) threads.emplace_back([&] { each = pipeline.run(inputs, R"({"top_k": 2})"); });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& each : all) EXPECT_EQ(each, expected);
}

TEST(Pipeline, TellsWhatIsWrong) {
  const Pipeline pipeline = Pipeline::open("fill-mask", testing::kMaskedLm, {.threads = 1});
  expect_error(ErrorKind::kInvalidInput, "inputs", [&] { pipeline.run("not JSON"); });
  expect_error(ErrorKind::kInvalidInput, "inputs", [&] { pipeline.run("7"); });
  expect_error(ErrorKind::kInvalidInput, "parameters", [&] { pipeline.run("\"a [MASK]\"", "[]"); });
  expect_error(ErrorKind::kInvalidInput, "no_such", [&] { pipeline.run("\"a [MASK]\"", R"({"no_such": 1})"); });
  expect_error(ErrorKind::kNotFound, "fill-mask", [] { Pipeline::open("no-such-task", testing::kMaskedLm); });
  expect_error(ErrorKind::kNotFound, "", [] { Pipeline::open("fill-mask", "/nowhere/at/all"); });
  const std::vector<std::string> tasks = Pipeline::tasks();
  EXPECT_NE(std::find(tasks.begin(), tasks.end(), "question-answering"), tasks.end());
}

}  // namespace
}  // namespace pagoda
