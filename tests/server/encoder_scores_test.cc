// Rerank, score and classify: against the pipelines, as folders say, and what is no score.
#include "tests/server/encoder_fixture.h"

#include <cmath>

namespace pagoda::server {
namespace {

TEST_F(EncoderAppTest, Classify) {
  serve(kFixtures + "bert");
  const Json answer = post("/classify", R"({"model": "enc", "input": ["I loved it", "Bern"]})");
  EXPECT_EQ(answer.at("object", ""), Json("list"));
  ASSERT_EQ(answer.at("data", "").size(), 2u);
  const Json& first = answer.at("data", "").as_array("")[0];
  EXPECT_EQ(first.at("num_classes", ""), Json(5));
  const Json best = Pipeline::make("text-classification", model_)->run("I loved it");
  EXPECT_EQ(first.at("label", ""), best.as_array("")[0].at("label", ""));
  double sum = 0;
  for (const Json& each : first.at("probs", "").as_array("")) sum += each.as_double("");
  EXPECT_NEAR(sum, 1, 1e-5);
  EXPECT_GT(answer.at("usage", "").at("prompt_tokens", "").as_int(""), 4);
  expect_refused("/classify", R"({"input": []})", "empty list");
  expect_refused("/classify", R"({"input": [1]})", "input");
  expect_refused("/classify", R"({"model": "other", "input": "x"})", "does not exist", 404);
  expect_refused("/v1/score", R"({"text_1": "a", "text_2": "b"})", "one label");
  expect_refused("/v1/chat/completions", R"({"messages": []})", "no such route", 404);
}

TEST_F(EncoderAppTest, ACrossEncoderScoresAndReranks) {
  serve(cross_encoder());
  const Json scores = post("/v1/score", R"({"text_1": "Where is Bern?", "text_2": ["Bern is here", "a dog"]})");
  const auto score = [](const Json& answer, size_t i) {
    return answer.at("data", "").as_array("").at(i).at("score", "").as_double("");
  };
  ASSERT_EQ(scores.at("data", "").size(), 2u);
  const Json pair = Pipeline::make("text-classification", model_)
                        ->run(Json::parse(R"({"text": "Where is Bern?", "text_pair": "Bern is here"})", ""));
  EXPECT_EQ(score(scores, 0), pair.at("score", "").as_double(""));
  const Json raw = post("/score", R"({"queries": ["Where is Bern?"], "documents": "Bern is here", "use_activation": false})");
  EXPECT_NEAR(1 / (1 + std::exp(-score(raw, 0))), score(scores, 0), 1e-6);
  const Json pairs = post("/v1/score", R"({"text_1": ["Where is Bern?", "x"], "text_2": ["Bern is here", "y"]})");
  EXPECT_EQ(score(pairs, 0), score(scores, 0));
  const Json ranked =
      post("/v1/rerank", R"({"query": "Where is Bern?", "documents": ["Bern is here", "a dog", "fox"], "top_n": 2})");
  ASSERT_EQ(ranked.at("results", "").size(), 2u);
  const Json& best = ranked.at("results", "").as_array("")[0];
  EXPECT_GE(best.at("relevance_score", "").as_double(""),
            ranked.at("results", "").as_array("")[1].at("relevance_score", "").as_double(""));
  EXPECT_TRUE(best.at("document", "").contains("text"));
  const Json bare = post("/rerank", R"({"query": "q", "documents": ["d"], "return_documents": false})");
  EXPECT_FALSE(bare.at("results", "").as_array("")[0].contains("document"));
  EXPECT_EQ(post("/v1/rerank", R"({"query": "q", "documents": [{"text": "d"}, "e"]})").at("results", ""),
            post("/v1/rerank", R"({"query": "q", "documents": ["d", "e"]})").at("results", ""));
  expect_refused("/v1/rerank", R"({"query": "q", "documents": [{"title": "d"}]})", "text");
  expect_refused("/v1/score", R"({"text_1": ["a", "b", "c"], "text_2": ["b", "c"]})", "text_2");
  expect_refused("/v1/score", R"({"text_1": "a"})", "text_2");
  expect_refused("/v1/rerank", R"({"documents": ["d"]})", "query");
  expect_refused("/v1/rerank", R"({"query": "q", "documents": "d"})", "documents");
  std::string words;
  for (int i = 0; i < 100; ++i) words += "fox ";
  expect_refused("/v1/score", R"({"text_1": "a", "text_2": ")" + words + "\"}", "truncate_prompt_tokens");
  post("/v1/score", R"({"text_1": "a", "truncate_prompt_tokens": -1, "text_2": ")" + words + "\"}");
}

