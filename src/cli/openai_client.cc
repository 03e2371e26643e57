// Streams and whole answers of OpenAI-compatible servers.
#include "cli/openai_client.h"

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/env.h"
#include "base/error.h"
#include "base/utf8.h"
#include "server/sse_parser.h"

namespace pagoda::cli {

namespace {

constexpr size_t kMostWholeBytes = size_t{64} << 20;  // of an answer that is no stream

Limits foreign_limits() {
  Limits limits;
  limits.max_json_bytes = static_cast<int64_t>(kMostWholeBytes);
  limits.max_depth = 64;
  return limits;
}

Error answer_error(int status, const std::string& body) {
  std::string text(utf8_cut(body, 300));
  try {
    const Json object = Json::parse(body, "answer", foreign_limits());
    const Json* error = object.find("error");
    const Json* message = error != nullptr && error->is_object() ? error->find("message") : object.find("message");
    if (message != nullptr && message->is_string()) text = message->as_string("answer");
  } catch (const Error&) {  // no JSON: its first bytes say enough
  }
  const ErrorKind kind = status == 404                   ? ErrorKind::kNotFound
                         : status >= 400 && status < 500 ? ErrorKind::kInvalidInput
                                                         : ErrorKind::kDevice;
  return {kind, fmt::format("[server] status {}: {}", status, text)};
}

// One answer as it comes. Kept alive by the call's callbacks.
class AnswerReader {
 public:
  explicit AnswerReader(StreamHandlers handlers) : handlers_(std::move(handlers)) {}

  void head(int status, const server::Headers& headers) {
    status_ = status;
    for (const auto& [name, value] : headers) {
      if (name == "content-type") streams_ = status == 200 && value.compare(0, 17, "text/event-stream") == 0;
    }
  }
  void data(std::string_view bytes) {
    if (!streams_) {
      if (whole_.size() + bytes.size() > kMostWholeBytes)
        invalid("server", "answer too large: need at most {} bytes", kMostWholeBytes);
      whole_.append(bytes);
      return;
    }
    sse_.feed(bytes, [this](const server::SseEvent& event) {
      if (ended_ || event.data.empty()) return;
      if (event.data == "[DONE]") {
        ended_ = true;
        return;
      }
      hand_on(Json::parse(event.data, "server", foreign_limits()));
    });
  }
  void done(const std::optional<Error>& error) {
    std::optional<Error> result = error;
    if (!error && status_ != 200) result = answer_error(status_, whole_);
    if (!result && streams_ && !ended_) result = Error(ErrorKind::kDevice, "[server] the stream ended without [DONE]");
    if (!result && !streams_) {
      try {
        hand_on(Json::parse(whole_, "server", foreign_limits()));
      } catch (...) {
        result = current_error();
      }
    }
    handlers_.on_done(result);
  }

 private:
  void hand_on(const Json& object) {
    for (const Delta& delta : parse_deltas(object)) handlers_.on_delta(delta);
  }

