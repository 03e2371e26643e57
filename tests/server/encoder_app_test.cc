// The routes over encoders: answers against the pipelines, shapes against the document, batches, limits, and what is refused.
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <future>
#include <thread>
#include <tuple>

#include "base/file.h"
#include "pipelines/pipeline.h"
#include "server/served_encoder.h"
#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/";

LoadOptions one_thread() {
  LoadOptions options;
  options.runtime.threads = 1;
  return options;
}

// A classifier of one label: the fixture's first.
std::string cross_encoder() {
  const std::string folder = ::testing::TempDir() + "/cross_encoder_" + std::to_string(::getpid());
  make_directories(folder);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    write_file_atomic(folder + "/" + name, read_file(kFixtures + "bert/" + name, 1 << 24));
  }
  Json config = Json::parse(read_file(kFixtures + "bert/config.json", 1 << 20), "config.json");
  config.set("id2label", Json::object().set("0", "fits")).set("label2id", Json::object().set("fits", 0));
  write_file_atomic(folder + "/config.json", config.dump());
  Runtime runtime;
  const std::shared_ptr<SafetensorsFile> file = SafetensorsFile::open(kFixtures + "bert/model.safetensors");
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const TensorEntry& entry : file->tensors()) {
    std::vector<int64_t> shape = entry.shape;
    if (entry.name.rfind("classifier.", 0) == 0) shape[0] = 1;
    Tensor tensor = Tensor::empty(runtime.device(), entry.dtype, shape);
    std::memcpy(tensor.view().data, entry.data(), static_cast<size_t>(tensor.bytes()));
    tensors.emplace_back(entry.name, tensor);
  }
  write_safetensors(folder + "/model.safetensors", tensors);
  return folder;
}

class EncoderAppTest : public ::testing::Test {
 protected:
  // most_tokens: as --max-model-len; 0: not given.
  void serve(const std::string& folder, std::optional<Head> head = {}, int64_t most_tokens = 0) {
    const std::shared_ptr<SequenceModel> model = SequenceModel::open(folder, one_thread(), head);
    if (most_tokens > 0) model->limit_length(most_tokens);
    model_ = model;
    AppOptions options = options_;
    options.served_model_names = {"enc"};
    options.model = folder;
    app_ = std::make_unique<App>(options);
    app_->serve(std::make_unique<ServedEncoder>(app_->serving(), model_));
  }
  std::shared_ptr<Told> start(const std::string& method, const std::string& path, const std::string& body) {
    HttpRequest http;
    http.method = method;
    http.path = path;
    http.body = body;
    http.id = "r1";
    auto told = std::make_shared<Told>();
    try {
      app_->handle(std::move(http), told);
    } catch (...) {
      const Error error = current_error();
      told->send(http_status(error.kind()), "application/json", error_body(http_status(error.kind()), error.message()), {});
    }
    return told;
  }
  std::shared_ptr<Told> call(const std::string& method, const std::string& path, const std::string& body = "") {
    auto told = start(method, path, body);
    told->wait();
    return told;
  }
  Json post(const std::string& path, const std::string& body) {
    const auto told = call("POST", path, body);
    EXPECT_EQ(told->status, 200) << path << " " << told->body;
    return told->status == 200 ? told->json() : Json();
  }
  void expect_refused(const std::string& path, const std::string& body, const std::string& says, int status = 400) {
    const auto told = call("POST", path, body);
    EXPECT_EQ(told->status, status) << body << " -> " << told->body;
    EXPECT_NE(told->body.find(says), std::string::npos) << body << " -> " << told->body;
  }
  // Of /v1/embeddings.
  std::vector<double> vector(const std::string& fields) {
    const Json answer = post("/v1/embeddings", "{" + fields + "}");
    std::vector<double> values;
    if (answer.is_null()) return values;
    for (const Json& each : answer.at("data", "").as_array("").at(0).at("embedding", "").as_array("")) {
      values.push_back(each.as_double(""));
    }
    return values;
  }
  AppOptions options_;
  std::shared_ptr<const SequenceModel> model_;
  std::unique_ptr<App> app_;
};

