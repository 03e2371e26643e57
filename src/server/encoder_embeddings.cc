// /v1/embeddings of encoders.
#include "base/error.h"
#include "server/answer_json.h"
#include "server/embeddings.h"
#include "server/encoder_inputs.h"
#include "server/encoder_routes.h"
#include "server/pooling_job.h"
#include "server/prompt_input.h"
#include "server/served_encoder.h"

namespace pagoda::server {

namespace {

EmbeddingBody read_body(const ServedEncoder& served, Fields& fields) {
  const Model& model = served.model().model();
  EmbeddingRules rules{served.model().loaded().folder().config(), model.vocab_size(), model.hidden_size(),
                       served.texts().max_model_len()};
  // Texts are cut at their end: what begins them ([CLS], a prompt) must stay.
  rules.sides = Sides::kRight;
  rules.has_cache = false;
  return read_embedding(served.serving(), rules, fields);
}

SequenceInput sequence_of(const ServedEncoder& served, PromptInput input, const EmbeddingBody& body,
                          const SentenceOptions& options) {
  const SequenceModel& model = served.model();
  const Truncation truncation = served.cut_as_model(body.truncation.tokens);
  if (auto* text = std::get_if<std::string>(&input)) {
    *text = served.texts().limit().fit(std::move(*text), "input", truncation);
    return body.add_special_tokens ? vector_input(model, *text, options, truncation.tokens)
                                   : bare_input(model, *text, options, truncation);
  }
  if (!body.prompt_name.empty()) invalid("prompt_name", "a prompt stands before texts: got ids");
  return ids_input(model, std::move(std::get<std::vector<int32_t>>(input)), options, truncation);
}

void embed(ServedEncoder& served, const Call& call) {
  RequestBody in(call.http);
  const EmbeddingBody body = read_body(served, in.fields);
  const SentenceOptions options = vector_options(served.model(), body.pooling.type, body.prompt_name);
  std::vector<SequenceInput> sequences;
  const int64_t most = served.serving().limits().max_inputs;
  for (PromptInput& input : read_prompt_input(*body.input, "input", most, served.texts().vocab_size())) {
    check_there(*call.response);
    sequences.push_back(sequence_of(served, std::move(input), body, options));
  }
  const auto write = [id = call.answer_id("embd-", body.request_id), name = served.serving().model_name(),
                      tokens = tokens_of(sequences), pooling = body.pooling, base64 = body.base64,
                      created = unix_seconds()](const std::vector<SequenceOutput>& outputs) {
    PoolingResult result;
    result.prompt_tokens = tokens;
    for (const SequenceOutput& output : outputs) result.vectors.push_back(vector_of(output, pooling));
    return embeddings_body(result, id, name, base64, created);
  };
  served.submit(std::move(sequences), write, call.response);
}

}  // namespace

RouteOf<ServedEncoder> encoder_embeddings_route() {
  return {{"POST", "/v1/embeddings", {"A vector for each input", "EmbeddingList"}},
          embed,
          [](const ServedEncoder& served, Fields& fields) { read_body(served, fields); }};
}

}  // namespace pagoda::server
