// Models of other servers for the verbs complete and chat: flags, requests, answers as they stream.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "cli/openai_client.h"
#include "server/http_client.h"

namespace pagoda::cli {

struct RemoteFlags {
  std::string url, api_key;
  std::vector<std::string> headers;
  bool insecure = false;
};
void add_remote_flags(Verb verb, RemoteFlags& flags);

// The sampling flags that were given, under the names of OpenAI's and vLLM's requests. Throws kInvalidInput for one that no
// request can carry.
Json sampling_fields(Verb verb);

// Whether a request can carry it.
bool has_field(Flag option);

struct RemoteChoice {
  std::string text, finish_reason;
};
struct RemoteAnswer {
  std::vector<RemoteChoice> choices;                 // as many as were asked for: n
  int64_t prompt_tokens = 0, completion_tokens = 0;  // 0: the server does not tell
  bool interrupted = false;                          // by Ctrl-C; the text is what had come
};

class Remote {
 public:
  // model "": the first that the server lists.
  Remote(const RemoteFlags& flags, const std::string& model);
  const std::string& model() const { return model_; }
  // Adds model and streaming to `body`, and hands on the text of an only answer as it comes (on the client's thread). Throws.
  RemoteAnswer ask(std::string_view endpoint, Json body, const std::function<void(const std::string& text)>& on_text);

 private:
  ApiServer api_;
  server::HttpClient client_;
  std::string model_;
};

}  // namespace pagoda::cli