TEST_F(EncoderAppTest, TasksAnswerAsThePipelinesDo) {
  serve(kFixtures + "bert");
  const auto classify = Pipeline::make("text-classification", model_);
  for (const auto& [input, parameters] : std::vector<std::pair<std::string, std::string>>{
           {R"("I loved it")", "{}"}, {R"(["a", "b c"])", R"({"top_k": 2})"}, {R"({"text": "a", "text_pair": "b"})", "null"}}) {
    EXPECT_EQ(post("/pipelines/text-classification", R"({"inputs": )" + input + R"(, "parameters": )" + parameters + "}"),
              classify->run(Json::parse(input, ""), Json::parse(parameters, "")));
  }
  const Json labels = post("/pipelines/zero-shot-classification",
                           R"({"inputs": "Berlin", "parameters": {"candidate_labels": ["a", "b"]}, "options": {}})");
  EXPECT_EQ(labels.at("labels", "").size(), 2u);
  EXPECT_EQ(post("/pipelines/sentiment-analysis", R"({"inputs": []})").size(), 0u);
  EXPECT_EQ(post("/pipelines/feature-extraction", R"({"inputs": "a"})").size(), 1u);
  expect_refused("/pipelines/fill-mask", R"({"inputs": "[MASK]"})", "needs a model ForMaskedLM");
  expect_refused("/pipelines/summarization", R"({"inputs": "x"})", "need one of text-classification", 404);
  expect_refused("/pipelines/text-classification", R"({"parameters": {}})", "inputs");
  expect_refused("/pipelines/text-classification", R"({"inputs": "x", "parameters": {"k": 1}})", "got 'k'");
  expect_refused("/pipelines/text-classification", R"({"inputs": "x", "parameters": [1]})", "need object");
  expect_refused("/pipelines/text-classification", R"({"inputs": "x", "top_k": 1})", "top_k");
}

TEST_F(EncoderAppTest, ErrorsNameTheirFieldAndModelsTheirName) {
  serve(kFixtures + "bert");
  const auto param = [&](const std::string& path, const std::string& body) {
    return call("POST", path, body)->json().at("error", "answer").at("param", "error");
  };
  EXPECT_EQ(param("/classify", "{}"), Json("input"));
  EXPECT_EQ(param("/classify", R"({"input": "a", "x": 1})"), Json("x"));
  EXPECT_EQ(param("/v1/embeddings", R"({"input": []})"), Json("input"));
  EXPECT_EQ(param("/pipelines/text-classification", R"({"parameters": {}})"), Json("inputs"));
  const Json list = call("GET", "/v1/models")->json();
  const Json& model = list.at("data", "l").as_array("l").at(0);
  EXPECT_EQ(call("GET", "/v1/models/" + model.get_string("id", "", "m"))->json(), model);
  EXPECT_EQ(call("GET", "/v1/models/other")->json().at("error", "a").at("code", "e"), Json("model_not_found"));
}

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

// use_activation false: the folder's own modules to the last, its Normalize too (and what truncate_dim leaves of it).
TEST_F(EncoderAppTest, EmbeddingsWithoutActivationKeepTheFoldersNormalize) {
  const std::string folder = ::testing::TempDir() + "/served_normalized_" + std::to_string(::getpid());
  std::filesystem::copy(PAGODA_SOURCE_DIR "/tests/fixtures/sentences/layers", folder, std::filesystem::copy_options::recursive);
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "model.safetensors", "config.json"}) {
    write_file_atomic(folder + "/" + file, read_file(kFixtures + "bert/" + file, 1 << 24));
  }
  const std::string path = folder + "/modules.json";
  Json modules = Json::parse(read_file(path, 1 << 16), path);
  modules.push_back(Json::object().set("type", "sentence_transformers.models.Normalize").set("path", "6_Normalize"));
  write_file_atomic(path, modules.dump());
  write_file_atomic(folder + "/config_sentence_transformers.json", R"({"truncate_dim": 3})");
  serve(folder, Head::kNone);
  const Json answer = post("/v1/embeddings", R"({"input": "Paris is", "use_activation": false})");
  const Json want = Pipeline::make("feature-extraction", model_)->run("Paris is", Json::parse(R"({"pooling": "auto"})", ""));
  const Json& got = answer.at("data", "").as_array("")[0].at("embedding", "");
  ASSERT_EQ(got.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(got.as_array("")[i].as_double(""), want.as_array("")[i].as_double(""), 1e-6);
  std::filesystem::remove_all(folder);
}

// Dense, LayerNorm, truncate_dim and prompts: tests/fixtures/sentences beside encoders/bert.
TEST_F(EncoderAppTest, EmbeddingsGoThroughTheFoldersModules) {
  for (const std::string name : {"layers", "prompts"}) {
    const std::string folder = ::testing::TempDir() + "/served_" + name + "_" + std::to_string(::getpid());
    std::filesystem::copy(PAGODA_SOURCE_DIR "/tests/fixtures/sentences/" + name, folder,
                          std::filesystem::copy_options::recursive);
    for (const char* file : {"tokenizer.json", "tokenizer_config.json", "model.safetensors", "config.json"}) {
      write_file_atomic(folder + "/" + file, read_file(kFixtures + "bert/" + file, 1 << 24));
    }
    serve(folder, Head::kNone);
    const Json answer = post("/v1/embeddings", R"({"input": "Paris is", "use_activation": false})");
    const Json want = Pipeline::make("feature-extraction", model_)->run("Paris is", Json::parse(R"({"pooling": "auto"})", ""));
    const Json& got = answer.at("data", "").as_array("")[0].at("embedding", "");
    ASSERT_EQ(got.size(), want.size()) << name;
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(got.as_array("")[i].as_double(""), want.as_array("")[i].as_double(""), 1e-6) << name;
  }
  const auto of_prompt = [&](const std::string& prompt) {
    return post("/v1/embeddings", R"({"input": "Paris is", "prompt_name": ")" + prompt + "\"}").at("data", "");
  };
  EXPECT_EQ(of_prompt("query"), post("/v1/embeddings", R"({"input": "Paris is"})").at("data", ""));
  EXPECT_FALSE(of_prompt("query") == of_prompt("document"));
  expect_refused("/v1/embeddings", R"({"input": "a", "prompt_name": "other"})", "need one of: document, query");
}