  StreamHandlers handlers_;
  server::SseParser sse_;
  int status_ = 0;
  bool streams_ = false, ended_ = false;
  std::string whole_;
};

// Blocks until told; looks for Ctrl-C meanwhile.
class Wait {
 public:
  void set(const std::optional<Error>& error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    error_ = error;
    done_ = true;
    changed_.notify_all();
  }
  // False: interrupted; the request is cancelled and has ended.
  bool wait(server::HttpClient& client, uint64_t id) {
    std::unique_lock<std::mutex> lock(mutex_);
    bool cancelled = false;
    while (!done_) {
      changed_.wait_for(lock, std::chrono::milliseconds(50));
      if (!done_ && !cancelled && interrupted()) {
        cancelled = true;
        client.cancel(id);
      }
    }
    if (cancelled) return false;
    if (error_) throw Error(*error_);
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Error> error_;
  bool done_ = false;
};

}  // namespace

server::Url ApiServer::at(std::string_view endpoint) const {
  server::Url url = base;
  std::string path = url.path.substr(0, url.path.find('?'));
  while (!path.empty() && path.back() == '/') path.pop_back();
  const bool has_version = path.size() >= 3 && path.compare(path.size() - 3, 3, "/v1") == 0;
  if (has_version && endpoint.substr(0, 4) == "/v1/") endpoint.remove_prefix(3);
  url.path = path + std::string(endpoint);
  return url;
}

std::string find_api_key(const std::string& flag) { return flag.empty() ? env("OPENAI_API_KEY").value_or("") : flag; }

ApiServer api_server(const std::string& url, const std::string& api_key, const std::vector<std::string>& headers) {
  ApiServer api{server::parse_url(url), {}};
  if (!api_key.empty()) api.headers.emplace_back("Authorization", "Bearer " + api_key);
  for (const std::string& header : headers) {
    const size_t at = header.find_first_of("=:");
    if (at == 0 || at == std::string::npos) invalid("--header", "got '{}', need NAME=VALUE", header);
    const size_t value = header.find_first_not_of(' ', at + 1);
    api.headers.emplace_back(header.substr(0, at), value == std::string::npos ? "" : header.substr(value));
  }
  return api;
}

std::vector<Delta> parse_deltas(const Json& object) {
  if (const Json* error = object.find("error"); error != nullptr && !error->is_null()) {
    const std::string text = error->is_object() ? error->get_string("message", "", "server") : error->dump();
    fail(ErrorKind::kDevice, "server", text);
  }
  std::vector<Delta> deltas;
  if (const Json* choices = object.find("choices"); choices != nullptr && choices->is_array()) {
    for (const Json& choice : choices->as_array("server")) {
      Delta& delta = deltas.emplace_back();
      delta.has_choice = true;
      delta.index = choice.get_int("index", 0, "server");
      const Json* message = choice.find("delta") != nullptr ? choice.find("delta") : choice.find("message");
      delta.text = message != nullptr ? message->get_string("content", "", "server") : choice.get_string("text", "", "server");
      delta.finish_reason = choice.get_string("finish_reason", "", "server");
    }
  }
  if (deltas.empty()) deltas.emplace_back();
  if (const Json* usage = object.find("usage"); usage != nullptr && usage->is_object()) {
    deltas.back().prompt_tokens = usage->get_int("prompt_tokens", 0, "server");
    deltas.back().completion_tokens = usage->get_int("completion_tokens", 0, "server");
  }
  return deltas;
}

uint64_t start_completion(server::HttpClient& client, const ApiServer& api, std::string_view endpoint, const Json& body,
                          StreamHandlers handlers) {
  const auto reader = std::make_shared<AnswerReader>(std::move(handlers));
  server::HttpCall call;
  call.url = api.at(endpoint);
  call.headers = api.headers;
  call.headers.emplace_back("Content-Type", "application/json");
  call.headers.emplace_back("Accept", "text/event-stream, application/json");
  call.body = body.dump();
  call.on_head = [reader](int status, const server::Headers& headers) { reader->head(status, headers); };
  call.on_data = [reader](std::string_view bytes) { reader->data(bytes); };
  call.on_done = [reader](const std::optional<Error>& error) { reader->done(error); };
  return client.start(std::move(call));
}

bool complete_and_wait(server::HttpClient& client, const ApiServer& api, std::string_view endpoint, const Json& body,
                       const std::function<void(const Delta& delta)>& on_delta) {
  Wait wait;
  const uint64_t id = start_completion(client, api, endpoint, body,
                                       {on_delta, [&wait](const std::optional<Error>& error) { wait.set(error); }});
  return wait.wait(client, id);
}

std::string first_model(server::HttpClient& client, const ApiServer& api) {
  Wait wait;
  int status = 0;
  std::string body;
  server::HttpCall call;
  call.method = "GET";
  call.url = api.at("/v1/models");
  call.headers = api.headers;
  call.on_head = [&](int code, const server::Headers&) { status = code; };
  call.on_data = [&](std::string_view bytes) {
    if (body.size() + bytes.size() > kMostWholeBytes)
      invalid("server", "answer too large: need at most {} bytes", kMostWholeBytes);
    body.append(bytes);
  };
  call.on_done = [&](const std::optional<Error>& error) { wait.set(error); };
  if (!wait.wait(client, client.start(std::move(call)))) throw Interrupted();
  if (status != 200) throw answer_error(status, body);
  const Json models = Json::parse(body, "server", foreign_limits());
  const Json* list = models.find("data");
  if (list == nullptr || !list->is_array() || list->size() == 0)
    fail(ErrorKind::kDevice, "server", "it lists no models: give --model");
  return list->as_array("server")[0].at("id", "server").as_string("server");
}

}  // namespace pagoda::cli
