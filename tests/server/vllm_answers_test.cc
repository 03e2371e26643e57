// Answers and refusals as vLLM and OpenAI have them, where they are easily had otherwise.
#include <cmath>
#include <cstring>

#include "formats/safetensors.h"
#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

class VllmAnswers : public AppTest {
 protected:
  static std::string header(const Told& told, const std::string& name) {
    for (const auto& [key, value] : told.headers) {
      if (key == name) return value;
    }
    return "";
  }
  // The parameter that a refusal names, its message in `says`.
  std::string refused(const std::string& path, const std::string& body, int status = 400) {
    const auto told = post(path, body);
    EXPECT_EQ(told->status, status) << body << " -> " << told->body;
    const Json error = told->json().at("error", "answer");
    says = error.get_string("message", "", "error");
    const Json& param = error.at("param", "error");
    return param.is_null() ? "" : param.as_string("param");
  }
  static std::string words(int64_t count) {
    std::string text = "w7";
    for (int64_t i = 1; i < count; ++i) text += " w8";
    return text;
  }
  std::string says;
};

TEST_F(VllmAnswers, OptionsTellsTheMethods) {
  const auto told = call(request("OPTIONS", "/v1/completions"));
  EXPECT_EQ(told->status, 204);
  EXPECT_EQ(header(*told, "allow"), "POST, OPTIONS");
  EXPECT_EQ(header(*call(request("OPTIONS", "/v1/models")), "allow"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(header(*call(request("OPTIONS", "/v1/responses/resp_1")), "allow"), "GET, HEAD, DELETE, OPTIONS");
  EXPECT_EQ(header(*call(request("OPTIONS", "*")), "allow"), "GET, HEAD, POST, DELETE, OPTIONS");
  EXPECT_EQ(call(request("OPTIONS", "/nowhere"))->status, 404);
  const auto wrong = call(request("DELETE", "/v1/completions"));
  EXPECT_EQ(wrong->status, 405);
  EXPECT_EQ(header(*wrong, "allow"), "POST, OPTIONS");
  // A page of another origin is not let in by it.
  const auto page = call(request("OPTIONS", "/v1/completions", "", {{"origin", "https://evil.example"}}));
  EXPECT_EQ(page->status, 405);
  EXPECT_EQ(header(*page, "access-control-allow-origin"), "");
  Options options = plain();
  options.api_keys = {"secret"};
  make(options);
  EXPECT_EQ(call(request("OPTIONS", "/v1/completions"))->status, 401);
  EXPECT_EQ(call(request("OPTIONS", "/v1/completions", "", {{"authorization", "Bearer secret"}}))->status, 204);
}

TEST_F(VllmAnswers, APriorityThatChangesNothingIsRefused) {
  for (const char* path : {"/v1/completions", "/v1/chat/completions", "/v1/embeddings"}) {
    const std::string body = R"({"messages": [{"role": "user", "content": "w7"}], "max_tokens": 1, "priority": )";
    const std::string prompt = R"({"prompt": "w7", "max_tokens": 1, "priority": )", input = R"({"input": "w7", "priority": )";
    const std::string& fields = path[4] == 'e' ? input : path[5] == 'h' ? body : prompt;
    EXPECT_EQ(refused(path, fields + "-3}"), "priority");
    EXPECT_NE(says.find("--scheduling-policy priority"), std::string::npos) << says;
    EXPECT_EQ(post(path, fields + "0}")->status, 200);
  }
}

TEST_F(VllmAnswers, LogprobsOfTheChosenTokenAlone) {
  const std::string fields = R"("max_tokens": 3, "temperature": 0, "ignore_eos": true)";
  const std::string prompt = R"("prompt": "w7 w8", )";
  const Json none = complete(prompt + fields + R"(, "logprobs": 0)");
  const Json& lists = choice(none).at("logprobs", "c");
  for (size_t i = 0; i < 3; ++i) {
    const Json& top = lists.at("top_logprobs", "l").as_array("l")[i];
    ASSERT_EQ(top.size(), 1U);
    EXPECT_EQ(top.as_object("t")[0].key, lists.at("tokens", "l").as_array("l")[i].as_string("t"));
    EXPECT_EQ(top.as_object("t")[0].value, lists.at("token_logprobs", "l").as_array("l")[i]);
  }
  // Of a prompt's tokens too, but for the first.
  const Json echoed = complete(prompt + fields + R"(, "logprobs": 0, "echo": true)");
  const Json& tops = choice(echoed).at("logprobs", "c").at("top_logprobs", "l");
  EXPECT_TRUE(tops.as_array("l")[0].is_null());
  for (size_t i = 1; i < tops.size(); ++i) EXPECT_EQ(tops.as_array("l")[i].size(), 1U);
  // A likeliest token is there once.
  const Json two = complete(prompt + fields + R"(, "logprobs": 2)");
  for (const Json& top : choice(two).at("logprobs", "c").at("top_logprobs", "l").as_array("l")) EXPECT_EQ(top.size(), 2U);
  EXPECT_TRUE(choice(complete(prompt + fields)).at("logprobs", "c").is_null());

  for (const char* const top : {"", R"(, "top_logprobs": 0)"}) {
    const auto chat = post("/v1/chat/completions",
                           R"({"messages": [{"role": "user", "content": "w7"}], "logprobs": true, )" + fields + top + "}");
    const Json answer = chat->json();
    const Json& content = choice(answer).at("logprobs", "c").at("content", "l");
    ASSERT_EQ(content.size(), 3U);
    for (const Json& each : content.as_array("l")) {
      EXPECT_LE(each.at("logprob", "e").as_double("l"), 0);
      EXPECT_TRUE(each.at("top_logprobs", "e").is_array());
      EXPECT_EQ(each.at("top_logprobs", "e").size(), 0U);
    }
  }
}

TEST_F(VllmAnswers, APromptThatFillsTheContextHasNoAnswer) {
  const int64_t most = generation_->engine().max_model_len();
  const std::string full = words(most - 1), room = words(most - 2);  // and <s>
  EXPECT_EQ(refused("/v1/completions", R"({"prompt": ")" + full + "\"}"), "prompt");
  EXPECT_NE(says.find("got " + std::to_string(most) + " tokens, need at most " + std::to_string(most - 1)), std::string::npos)
      << says;
  EXPECT_EQ(refused("/v1/completions", R"({"prompt": ")" + full + R"(", "max_tokens": 1})"), "prompt");
  EXPECT_EQ(complete(R"("max_tokens": 1, "prompt": ")" + room + "\"").at("usage", "a").at("completion_tokens", "u"), Json(1));
  // What generates nothing may use all of it.
  EXPECT_EQ(post("/v1/completions", R"({"max_tokens": 0, "echo": true, "prompt": ")" + full + "\"}")->status, 200);
  EXPECT_EQ(post("/v1/embeddings", R"({"input": ")" + full + "\"}")->status, 200);
}