TEST_F(EncoderAppTest, EmbeddingsAsTheFolderSays) {
  serve(kFixtures + "distilbert");  // whose config.json names a classifier; modules.json decides
  EXPECT_EQ(model_->head(), Head::kNone);
  const Json answer = post("/v1/embeddings", R"({"model": "enc", "input": ["Angela Merkel", "Berlin"]})");
  ASSERT_EQ(answer.at("data", "").size(), 2u);
  const Json want =
      Pipeline::make("feature-extraction", model_)->run("Berlin", Json::parse(R"({"pooling": "auto", "normalize": true})", ""));
  const Json& got = answer.at("data", "").as_array("")[1].at("embedding", "");
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(got.as_array("")[i].as_double(""), want.as_array("")[i].as_double(""), 1e-6);
  const Json ids = call("POST", "/tokenize", R"({"prompt": "Berlin"})")->json().at("tokens", "");
  const Json by_ids = post("/v1/embeddings", R"({"input": )" + ids.dump() + "}");
  EXPECT_EQ(by_ids.at("data", "").as_array("")[0].at("embedding", ""), got);
  EXPECT_TRUE(post("/v1/embeddings", R"({"input": "a", "encoding_format": "base64"})")
                  .at("data", "")
                  .as_array("")[0]
                  .at("embedding", "")
                  .is_string());
  const Json bare = call("POST", "/tokenize", R"({"prompt": "Berlin", "add_special_tokens": false})")->json().at("tokens", "");
  EXPECT_EQ(post("/v1/embeddings", R"({"input": "Berlin", "add_special_tokens": false})").at("data", ""),
            post("/v1/embeddings", R"({"input": )" + bare.dump() + "}").at("data", ""));
  // Cosines of such vectors.
  const Json ranked = post("/v1/rerank", R"({"query": "Berlin", "documents": ["a dog", "Berlin"]})");
  EXPECT_EQ(ranked.at("results", "").as_array("")[0].at("index", ""), Json(1));
  EXPECT_NEAR(ranked.at("results", "").as_array("")[0].at("relevance_score", "").as_double(""), 1, 1e-5);
  std::string words;
  for (int i = 0; i < 30; ++i) words += "fox ";
  expect_refused("/v1/embeddings", R"({"input": ")" + words + "\"}", "need at most 20");
  post("/v1/embeddings", R"({"truncate_prompt_tokens": 10, "input": ")" + words + "\"}");
  expect_refused("/v1/embeddings", R"({"input": "a", "dimensions": 4})", "dimensions");
  EXPECT_EQ(call("GET", "/v1/models")->json().at("data", "").as_array("")[0].at("max_model_len", ""), Json(20));
  EXPECT_EQ(call("GET", "/health")->status, 200);
  EXPECT_NE(call("GET", "/metrics")->body.find("vllm:prompt_tokens_total"), std::string::npos);
}

// Texts and ids lose their end, never what begins them; what cannot fit is not cut into tokens.
TEST_F(EncoderAppTest, TextsAndIdsAreCutAtTheirEnd) {
  serve(kFixtures + "distilbert");
  const auto vectors = [&](const std::string& fields) { return post("/v1/embeddings", "{" + fields + "}").at("data", ""); };
  EXPECT_EQ(vectors(R"("input": [5, 6, 7, 8, 9, 10, 11], "truncate_prompt_tokens": 4)"), vectors(R"("input": [5, 6, 7, 8])"));
  EXPECT_EQ(vectors(R"("input": [5, 6, 7, 8, 9], "truncate_prompt_tokens": 4, "truncation_side": "right")"),
            vectors(R"("input": [5, 6, 7, 8])"));
  expect_refused("/v1/embeddings", R"({"input": [5, 6], "truncate_prompt_tokens": 1, "truncation_side": "left"})",
                 "truncation_side");
  std::string words, many;
  for (int i = 0; i < 20; ++i) words += "fox ";
  for (int i = 0; i < 2000; ++i) many += "fox ";
  const std::string cut = R"("truncate_prompt_tokens": 10, "input": ")";
  EXPECT_EQ(vectors(cut + many + "\""), vectors(cut + words + "\""));
  while (many.size() <= (size_t{1} << 20)) many += many;
  EXPECT_EQ(vectors(cut + many + "\""), vectors(cut + words + "\""));
  const std::string says = "bytes of text, need at most 1048576";
  expect_refused("/v1/embeddings", R"({"input": ["a", ")" + many + "\"]}", says);
  expect_refused("/v1/rerank", R"({"query": "a", "documents": [")" + many + "\"]}", says);
  expect_refused("/v1/score", R"({"text_1": ["a"], "text_2": [")" + many + "\"]}", says);
}

