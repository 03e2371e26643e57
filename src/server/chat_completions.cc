// /v1/chat/completions: messages through the model's chat template.
#include "server/chat_format.h"
#include "server/chat_plan.h"
#include "server/generation_routes.h"
#include "server/served_generator.h"

namespace pagoda::server {

namespace {

void chat(ServedGenerator& served, const Call& call) {
  RequestBody in(call.http);
  ChatPlan plan = plan_chat(served, read_chat(served, in.fields));
  FormatContext context = served.format_context("chatcmpl-", plan.request, call);
  auto format = make_chat_format(std::move(context), std::move(plan.role), std::move(plan.reading));
  start_chat(served, std::move(plan), std::move(format), call);
}

}  // namespace

RouteOf<ServedGenerator> chat_completions_route() {
  return {{"POST", "/v1/chat/completions", {"The next message of a chat", "ChatCompletion", "ChatCompletionChunk"}},
          chat,
          [](const ServedGenerator& served, Fields& fields) { read_chat(served, fields); }};
}

}  // namespace pagoda::server
