// /v1/embeddings of encoders: the folder's modules and prompts, lengths and cuts.
#include "tests/server/encoder_fixture.h"

namespace pagoda::server {
namespace {

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

}  // namespace
}  // namespace pagoda::server
