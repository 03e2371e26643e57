// /v1/embeddings without a network: shapes, encodings, limits; the values are the engine's tests' affair.
#include "server/embeddings.h"

#include <cstring>

#include "formats/base64.h"
#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

Json embed(const std::shared_ptr<Told>& told) {
  EXPECT_EQ(told->status, 200) << told->body;
  return told->json();
}

const Json& vector_of(const Json& answer, size_t i) { return answer.at("data", "a").as_array("a").at(i).at("embedding", "a"); }

TEST_F(AppTest, Embeddings) {
  const Json one = embed(post("/v1/embeddings", R"({"model": "words", "input": "w7 w8"})"));
  EXPECT_EQ(one.at("object", "a"), Json("list"));
  EXPECT_EQ(one.at("model", "a"), Json("words"));
  EXPECT_EQ(one.at("usage", "a").at("prompt_tokens", "u"), Json(3));
  EXPECT_EQ(one.at("usage", "a").at("total_tokens", "u"), Json(3));
  ASSERT_EQ(vector_of(one, 0).size(), static_cast<size_t>(generation_->model().hidden_size()));
  double squares = 0;
  for (const Json& value : vector_of(one, 0).as_array("a")) squares += value.as_double("a") * value.as_double("a");
  EXPECT_NEAR(squares, 1, 1e-5);
  // As ids, among others, as base64: the same vector.
  const Json ids = embed(post("/v1/embeddings", R"({"input": [1, 7, 8]})"));
  EXPECT_EQ(vector_of(ids, 0), vector_of(one, 0));
  const Json many = embed(post("/v1/embeddings", R"({"input": ["w9", [1, 7, 8], "w7 w8"]})"));
  EXPECT_EQ(vector_of(many, 1), vector_of(one, 0));
  EXPECT_EQ(vector_of(many, 2), vector_of(one, 0));
  EXPECT_EQ(many.at("data", "a").as_array("a")[2].at("index", "a"), Json(2));
  const Json packed = embed(post("/v1/embeddings", R"({"input": "w7 w8", "encoding_format": "base64"})"));
  const std::string bytes = decode_base64(vector_of(packed, 0).as_string("a"), "base64");
  ASSERT_EQ(bytes.size(), vector_of(one, 0).size() * 4);
  for (size_t i = 0; i < bytes.size() / 4; ++i) {
    float value = 0;
    std::memcpy(&value, bytes.data() + 4 * i, 4);
    EXPECT_EQ(value, static_cast<float>(vector_of(one, 0).as_array("a")[i].as_double("a")));
  }
  const Json plain = embed(post("/v1/embeddings", R"({"input": "w7 w8", "use_activation": false})"));
  EXPECT_NE(vector_of(plain, 0), vector_of(one, 0));
  const Json cut =
      embed(post("/v1/embeddings", R"({"input": "w9 w7 w8", "truncate_prompt_tokens": 2, "add_special_tokens": false})"));
  EXPECT_EQ(cut.at("usage", "a").at("prompt_tokens", "u"), Json(2));
  EXPECT_EQ(generation_->engine().pool().num_free(), generation_->engine().pool().num_blocks());
}

TEST_F(AppTest, EmbeddingsOfManyInputsGoThroughAWindow) {
  std::string list;
  for (int i = 0; i < 300; ++i) list += (i > 0 ? "," : "") + ("\"w" + std::to_string(6 + i % 90) + "\"");
  const Json many = embed(post("/v1/embeddings", "{\"input\": [" + list + "]}"));
  EXPECT_EQ(many.at("data", "a").size(), 300u);
  EXPECT_EQ(vector_of(many, 90), vector_of(many, 0));
  EXPECT_EQ(many.at("usage", "a").at("prompt_tokens", "u"), Json(600));
}

TEST_F(AppTest, EmbeddingsOfMoreInputsThanMayBeOpen) {
  Options options = plain();
  options.max_open = 3;
  make(options);
  const Json many = embed(post("/v1/embeddings", R"({"input": ["w7", "w8", "w9", "w10", "w11", "w12", "w13", "w7"]})"));
  EXPECT_EQ(many.at("data", "a").size(), 8u);
  EXPECT_EQ(vector_of(many, 7), vector_of(many, 0));
  EXPECT_NE(vector_of(many, 6), vector_of(many, 0));
  engine_->drain();  // an answer is told before its ticket is closed
  EXPECT_EQ(engine_->num_open(), 0);
}

TEST_F(AppTest, EmbeddingsByTheServersPooler) {
  Options options = plain();
  options.pooling = parse_pooler_config(R"({"pooling_type": "MEAN", "normalize": false})");
  make(options);
  const Json mean = embed(post("/v1/embeddings", R"({"input": [[7], [7, 8], [8]]})"));
  const Json last = embed(post("/v1/embeddings", R"({"input": [7]})"));
  EXPECT_EQ(vector_of(mean, 0), vector_of(last, 0));  // of one token both are the same
  EXPECT_NE(vector_of(mean, 1), vector_of(mean, 0));
  EXPECT_FALSE(parse_pooler_config("").type);
  EXPECT_THROW(parse_pooler_config(R"({"pooling_type": "STEP"})"), Error);
  EXPECT_THROW(parse_pooler_config(R"({"pooling": "MEAN"})"), Error);
}

TEST_F(AppTest, WrongEmbeddingRequestsAreNamed) {
  expect_refused("/v1/embeddings", "{}", "[input] missing");
  expect_refused("/v1/embeddings", R"({"input": []})", "[input] empty");
  expect_refused("/v1/embeddings", R"({"input": [[]]})", "[input] empty");
  expect_refused("/v1/embeddings", R"({"input": [99]})", "[input] token id");
  expect_refused("/v1/embeddings", R"({"input": [1, "w7"]})", "[input]");
  expect_refused("/v1/embeddings", R"({"input": "w7", "dimensions": 4})", "[dimensions]");
  expect_refused("/v1/embeddings", R"({"input": "w7", "dimensions": 0})", "[dimensions]");
  expect_refused("/v1/embeddings", R"({"input": "w7", "encoding_format": "hex"})", "[encoding_format]");
  expect_refused("/v1/embeddings", R"({"input": "w7", "embed_dtype": "float16"})", "[embed_dtype]");
  expect_refused("/v1/embeddings", R"({"input": "w7", "model": "other-model"})", "does not exist", 404);
  std::string long_list = "[7";
  for (int i = 0; i < 200; ++i) long_list += ",7";
  expect_refused("/v1/embeddings", R"({"input": )" + long_list + "]}", "too long");
}

}  // namespace
}  // namespace pagoda::server
