// The client's side of OpenAI's API: requests to any server that speaks it, answers as they stream.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cli/cli.h"
#include "server/http_client.h"

namespace pagoda::cli {

struct ApiServer {
  server::Url base;                                 // its path may be "" or end with "/v1": endpoints are found either way
  server::Headers headers;                          // Authorization and the caller's own
  server::Url at(std::string_view endpoint) const;  // "/v1/completions"
};

// --api-key; without it OPENAI_API_KEY; "": none.
std::string find_api_key(const std::string& flag);
// header: "NAME=VALUE" or "NAME: VALUE", as vLLM's --header. Throws kInvalidInput.
ApiServer api_server(const std::string& url, const std::string& api_key, const std::vector<std::string>& headers = {});

// What one event of a stream (or a whole answer) says of one choice; usage goes with the last.
struct Delta {
  bool has_choice = false;
  int64_t index = 0;
  std::string text, finish_reason;
  std::optional<int64_t> prompt_tokens, completion_tokens;  // usage
};
// At least one. Throws for an object that is an error.
std::vector<Delta> parse_deltas(const Json& object);

struct StreamHandlers {
  std::function<void(const Delta& delta)> on_delta;
  std::function<void(const std::optional<Error>& error)> on_done;  // once; statuses other than 200 are errors too
};
// Posts `body` and reads the answer, streamed or whole. Handlers run on the client's thread. Returns what cancel() takes.
uint64_t start_completion(server::HttpClient& client, const ApiServer& api, std::string_view endpoint, const Json& body,
                          StreamHandlers handlers);

// Waits for one answer; a Ctrl-C meanwhile ends it: false. on_delta runs on the client's thread. Throws what went wrong.
bool complete_and_wait(server::HttpClient& client, const ApiServer& api, std::string_view endpoint, const Json& body,
                       const std::function<void(const Delta& delta)>& on_delta);

// The server's first model. Throws.
std::string first_model(server::HttpClient& client, const ApiServer& api);

}  // namespace pagoda::cli
