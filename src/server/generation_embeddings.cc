// /v1/embeddings of models that generate: prompts through the engine, the hidden states of their tokens as a vector.
#include "base/error.h"
#include "server/answer_json.h"
#include "server/embeddings.h"
#include "server/generation_routes.h"
#include "server/pooling_job.h"
#include "server/prompt_input.h"
#include "server/served_generator.h"

namespace pagoda::server {

namespace {

EmbeddingBody read_body(const ServedGenerator& served, Fields& fields) {
  TextGeneration& generation = served.generation();
  EmbeddingRules rules{generation.loaded().folder().config(), served.texts().vocab_size(), generation.model().hidden_size(),
                       served.texts().max_model_len()};
  rules.by_priority = generation.engine().by_priority();
  return read_embedding(served.serving(), rules, fields);
}

Request request_of(const ServedGenerator& served, PromptInput input, const EmbeddingBody& body) {
  Request request;
  if (auto* text = std::get_if<std::string>(&input)) {
    *text = served.texts().limit().fit(std::move(*text), "input", body.truncation);
    request.prompt_ids = served.encode(*text, "input", body.add_special_tokens);
  } else {
    request.prompt_ids = std::move(std::get<std::vector<int32_t>>(input));
  }
  truncate_prompt(request.prompt_ids, body.truncation);
  request.params.max_new_tokens = 1;
  request.pooling = body.pooling;
  request.priority = body.priority;
  request.cache_salt = body.cache_salt;
  return request;
}

void embed(ServedGenerator& served, const Call& call) {
  RequestBody in(call.http);
  const EmbeddingBody body = read_body(served, in.fields);
  if (!body.prompt_name.empty()) invalid("prompt_name", "got '{}', need none: this model has no prompts", body.prompt_name);
  std::vector<Request> requests;
  const int64_t most = served.serving().limits().max_inputs;
  for (PromptInput& input : read_prompt_input(*body.input, "input", most, served.texts().vocab_size())) {
    requests.push_back(request_of(served, std::move(input), body));
  }
  const int64_t columns = body.pooling.dimensions > 0 ? body.pooling.dimensions : served.generation().model().hidden_size();
  if (!hold_vectors(served.serving(), columns * std::ssize(requests), *call.response)) return;
  const auto job = std::make_shared<PoolingJob>(
      served.engine(), served.serving().metrics(), std::move(requests),
      [id = call.answer_id("embd-", body.request_id), name = served.serving().model_name(), base64 = body.base64,
       created = unix_seconds()](const PoolingResult& result) { return embeddings_body(result, id, name, base64, created); },
      call.response);
  job->start();
}

}  // namespace

RouteOf<ServedGenerator> embeddings_route() {
  return {{"POST", "/v1/embeddings", {"A vector for each input", "EmbeddingList"}},
          embed,
          [](const ServedGenerator& served, Fields& fields) { read_body(served, fields); }};
}

}  // namespace pagoda::server
