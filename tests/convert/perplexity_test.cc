// Perplexity against the loop of Hugging Face's guide.
#include "convert/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "ops/runtime.h"

namespace pagoda {
namespace {

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";

struct Loaded {
  explicit Loaded(const std::string& name) : folder(ModelFolder::open(kFixtures + name)), runtime(RuntimeOptions{2, {}, {}}) {
    model = make_model(folder->config(), name);
    model->load(runtime.device(), *folder);
    model->prepare_for_inference(runtime.device(), DType::kFloat32);
  }
  std::shared_ptr<ModelFolder> folder;
  Runtime runtime;
  std::unique_ptr<Model> model;
};

TEST(Perplexity, EqualsHuggingFacesStridedLoop) {
  const Json cases = Json::parse(read_file(kFixtures + "perplexity.json", 1 << 22), "perplexity.json");
  int checked = 0;
  for (const Json& each : cases.as_array("cases")) {
    Loaded loaded(each.at("model", "").as_string(""));
    std::vector<int32_t> ids;
    for (const Json& id : each.at("ids", "").as_array("")) ids.push_back(static_cast<int32_t>(id.as_int("")));
    PerplexityOptions options;
    options.max_length = each.at("max_length", "").as_int("");
    options.stride = each.at("stride", "").as_int("");
    int64_t last = 0;
    options.progress = [&](int64_t done, int64_t total) {
      EXPECT_GT(done, last);
      EXPECT_EQ(total, static_cast<int64_t>(ids.size()));
      last = done;
    };
    const Perplexity result = perplexity(loaded.runtime.device(), *loaded.model, ids, options);
    EXPECT_EQ(result.tokens, each.at("tokens", "").as_int(""));
    EXPECT_NEAR(result.nll, each.at("nll", "").as_double(""), 1e-4)
        << each.at("model", "").as_string("") << " " << options.stride;
    EXPECT_NEAR(result.perplexity / each.at("perplexity", "").as_double(""), 1, 1e-4);
    EXPECT_EQ(last, static_cast<int64_t>(ids.size()));
    ++checked;
  }
  EXPECT_EQ(checked, 7);
}

TEST(Perplexity, IsTheSameWhateverLogitsExistAtOnce) {
  Loaded loaded("llama");
  std::vector<int32_t> ids;
  for (int i = 0; i < 90; ++i) ids.push_back((i * 37 + i / 7) % 99);
  PerplexityOptions options;
  options.max_length = 40;
  options.stride = 25;
  const double whole = perplexity(loaded.runtime.device(), *loaded.model, ids, options).nll;
  for (const int64_t rows : {0, 1, 7}) {
    options.max_logit_bytes = rows * loaded.model->vocab_size() * static_cast<int64_t>(sizeof(float));
    EXPECT_EQ(perplexity(loaded.runtime.device(), *loaded.model, ids, options).nll, whole) << rows;
  }
}

TEST(Perplexity, RefusesWhatHasNoAnswer) {
  Loaded loaded("llama");
  const auto message = [&](const std::vector<int32_t>& ids, int64_t max_length, int64_t stride) -> std::string {
    PerplexityOptions options;
    options.max_length = max_length;
    options.stride = stride;
    try {
      perplexity(loaded.runtime.device(), *loaded.model, ids, options);
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  EXPECT_THAT(message({}, 0, 0), ::testing::HasSubstr("text too short: got 0 tokens"));
  EXPECT_THAT(message({1}, 0, 0), ::testing::HasSubstr("text too short: got 1 tokens"));
  EXPECT_THAT(message({1, 99}, 0, 0), ::testing::HasSubstr("got 99, need 0 to 98"));
  EXPECT_THAT(message({1, 2}, 1000, 0), ::testing::HasSubstr("max length: got 1000"));
  EXPECT_THAT(message({1, 2}, 16, 17), ::testing::HasSubstr("stride: got 17"));
}

}  // namespace
}  // namespace pagoda