// Normalizers drop white space, and WordPiece makes one token of a long word: bytes say nothing of tokens then.
TEST_F(EncoderAppTest, LongTextsOfFewTokensKeepThem) {
  serve(kFixtures + "distilbert");
  const std::string cut = R"("truncate_prompt_tokens": 10, "input": ")";
  const auto text = [](const std::string& long_part, const std::string& rest) { return long_part + rest + "\""; };
  const auto word = vector(cut + text(std::string(300, 'a'), " fox dog")), blank = vector(cut + text("", "fox dog"));
  EXPECT_NE(word, blank);
  for (const size_t size : {size_t{3000}, size_t{150000}, size_t{1100000}}) {
    EXPECT_EQ(vector(cut + text(std::string(size, 'a'), " fox dog")), word) << size;
    EXPECT_EQ(vector(cut + text(std::string(size, ' '), "fox dog")), blank) << size;
    if (size > (size_t{1} << 20)) continue;
    EXPECT_EQ(vector(R"("input": ")" + text(std::string(size, 'a'), " fox dog")), word) << size;
    EXPECT_EQ(vector(R"("input": ")" + text(std::string(size, ' '), "fox dog")), blank) << size;
  }
}

// What max_seq_length or --max-model-len says is told, and holds for texts, ids and tasks.
TEST_F(EncoderAppTest, OneLimitForTextsAndIds) {
  const auto told = [&] { return call("GET", "/v1/models")->json().at("data", "").as_array("")[0].at("max_model_len", ""); };
  const auto ids = [](int count) {
    std::string list = "5";
    for (int i = 1; i < count; ++i) list += "," + std::to_string(5 + i);
    return R"("input": [)" + list + "]";
  };
  serve(kFixtures + "distilbert");
  EXPECT_EQ(told(), Json(20));
  EXPECT_EQ(call("POST", "/tokenize", R"({"prompt": "fox"})")->json().at("max_model_len", ""), Json(20));
  EXPECT_EQ(vector(ids(20) + R"(, "truncate_prompt_tokens": -1)"), vector(ids(20)));
  EXPECT_EQ(vector(ids(32) + R"(, "truncate_prompt_tokens": -1)"), vector(ids(20)));
  expect_refused("/v1/embeddings", "{" + ids(32) + "}", "need at most 20");
  serve(kFixtures + "bert", {}, 8);
  EXPECT_EQ(told(), Json(8));
  const std::string text = R"(": "fox fox fox fox fox fox fox fox fox fox fox")";
  expect_refused("/v1/embeddings", "{\"input" + text + "}", "need at most 8");
  expect_refused("/classify", "{\"input" + text + "}", "need at most 8");
  expect_refused("/pipelines/text-classification", "{\"inputs" + text + "}", "need at most 8");
  const Json cut = post("/pipelines/text-classification", "{\"inputs" + text + R"(, "parameters": {"truncation": true}})");
  EXPECT_EQ(cut, post("/pipelines/text-classification", R"({"inputs": "fox fox fox fox fox fox"})"));
  EXPECT_THROW(serve(kFixtures + "bert", {}, 1000), Error);
}

