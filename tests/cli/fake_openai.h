// A server that answers as OpenAI's API does, token by token, without a model.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"
#include "server/http_server.h"

namespace pagoda::testing {

class FakeOpenAi {
 public:
  FakeOpenAi() {
    server::HttpOptions options;
    options.port = 0;
    server_ = std::make_unique<server::HttpServer>(
        options, [this](const server::HttpRequest& request, const std::shared_ptr<server::HttpResponse>& response) {
          answer(request, response);
        });
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(server_->port()); }
  std::string port() const { return std::to_string(server_->port()); }

  std::string key;                 // not empty: asked for
  std::atomic<int> fail_every{0};  // every so-many-th completion gets a 503
  std::atomic<bool> stall{false};  // streams begin and do not end
  std::atomic<bool> cut{false};    // streams end without [DONE]
  std::vector<Json> bodies() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return bodies_;
  }
  size_t num_open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return open_.size();
  }

 private:
  void answer(const server::HttpRequest& request, const std::shared_ptr<server::HttpResponse>& response) {
    const std::string* authorization = request.header("authorization");
    if (!key.empty() && (authorization == nullptr || *authorization != "Bearer " + key)) {
      return response->send(401, "application/json", server::error_body(401, "no such key"));
    }
    if (request.path == "/v1/models") {
      return response->send(200, "application/json", R"({"object": "list", "data": [{"id": "fake", "object": "model"}]})");
    }
    const bool chat = request.path == "/v1/chat/completions";
    if (!chat && request.path != "/v1/completions") {
      return response->send(404, "application/json", server::error_body(404, "no such path"));
    }
    const Json body = Json::parse(request.body, "request");
    const int number = remember(body, response);
    if (fail_every > 0 && number % fail_every == 0) {
      return response->send(503, "application/json", server::error_body(503, "too busy"));
    }
    const int64_t count = body.get_int(chat ? "max_completion_tokens" : "max_tokens", 3, "request");
    response->begin(200, "text/event-stream");
    const int64_t n = body.get_int("n", 1, "request");
    for (int64_t i = 0; i < n * count; ++i) {
      const int64_t token = i / n;
      response->write("data: " + chunk(chat, i % n, " w" + std::to_string(token), token + 1 == count).dump() + "\n\n");
      if (stall) return;
    }
    Json usage = Json::object(), last = Json::object();
    usage.set("prompt_tokens", 5).set("completion_tokens", count);
    last.set("choices", Json::array()).set("usage", std::move(usage));
    response->write("data: " + last.dump() + "\n\n");
    if (!cut) response->write("data: [DONE]\n\n");
    response->finish();
  }
  int remember(const Json& body, const std::shared_ptr<server::HttpResponse>& response) {
    const std::lock_guard<std::mutex> lock(mutex_);
    bodies_.push_back(body);
    if (stall) open_.push_back(response);
    return static_cast<int>(bodies_.size());
  }
  static Json chunk(bool chat, int64_t index, const std::string& text, bool last) {
    Json choice = Json::object(), choices = Json::array(), object = Json::object();
    choice.set("index", index).set("finish_reason", last ? Json("length") : Json());
    if (chat) {
      Json delta = Json::object();
      delta.set("content", text);
      choice.set("delta", std::move(delta));
    } else {
      choice.set("text", text);
    }
    choices.push_back(std::move(choice));
    object.set("choices", std::move(choices));
    return object;
  }

  std::mutex mutex_;
  std::vector<Json> bodies_;
  std::vector<std::shared_ptr<server::HttpResponse>> open_;
  std::unique_ptr<server::HttpServer> server_;
};

}  // namespace pagoda::testing