TEST_F(VllmAnswers, VerbosityIsMediumOrRefused) {
  const std::string chat = R"({"messages": [{"role": "user", "content": "w7"}], "max_tokens": 1, "verbosity": )";
  EXPECT_EQ(refused("/v1/chat/completions", chat + "\"low\"}"), "verbosity");
  EXPECT_EQ(post("/v1/chat/completions", chat + "\"medium\"}")->status, 200);
  EXPECT_EQ(refused("/v1/responses", R"({"input": "w7", "text": {"verbosity": "high"}})"), "text.verbosity");
  EXPECT_EQ(post("/v1/responses", R"({"input": "w7", "max_output_tokens": 1, "text": {"verbosity": "medium"}})")->status, 200);
}

TEST_F(VllmAnswers, TooManySequencesAreTheFaultOfN) {
  Options options = plain();
  options.limits.max_n = 1000;
  make(options);
  const std::string prompt = R"({"prompt": "w7", "max_tokens": 1, )";
  EXPECT_EQ(refused("/v1/completions", prompt + R"("n": 300})"), "n");
  EXPECT_NE(says.find("got 300, need at most 256"), std::string::npos) << says;
  EXPECT_EQ(refused("/v1/completions", prompt + R"("n": 2, "best_of": 300})"), "best_of");
  EXPECT_EQ(refused("/v1/completions", prompt + R"("n": 300, "use_beam_search": true})"), "n");
}

TEST_F(VllmAnswers, MorePromptsThanMayEverBeOpenAreNotToldToComeBack) {
  Options options = plain();
  options.max_open = 2;
  make(options);
  EXPECT_EQ(refused("/v1/completions", R"({"prompt": ["w7", "w8", "w9"], "max_tokens": 2})"), "prompt");
  EXPECT_NE(says.find("--max-open-requests"), std::string::npos) << says;
}

// The grammar's work is bounded while it runs, so the error comes late and still names the field.
TEST_F(VllmAnswers, AGrammarThatIsTooAmbiguousIsTheFaultOfItsField) {
  const std::string body = R"({"prompt": "w7", "max_tokens": 100, "ignore_eos": true, "n": 4, )";
  const std::string grammar =
      R"("root ::= c (root c | root d | root root | root)?\nc ::= [a-z0-9 ] | [w0-9] c\nd ::= [a-z0-9 ] | [w0-9] d")";
  EXPECT_EQ(refused("/v1/completions", body + R"("guided_grammar": )" + grammar + "}"), "guided_grammar");
  EXPECT_NE(says.find("[guided_grammar] grammar: too many ways to read the text"), std::string::npos) << says;
  EXPECT_EQ(refused("/v1/completions", body + R"("structured_outputs": {"grammar": )" + grammar + "}}"), "structured_outputs");
  complete(R"("prompt": "w7", "max_tokens": 1)");
}

TEST_F(VllmAnswers, BrokenWeightsAreTheServersFault) {
  const std::string folder = folder_ + "_broken";
  pagoda::testing::make_word_model(folder);
  {
    Runtime runtime;
    std::vector<std::pair<std::string, Tensor>> tensors;
    const std::shared_ptr<SafetensorsFile> file = SafetensorsFile::open(folder + "/model.safetensors");
    for (const TensorEntry& entry : file->tensors()) {
      Tensor tensor = Tensor::empty(runtime.device(), entry.dtype, entry.shape);
      std::memcpy(tensor.view().data, entry.data(), static_cast<size_t>(tensor.bytes()));
      if (entry.name.find("embed_tokens") != std::string::npos) {
        ASSERT_EQ(entry.dtype, DType::kFloat32);
        tensor.data<float>()[7 * tensor.dim(1)] = std::nanf("");
      }
      tensors.emplace_back(entry.name, tensor);
    }
    write_safetensors(folder + "/model.safetensors", tensors);
  }
  const auto broken = TextGeneration::open(folder, LoadOptions{});
  app_ = std::make_unique<App>(plain());
  serve(*broken);
  for (const char* const more :
       {"", R"(, "temperature": 0)", R"(, "prompt_logprobs": 1)", R"(, "use_beam_search": true, "n": 2)"}) {
    EXPECT_EQ(refused("/v1/completions", R"({"prompt": "w7", "max_tokens": 2)" + std::string(more) + "}", 500), "") << more;
    EXPECT_NE(says.find("[model] the logits are not finite: got NaN"), std::string::npos) << says;
  }
  EXPECT_EQ(call(request("GET", "/health"))->status, 200);
  app_.reset();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace pagoda::server