// --pooler-config holds for all that vectors are made for.
TEST_F(EncoderAppTest, ThePoolerConfigHoldsForVectorsAndScores) {
  std::vector<std::vector<double>> all;
  std::vector<double> scores;
  for (const std::string type : {"", "LAST", "MEAN", "CLS"}) {
    options_.pooling = parse_pooler_config(type.empty() ? "" : R"({"pooling_type": ")" + type + "\"}");
    serve(kFixtures + "distilbert");
    const std::vector<double> a = vector(R"("input": "Angela Merkel")"), b = vector(R"("input": "Berlin is here")");
    double cosine = 0;
    for (size_t i = 0; i < a.size(); ++i) cosine += a[i] * b[i];
    const Json answer = post("/v1/score", R"({"text_1": "Angela Merkel", "text_2": "Berlin is here"})");
    EXPECT_NEAR(answer.at("data", "").as_array("").at(0).at("score", "").as_double(""), cosine, 1e-6) << type;
    const Json ranked = post("/v1/rerank", R"({"query": "Angela Merkel", "documents": ["Berlin is here"]})");
    EXPECT_NEAR(ranked.at("results", "").as_array("").at(0).at("relevance_score", "").as_double(""), cosine, 1e-6) << type;
    all.push_back(a);
  }
  EXPECT_NE(all[1], all[2]);
  EXPECT_NE(all[1], all[3]);
  EXPECT_NE(all[2], all[3]);
  options_.pooling = parse_pooler_config(R"({"use_activation": false})");
  serve(cross_encoder());
  const std::string pair = R"({"text_1": "a", "text_2": "b")";
  const Json plain = post("/v1/score", pair + "}").at("data", "");
  EXPECT_EQ(plain, post("/v1/score", pair + R"(, "use_activation": false})").at("data", ""));
  EXPECT_FALSE(plain == post("/v1/score", pair + R"(, "use_activation": true})").at("data", ""));
}

// One with default_prompt_name, as the folder of sentence-transformers has it.
TEST_F(EncoderAppTest, PromptsStandBeforeTextsWithoutSpecialTokens) {
  const std::string folder = ::testing::TempDir() + "/bare_prompts_" + std::to_string(::getpid());
  std::filesystem::copy(PAGODA_SOURCE_DIR "/tests/fixtures/sentences/prompts", folder,
                        std::filesystem::copy_options::recursive);
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "model.safetensors", "config.json"}) {
    write_file_atomic(folder + "/" + file, read_file(kFixtures + "bert/" + file, 1 << 24));
  }
  write_file_atomic(folder + "/sentence_bert_config.json", R"({"max_seq_length": 12, "do_lower_case": true})");
  serve(folder, Head::kNone);
  const std::string bare = R"("add_special_tokens": false, "input": )";
  EXPECT_EQ(vector(bare + R"("FOX", "prompt_name": "query")"), vector(bare + R"("fox")"));
  EXPECT_NE(vector(bare + R"("fox", "prompt_name": "document")"), vector(bare + R"("fox")"));
  const auto ids = model_->tokenizer()->encode_ids("a text: fox", false);
  std::string list;
  for (const int32_t id : ids) list += (list.empty() ? "" : ",") + std::to_string(id);
  const auto same = [&] { return vector(bare + R"("fox", "prompt_name": "document")") == vector("\"input\": [" + list + "]"); };
  EXPECT_FALSE(same());  // include_prompt false: of the prompt's own rows nothing is pooled
  const std::string pooling = folder + "/1_Pooling/config.json";
  Json config = Json::parse(read_file(pooling, 1 << 16), pooling);
  write_file_atomic(pooling, config.set("include_prompt", true).dump());
  serve(folder, Head::kNone);
  EXPECT_TRUE(same());
  expect_refused("/v1/embeddings", R"({"input": [5, 6], "prompt_name": "query"})", "got ids");
  std::filesystem::remove_all(folder);
}

// Numbers as text at once: the same as the pipeline's, to float32.
TEST_F(EncoderAppTest, FeaturesAreWrittenAsThePipelineHasThem) {
  serve(kFixtures + "distilbert");
  const auto pipeline = Pipeline::make("feature-extraction", model_);
  const std::function<void(const Json&, const Json&)> expect_same = [&](const Json& got, const Json& want) {
    ASSERT_EQ(got.is_array(), want.is_array());
    if (!want.is_array()) {
      EXPECT_EQ(static_cast<float>(got.as_double("")), static_cast<float>(want.as_double("")));
      return;
    }
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) expect_same(got.as_array("")[i], want.as_array("")[i]);
  };
  for (const std::string inputs : {R"("Angela Merkel")", R"(["fox", "a b c"])", "[]"}) {
    for (const std::string parameters :
         {"null", R"({"truncation": true, "max_length": 4})", R"({"pooling": "mean"})", R"({"pooling": "auto"})",
          R"({"pooling": "cls", "normalize": true})", R"({"pooling": "cls", "normalize": false})"}) {
      SCOPED_TRACE(inputs + parameters);
      expect_same(post("/pipelines/feature-extraction", R"({"inputs": )" + inputs + R"(, "parameters": )" + parameters + "}"),
                  pipeline->run(Json::parse(inputs, ""), Json::parse(parameters, "")));
    }
  }
}

