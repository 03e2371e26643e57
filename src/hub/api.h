// What the hub says about a model: its commit and files; and its refusals as errors that say what to do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "hub/http.h"

namespace pagoda::hub {

struct RepoFile {
  std::string name;   // as the server gives it: check before it becomes a path
  int64_t size = -1;  // -1: not told
  std::string etag;   // SHA-256 of large files, git blob id of small ones; empty: not told
};

struct RepoInfo {
  std::string commit;
  std::vector<RepoFile> files;
};

// Pauses between attempts. `progress` sets the count back.
class Backoff {
 public:
  Backoff(int attempts, int base_milliseconds) : attempts_(attempts), base_(base_milliseconds) {}
  // False when the attempts are used up. Else sleeps base * 2^n, at most 8 s (or `wait_seconds` if that is more, at most
  // 60 s), looking at should_stop meanwhile.
  bool again(const std::function<bool()>& should_stop, int wait_seconds = 0);
  void progress() { used_ = 0; }
  int attempts() const { return attempts_; }

 private:
  int attempts_;
  int base_;
  int used_ = 0;
};

// Reads the answer of GET {endpoint}/api/models/{name}/revision/{revision}?blobs=true. Throws kInvalidInput for anything that
// does not look like it.
RepoInfo parse_repo_info(std::string_view json, std::string_view where, const Limits& limits = {});
RepoInfo fetch_repo_info(HttpClient& client, const HubConfig& config, std::string_view name, std::string_view revision,
                         Backoff backoff, const std::function<bool()>& should_stop);

std::string file_url(const HubConfig& config, std::string_view name, std::string_view revision, std::string_view file);
// Size and etag of one file by HEAD, where the listing does not tell them.
RepoFile fetch_file_info(HttpClient& client, const HubConfig& config, std::string_view name, std::string_view commit,
                         std::string_view file, Backoff backoff, const std::function<bool()>& should_stop);

// True for answers and failures that may pass: 408, 429, 5xx, and lost connections.
bool is_transient(const HttpResult& result);
// Seconds that the server asks to wait (Retry-After, or t= of RateLimit), at most 60.
int asked_wait(const HttpResult& result);
// Throws the error for an answer that is no success. `what` is the file or revision asked for.
[[noreturn]] void fail_http(const HttpResult& result, const HubConfig& config, std::string_view name, std::string_view what);

}  // namespace pagoda::hub