// A folder as sentence-transformers 6.2 writes it: activation, length and prompt stand in its own files, before config.json.
TEST_F(EncoderAppTest, ACrossEncodersFolderSaysHowItScores) {
  const auto scores = [&](const std::string& more, const std::string& first = "Where is Bern?") {
    const Json answer =
        post("/v1/score", R"({"text_1": ")" + first + R"(", "text_2": ["Bern is here now", "a dog"])" + more + "}");
    std::vector<double> values;
    for (const Json& each : answer.at("data", "").as_array("")) values.push_back(each.at("score", "").as_double(""));
    return values;
  };
  const std::string folder = cross_encoder();
  serve(folder);
  const std::vector<double> raw = scores(R"(, "use_activation": false)"), sigmoid = scores(""),
                            prompted = scores("", "q: Where is Bern?"), cut = scores(R"(, "truncate_prompt_tokens": 6)");
  write_file_atomic(
      folder + "/modules.json",
      R"([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}])");
  const auto says = [&](const std::string& config, const std::string& transformer) {
    write_file_atomic(folder + "/config_sentence_transformers.json", config);
    write_file_atomic(folder + "/sentence_bert_config.json", transformer);
    serve(folder);
  };
  says(R"({"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity"})", "{}");
  EXPECT_EQ(scores(""), raw);
  says(R"({"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Tanh"})", "{}");
  EXPECT_NEAR(scores("")[0], std::tanh(raw[0]), 1e-6);
  says(R"({"model_type": "CrossEncoder", "activation_fn": null, "prompts": {"q": "q: "}, "default_prompt_name": "q"})", "{}");
  EXPECT_EQ(scores(""), prompted);
  EXPECT_NE(prompted, sigmoid);
  const Json several = post("/v1/score", R"({"text_1": ["x", "Where is Bern?"], "text_2": ["y", "a dog"]})");
  EXPECT_EQ(several.at("data", "").as_array("").at(1).at("score", "").as_double(""), prompted[1]);
  says("{}", R"({"max_seq_length": 6})");
  EXPECT_EQ(scores(R"(, "truncate_prompt_tokens": -1)"), cut);
  EXPECT_NE(cut, sigmoid);
  expect_refused("/v1/score", R"({"text_1": "Where is Bern?", "text_2": "Bern is here now"})", "need at most 6");
  says(R"({"activation_fn": "my.Own"})", "{}");
  expect_refused("/v1/score", R"({"text_1": "a", "text_2": "b"})", "my.Own", 501);
  std::filesystem::remove_all(folder);
}

// JSON has no NaN: a broken model is an error of the server's, told as such.
TEST_F(EncoderAppTest, ScoresThatAreNoNumbersAreErrors) {
  const std::string folder = cross_encoder();
  Runtime runtime;
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    std::vector<std::pair<std::string, Tensor>> tensors;
    {
      const std::shared_ptr<SafetensorsFile> file = SafetensorsFile::open(folder + "/model.safetensors");
      for (const TensorEntry& entry : file->tensors()) {
        Tensor tensor = Tensor::empty(runtime.device(), entry.dtype, entry.shape);
        std::memcpy(tensor.view().data, entry.data(), static_cast<size_t>(tensor.bytes()));
        if (entry.name == "classifier.bias") {
          ASSERT_EQ(entry.dtype, DType::kFloat32);
          tensor.data<float>()[0] = bad;
        }
        tensors.emplace_back(entry.name, tensor);
      }
    }
    write_safetensors(folder + "/model.safetensors", tensors);
    serve(folder);
    const std::string raw = R"(, "use_activation": false)";
    const std::string says = "[scores] the model's outputs make a score of";
    expect_refused("/v1/score", R"({"text_1": "a", "text_2": "b")" + raw + "}", says, 500);
    expect_refused("/v1/rerank", R"({"query": "a", "documents": ["b"])" + raw + "}", says, 500);
    expect_refused("/classify", R"({"input": "a")" + raw + "}", says, 500);
    expect_refused("/pipelines/text-classification", R"({"inputs": "a", "parameters": {"function_to_apply": "none"}})", says,
                   500);
    if (!std::isnan(bad)) continue;
    expect_refused("/v1/score", R"({"text_1": "a", "text_2": "b"})", says, 500);
    expect_refused("/classify", R"({"input": "a"})", says, 500);
    expect_refused("/pipelines/text-classification", R"({"inputs": "a"})", says, 500);
  }
  EXPECT_EQ(call("GET", "/health")->status, 200);
  std::filesystem::remove_all(folder);
}

TEST_F(EncoderAppTest, APairsFirstTextIsBounded) {
  serve(cross_encoder());
  std::string text = "fox ";
  while (text.size() < 200000) text += text;
  const std::string says = "[text_1 or query] too long: got";
  expect_refused("/score", R"({"text_1": ")" + text + R"(", "text_2": ["b"]})", says);
  expect_refused("/rerank", R"({"query": ")" + text + R"(", "documents": ["b"]})", says);
  const auto scores = [&](const std::string& first, const std::string& more) {
    return post("/score", R"({"text_1": ")" + first + R"(", "text_2": ["b", "c d"])" + more + "}").at("data", "");
  };
  EXPECT_EQ(scores(text, R"(, "truncate_prompt_tokens": 20)"),
            scores(text.substr(0, 400), R"(, "truncate_prompt_tokens": 20)"));
  EXPECT_EQ(scores(std::string(200000, 'a') + " fox", ""), scores(std::string(200, 'a') + " fox", ""));
  // One first text for all scores as each pair does.
  const Json one = post("/score", R"({"text_1": "the fox", "text_2": ["a", "b c"]})");
  const Json two = post("/score", R"({"text_1": ["the fox", "the fox"], "text_2": ["a", "b c"]})");
  EXPECT_EQ(one.at("data", ""), two.at("data", ""));
}

}  // namespace
}  // namespace pagoda::server
