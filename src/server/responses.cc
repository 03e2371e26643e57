// /v1/responses: OpenAI's Responses over the same chats, answered, kept and in the background.
#include <algorithm>
#include <atomic>

#include "base/error.h"
#include "base/utf8.h"
#include "server/answer_json.h"
#include "server/chat_plan.h"
#include "server/generation_routes.h"
#include "server/response_format.h"
#include "server/response_request.h"
#include "server/served_generator.h"

namespace pagoda::server {

namespace {

// Stands for the client of a response that nobody waits for.
class Background : public HttpResponse {
 public:
  // failed: called with an error's body. worker: of whoever serves, and lives as long as the engine.
  Background(WorkThread& worker, std::function<void(const std::string&)> failed)
      : worker_(worker), failed_(std::move(failed)) {}
  void send(int status, std::string_view, std::string body, const Headers&) override {
    if (status == 503) busy_ = body;
    status_ = status;
    if (status != 200) failed_(body);
  }
  int status() const { return status_; }             // 0: under way
  const std::string& busy() const { return busy_; }  // the answer of status 503
  void begin(int, std::string_view, const Headers&) override {}
  bool write(std::string) override { return true; }
  void finish() override {}
  void on_disconnect(std::function<void()> callback) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    cancel_ = std::move(callback);
  }
  void post(std::function<void()> work) override { worker_.post(std::move(work)); }
  bool gone() const override { return false; }
  void keep(MemoryLedger::Lease) override {}  // what is stored is bounded by the store
  int64_t pending_bytes() const override { return 0; }
  void cancel() {
    std::function<void()> callback;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      callback = std::move(cancel_);
    }
    if (callback) callback();
  }

 private:
  WorkThread& worker_;
  std::function<void(const std::string&)> failed_;
  std::string busy_;
  std::atomic<int> status_{0};
  std::mutex mutex_;
  std::function<void()> cancel_;
};

// The key alone: the scheme before it may be written in any case.
std::string owner_of(const HttpRequest& http) {
  const std::string* header = http.header("authorization");
  return header == nullptr ? "" : header->substr(std::min(header->size(), header->find(' ') + 1));
}

// ID of /v1/responses/ID and /v1/responses/ID/cancel.
std::string id_of(const HttpRequest& http) {
  constexpr std::string_view kPrefix = "/v1/responses/";
  const std::string rest = http.path.substr(kPrefix.size());
  return rest.substr(0, rest.find('/'));
}

StoredResponse stored_response(const ResponseStore& store, const std::string& id, const std::string& owner) {
  std::optional<StoredResponse> stored = store.get(id, owner);
  if (!stored) not_found("response", "no response of this id is kept: got '{}'", utf8_cut(id, 64));
  return *std::move(stored);
}

// Makes a response and waits for nothing: it can be asked for by its id.
void start_in_background(ServedGenerator& served, const std::string& owner, const std::string& id, const std::string& queued,
                         ChatPlan plan, std::unique_ptr<AnswerFormat> format, const Call& call) {
  ResponseStore& store = served.responses();
  const auto client = std::make_shared<Background>(served.background(), [&store, id, queued](const std::string& error) {
    const std::string message = Json::parse(error, "error").at("error", "error").get_string("message", "", "error");
    store.close(id, failed_response(Json::parse(queued, "response"), message).dump(), "");
  });
  store.put(id, {owner, queued, "", [client] { client->cancel(); }});
  try {
    start_chat(served, std::move(plan), std::move(format), {call.http, client, call.names});
  } catch (...) {
    store.erase(id, owner);
    throw;
  }
  if (client->status() == 503) {
    store.erase(id, owner);
    return call.response->send(503, "application/json", client->busy(), {{"retry-after", "1"}});
  }
  call.response->send(200, "application/json", queued);
}

void respond(ServedGenerator& served, const Call& call) {
  RequestBody in(call.http);
  const std::string owner = owner_of(call.http);
  ResponseStore& store = served.responses();
  const ResponseRequest request = parse_response_request(in.fields, [&](const std::string& id) {
    const std::string messages = stored_response(store, id, owner).messages;
    if (messages.empty()) {
      invalid("previous_response_id", "that response has no output: it is under way, failed or cancelled");
    }
    return Json::parse(messages, "response");
  });
  Fields chat(request.chat, "request");
  ChatPlan plan = plan_chat(served, read_chat(served, chat));
  // Not the request's own id: that is for the client to choose, this one gives access.
  FormatContext context = served.format_context("", plan.request, call);
  context.id = "resp_" + random_text(32);
  const std::string id = context.id;
  const std::string queued =
      request.background ? response_frame(request.frame, context, plan.request.params, unix_seconds(), "in_progress").dump()
                         : "";
  auto format = make_response_format(std::move(context), request, std::move(plan.reading), store, owner);
  if (!request.background) return start_chat(served, std::move(plan), std::move(format), call);
  start_in_background(served, owner, id, queued, std::move(plan), std::move(format), call);
}

void get_response(ServedGenerator& served, const Call& call) {
  for (const auto& [name, value] : call.http.query) {
    if (name == "stream" && value != "false") invalid("stream", "not supported by this server for a response that is kept");
  }
  const StoredResponse stored = stored_response(served.responses(), id_of(call.http), owner_of(call.http));
  call.response->send(200, "application/json", stored.response);
}

void delete_response(ServedGenerator& served, const Call& call) {
  const std::string id = id_of(call.http), owner = owner_of(call.http);
  const StoredResponse stored = stored_response(served.responses(), id, owner);
  served.responses().erase(id, owner);
  if (stored.cancel) stored.cancel();
  Json answer = Json::object();
  call.send(answer.set("id", id).set("object", "response").set("deleted", true));
}

void cancel_response(ServedGenerator& served, const Call& call) {
  const std::string id = id_of(call.http), owner = owner_of(call.http);
  const StoredResponse stored = stored_response(served.responses(), id, owner);
  Json answer = Json::parse(stored.response, "response");
  if (!answer.get_bool("background", false, "response")) {
    invalid("response", "only a response made with background true can be cancelled");
  }
  if (stored.cancel) {
    served.responses().close(id, answer.set("status", "cancelled").dump(), "");
    stored.cancel();
  }
  // What ended in the meantime stays as it ended.
  call.response->send(200, "application/json", stored_response(served.responses(), id, owner).response);
}

}  // namespace

std::vector<RouteOf<ServedGenerator>> responses_routes() {
  return {{{"POST", "/v1/responses", {"A chat in OpenAI's newer form, which is kept", "Response", "ResponseEvent"}},
           respond,
           [](const ServedGenerator&, Fields& fields) { parse_response_request(fields, nullptr); }},
          {{"GET", "/v1/responses/{id}", {"A response that was kept", "Response"}}, get_response},
          {{"DELETE", "/v1/responses/{id}", {"Forgets a response", "ResponseDeleted"}}, delete_response},
          {{"POST", "/v1/responses/{id}/cancel", {"Ends a response in the background", "Response"}}, cancel_response}};
}

}  // namespace pagoda::server