// Told whatever the bytes are, before they are cut into tokens.
TEST_F(EncoderAppTest, TasksRefuseTextsAndListsThatAreTooLong) {
  options_.limits.max_inputs = 3;
  serve(kFixtures + "bert");
  std::string text = "fox ";
  while (text.size() <= (size_t{1} << 20)) text += text;
  const std::string says = "bytes of text, need at most 1048576";
  const std::string with = R"(, "parameters": {"truncation": true}})";
  expect_refused("/pipelines/text-classification", R"({"inputs": ")" + text + "\"" + with, says);
  expect_refused("/pipelines/text-classification", R"({"inputs": [{"text": "a", "text_pair": ")" + text + "\"}]" + with, says);
  expect_refused("/pipelines/feature-extraction", R"({"inputs": ["a", ")" + text + "\"]" + with, says);
  expect_refused("/pipelines/text-classification", R"({"inputs": ["a", "b", "c", "d"]})", "got 4, need at most 3");
  serve(kFixtures + "distilbert");
  const std::string source = R"({"inputs": {"source_sentence": "a", "sentences": )";
  EXPECT_EQ(post("/pipelines/sentence-similarity", source + R"(["a", "b", "c"]}})").size(), 3u);
  expect_refused("/pipelines/sentence-similarity", source + R"(["a", "b", "c", "d"]}})", "got 4, need at most 3");
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

TEST_F(EncoderAppTest, ManyRequestsAtOnceAnswerAsEachAlone) {
  serve(kFixtures + "bert");
  const auto body = [](int i) { return R"({"inputs": "fox )" + std::string(static_cast<size_t>(i % 20), 'a') + R"( dog"})"; };
  std::vector<std::string> alone;
  for (int i = 0; i < 20; ++i) alone.push_back(call("POST", "/pipelines/text-classification", body(i))->body);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < 60; i += 4) {
        if (call("POST", "/pipelines/text-classification", body(i))->body != alone[static_cast<size_t>(i % 20)]) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(app_->num_open(), 0);
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

// Its connection's thread runs when the test says so.
class LaterTold : public Told {
 public:
  void post(std::function<void()> work) override {
    const std::lock_guard<std::mutex> lock(mutex);
    later = std::move(work);
    ended.notify_all();
  }
  std::function<void()> take() {
    std::unique_lock<std::mutex> lock(mutex);
    ended.wait(lock, [this] { return later != nullptr; });
    return std::exchange(later, nullptr);
  }
  std::function<void()> later;
};

// Looks between a request's texts.
TEST_F(EncoderAppTest, NothingIsComputedForWhoHasGone) {
  class Gone : public Told {
   public:
    bool gone() const override { return ++asked > 2; }
    mutable int asked = 0;
  };
  options_.allowed_origins = {"https://a.example"};
  for (const auto& [folder, path, texts] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {kFixtures + "bert", "/classify", R"({"input": ["a", "b", "c", "d", "e"]})"},
           {kFixtures + "distilbert", "/v1/embeddings", R"({"input": ["a", "b", "c", "d", "e"]})"},
           {kFixtures + "distilbert", "/v1/rerank", R"({"query": "a", "documents": ["b", "c", "d", "e"]})"},
           {cross_encoder(), "/v1/score", R"({"text_1": "a", "text_2": ["b", "c", "d", "e"]})"}}) {
    serve(folder);
    HttpRequest http;
    http.method = "POST";
    http.path = path;
    http.body = texts;
    if (path != "/classify") http.headers = {{"origin", "https://a.example"}};
    const auto told = std::make_shared<Gone>();
    try {
      app_->handle(std::move(http), told);
    } catch (const Error&) {
      // Nobody is left to hear of it.
    }
    EXPECT_EQ(told->asked, 3) << path;
    EXPECT_EQ(app_->num_open(), 0) << path;
  }
}

// They count from the request to the end of its answer, behind an allowed origin too.
TEST_F(EncoderAppTest, OutputsAndAnswersOfAllAreBounded) {
  options_.allowed_origins = {"https://a.example"};
  serve(kFixtures + "bert");
  const int64_t rows = std::ssize(model_->encode("the quick brown fox").encoding.ids);
  const int64_t numbers = 100 * rows * model_->model().hidden_size();
  options_.memory = MemoryLedger(numbers * 17 * 3 / 2);
  serve(kFixtures + "bert");
  const auto ask = [&](const Headers& headers, int texts) {
    HttpRequest http;
    http.method = "POST";
    http.path = "/pipelines/feature-extraction";
    http.headers = headers;
    http.body = R"({"inputs": ["the quick brown fox")";
    for (int i = 1; i < texts; ++i) http.body += R"(, "the quick brown fox")";
    http.body += "]}";
    auto told = std::make_shared<Told>();
    app_->handle(std::move(http), told);
    told->wait();
    return told;
  };
  const int texts = 100;
  for (const Headers& headers : {Headers{}, Headers{{"origin", "https://a.example"}}}) {
    const auto first = ask(headers, texts);
    EXPECT_EQ(first->status, 200) << first->body;
    const auto second = ask(headers, texts);
    EXPECT_EQ(second->status, 503);
    EXPECT_NE(second->body.find("large answers"), std::string::npos);
    EXPECT_EQ(ask(headers, 1)->status, 200);
    // What never finds room is the request's fault: coming again is no use.
    const auto large = ask(headers, 2 * texts);
    EXPECT_EQ(large->status, 400);
    EXPECT_NE(large->body.find("larger than all"), std::string::npos) << large->body;
  }
  EXPECT_EQ(options_.memory.held(), 0);
}

