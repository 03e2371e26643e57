// From requests to batches, and from their outputs to answers.
#include "server/served_encoder.h"

#include "server/embeddings.h"
#include "server/encoder_inputs.h"
#include "server/encoder_routes.h"

namespace pagoda::server {

const std::vector<RouteOf<ServedEncoder>>& encoder_routes() {
  static const std::vector<RouteOf<ServedEncoder>> kRoutes = [] {
    std::vector<RouteOf<ServedEncoder>> list = {encoder_embeddings_route()};
    for (RouteOf<ServedEncoder>& route : score_routes()) list.push_back(std::move(route));
    list.push_back(task_route());
    return list;
  }();
  return kRoutes;
}

ServedEncoder::ServedEncoder(Serving& serving, std::shared_ptr<const SequenceModel> model)
    : serving_(serving),
      service_(std::move(model), serving.options().max_open),
      texts_(service_.model().tokenizer(), service_.model().model().vocab_size(), sentence_length(service_.model()),
             {{}, {}, {}, serving.options().trust_request_chat_template}) {}

std::vector<Route> ServedEncoder::routes() { return bound(encoder_routes(), *this); }

Truncation ServedEncoder::cut_as_model(const std::optional<int64_t>& tokens) const {
  return {tokens, model().tokenizer_config().truncation_left};
}

void ServedEncoder::submit(std::vector<SequenceInput> sequences, AnswerWriter write,
                           const std::shared_ptr<HttpResponse>& response) {
  const auto timer = std::make_shared<RequestTimer>(tokens_of(sequences), 1, 0);
  const auto answer = [this, timer, response, write = std::move(write)](const std::vector<SequenceOutput>& outputs,
                                                                        std::optional<Error> error) {
    std::string body;
    try {
      if (!error) body = write(outputs);
    } catch (...) {
      error = current_error();
    }
    serving_.metrics().finish(*timer, error ? "error" : "stop");
    if (!error) return response->send(200, "application/json", std::move(body));
    const int status = http_status(error->kind());
    response->send(status, "application/json", error_body(status, error->message()));
  };
  const auto done = [response, answer](std::vector<SequenceOutput> outputs, const Error* error) {
    const auto kept = std::make_shared<const std::vector<SequenceOutput>>(std::move(outputs));
    response->post([answer, kept, failed = error == nullptr ? std::optional<Error>() : *error] { answer(*kept, failed); });
  };
  int64_t values = 0;
  for (const SequenceInput& sequence : sequences) values += model().num_values(sequence);
  if (!hold_vectors(serving_, values, *response)) return;
  const auto ticket = service_.submit(std::move(sequences), done);
  if (!ticket) {
    serving_.metrics().count_rejection();
    return send_busy(*response, "[server] too many requests are open: try again later");
  }
  response->on_disconnect([this, timer, ticket = *ticket] {
    service_.cancel(ticket);
    serving_.metrics().finish(*timer, "abort");
  });
}

}  // namespace pagoda::server