TEST_F(EncoderAppTest, AnswersAreWrittenOnTheConnectionsThreadAndAbortsCounted) {
  serve(kFixtures + "bert");
  const auto ask = [&](const std::shared_ptr<LaterTold>& told) {
    HttpRequest http;
    http.method = "POST";
    http.path = "/classify";
    http.body = R"({"input": "fox"})";
    app_->handle(std::move(http), told);
    return told->take();
  };
  const auto counted = [&](const std::string& reason) {
    const std::string page = call("GET", "/metrics")->body, key = "finished_reason=\"" + reason + "\"";
    const size_t at = page.find("} ", page.find(key));
    return page.find(key) == std::string::npos ? std::string() : page.substr(at + 2, 1);
  };
  const auto told = std::make_shared<LaterTold>(), gone = std::make_shared<LaterTold>();
  const std::function<void()> write = ask(told);
  EXPECT_FALSE(told->done);
  write();
  EXPECT_EQ(told->status, 200) << told->body;
  ask(gone);
  gone->disconnect();
  EXPECT_EQ(counted("stop"), "1");
  EXPECT_EQ(counted("abort"), "1");
  EXPECT_EQ(counted("error"), "0");
}

class EncoderServiceTest : public ::testing::Test {
 protected:
  using Outputs = std::vector<SequenceOutput>;
  std::vector<SequenceInput> inputs(int count) const {
    return std::vector<SequenceInput>(static_cast<size_t>(count), model_->input_of(model_->encode("fox").encoding));
  }
  // Holds the service's thread until go_ has its value: what comes meanwhile waits.
  void hold(EncoderService& service) {
    ASSERT_TRUE(service.submit(inputs(1), [this](const Outputs&, const Error*) {
      begun_.set_value();
      go_.get_future().wait();
    }));
    begun_.get_future().wait();
  }
  // The number of outputs, or the error.
  static EncoderService::Done into(std::promise<std::string>& told) {
    return [&told](const Outputs& outputs, const Error* error) {
      told.set_value(error == nullptr ? std::to_string(outputs.size()) : error->message());
    };
  }
  std::shared_ptr<const SequenceModel> model_ = SequenceModel::open(kFixtures + "bert", one_thread(), {});
  std::promise<void> begun_, go_;
};

TEST_F(EncoderServiceTest, FullAndCancelled) {
  EncoderService service(model_, 1);
  hold(service);
  std::atomic<int> cancelled{0};
  const auto count = [&](const Outputs&, const Error*) { ++cancelled; };
  const auto waiting = service.submit(inputs(3), count);
  ASSERT_TRUE(waiting);
  EXPECT_EQ(service.num_open(), 1);
  EXPECT_EQ(service.stats().num_waiting, 1);
  EXPECT_FALSE(service.submit(inputs(1), count));
  service.cancel(*waiting);
  EXPECT_EQ(service.num_open(), 0);
  go_.set_value();
  std::promise<std::string> two, none;
  ASSERT_TRUE(service.submit(inputs(2), into(two)));
  EXPECT_EQ(two.get_future().get(), "2");
  ASSERT_TRUE(service.submit({}, into(none)));
  EXPECT_EQ(none.get_future().get(), "0");
  EXPECT_EQ(cancelled.load(), 0);
  EXPECT_TRUE(service.healthy());
}

TEST_F(EncoderServiceTest, WhatThrowsOnItsThreadEndsThatRequestAlone) {
  EncoderService service(model_, 10);
  std::promise<std::string> told, after;
  ASSERT_TRUE(service.submit(inputs(1), [&](const Outputs&, const Error* error) {
    if (error == nullptr) throw std::bad_alloc();
    told.set_value(error->message());
    throw std::bad_alloc();
  }));
  EXPECT_NE(told.get_future().get(), "");
  ASSERT_TRUE(service.submit(inputs(1), into(after)));
  EXPECT_EQ(after.get_future().get(), "1");
}

TEST_F(EncoderServiceTest, OneRequestsErrorIsNotItsNeighbours) {
  EncoderService service(model_, 10);
  hold(service);
  std::vector<SequenceInput> bad = inputs(2);
  bad[1].ids.assign(static_cast<size_t>(model_->model().max_positions() + 1), bad[0].ids[0]);
  bad[1].type_ids.assign(bad[1].ids.size(), 0);
  std::promise<std::string> first, wrong, last;
  ASSERT_TRUE(service.submit(inputs(2), into(first)));
  ASSERT_TRUE(service.submit(bad, into(wrong)));
  ASSERT_TRUE(service.submit(inputs(3), into(last)));
  go_.set_value();
  EXPECT_EQ(first.get_future().get(), "2");
  EXPECT_NE(wrong.get_future().get(), "2");
  EXPECT_EQ(last.get_future().get(), "3");
}

TEST(EncoderVectors, NotFiniteIsTheSequencesOwnError) {
  const std::string folder = cross_encoder();
  const auto sound = SequenceModel::open(folder, one_thread(), Head::kNone);
  const int32_t fox = sound->encode("fox").encoding.ids[1], other = sound->encode("b").encoding.ids[1];
  ASSERT_NE(fox, other);
  Runtime runtime;
  std::vector<std::pair<std::string, Tensor>> tensors;
  const std::shared_ptr<SafetensorsFile> file = SafetensorsFile::open(folder + "/model.safetensors");
  for (const TensorEntry& entry : file->tensors()) {
    Tensor tensor = Tensor::empty(runtime.device(), entry.dtype, entry.shape);
    std::memcpy(tensor.view().data, entry.data(), static_cast<size_t>(tensor.bytes()));
    if (entry.name.find("word_embeddings.weight") != std::string::npos) {
      ASSERT_EQ(entry.dtype, DType::kFloat32);
      tensor.data<float>()[fox * tensor.dim(1)] = std::nanf("");
    }
    tensors.emplace_back(entry.name, tensor);
  }
  write_safetensors(folder + "/model.safetensors", tensors);
  EncoderService service(SequenceModel::open(folder, one_thread(), Head::kNone), 10);
  for (int i = 0; i < 3; ++i) {
    std::promise<std::string> bad, good;
    for (const auto& [text, told] : {std::pair{"fox", &bad}, std::pair{"b", &good}}) {
      ASSERT_TRUE(
          service.submit({sentence_input(service.model(), text, SentenceOptions{{RowPooling::kMean}, false, false, ""})},
                         [told](const std::vector<SequenceOutput>&, const Error* error) {
                           told->set_value(error == nullptr ? "" : error->message());
                         }));
    }
    EXPECT_NE(bad.get_future().get().find("not finite"), std::string::npos);
    EXPECT_EQ(good.get_future().get(), "");
  }
  EXPECT_TRUE(service.healthy());
}

TEST_F(EncoderServiceTest, ShutdownEndsWhatIsOpen) {
  std::promise<std::string> told;
  std::thread release;
  {
    EncoderService service(model_, 4);
    hold(service);
    ASSERT_TRUE(service.submit(inputs(1), into(told)));
    release = std::thread([&] { go_.set_value(); });
  }
  release.join();
  // It is either computed in time or told so; never forgotten.
  const std::string message = told.get_future().get();
  EXPECT_TRUE(message == "1" || message.find("shutting down") != std::string::npos) << message;
}

TEST_F(EncoderAppTest, TheDocumentNamesTheRoutes) {
  serve(kFixtures + "bert");
  const Json document = call("GET", "/openapi.json")->json();
  size_t operations = 0;
  for (const JsonMember& path : document.at("paths", "").as_object("")) {
    operations += path.value.size();
    for (const JsonMember& operation : path.value.as_object("")) {
      EXPECT_EQ(operation.value.contains("requestBody"), operation.key == "post") << path.key;
    }
  }
  EXPECT_EQ(operations, app_->route_names().size());
  EXPECT_TRUE(document.at("paths", "").contains("/pipelines/{task}"));
  const Json& rerank = document.at("paths", "").at("/v1/rerank", "").at("post", "");
  const Json& schema = rerank.at("requestBody", "").at("content", "").at("application/json", "").at("schema", "");
  EXPECT_TRUE(schema.at("properties", "").contains("top_n"));
  for (const char* name : {"Reranked", "ScoreList", "ClassificationList", "TaskResult"}) {
    EXPECT_TRUE(document.at("components", "").at("schemas", "").contains(name)) << name;
  }
}

TEST(EncoderAppStart, RoutesOfBothKindsAreToldToWait) {
  AppOptions options;
  options.served_model_names = {"enc"};
  App app(options);
  for (const char* path : {"/v1/rerank", "/v1/completions", "/pipelines/fill-mask"}) {
    HttpRequest http;
    http.method = "POST";
    http.path = path;
    http.body = "{}";
    const auto told = std::make_shared<Told>();
    app.handle(http, told);
    EXPECT_EQ(told->status, 503) << path;
  }
}

}  // namespace
}  // namespace pagoda::server
