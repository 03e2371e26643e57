// What the engine is doing, for those who watch: one whole state, or a stream of what changes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/async_engine.h"
#include "server/http_server.h"
#include "server/metrics.h"

namespace pagoda::server {

struct LiveOptions {
  int64_t max_watchers = 16;
  std::chrono::milliseconds interval{250};    // between two events
  std::chrono::milliseconds at_least{1'000};  // ... where nothing changes
};

// A state is one JSON object:
//   "seconds"     since the start
//   "model"       what was given to the constructor; in whole states only
//   "running", "waiting", "prompt_tokens", "cached_prompt_tokens", "generated_tokens", "preemptions", "steps"
//   "first_token", "inter_token"   {"count", "seconds"}, sums since the start
//   "cache"       {"page_tokens", "pages", "used", "cached", "shared", "held_tokens", "table_pages", "whole", "runs"}
//   "requests"    [[number, prompt, computed, generated tokens, sequences, pages], ...], at most 64 of them
// "runs" is a flat list of first page, number of pages, owner, references. The owner is a request's number, 0 of a free page,
// -1 of a free one that is known by what it holds. "whole": pages that no run names are free; else they are as before.
// There is no text of anybody's in it.
class LiveFeed {
 public:
  LiveFeed(AsyncEngine& engine, const Metrics& metrics, std::string model_json, LiveOptions options = {});
  ~LiveFeed();
  LiveFeed(const LiveFeed&) = delete;
  LiveFeed& operator=(const LiveFeed&) = delete;

  // Answers with one whole state.
  void tell(std::shared_ptr<HttpResponse> response);
  // Answers with a stream of server-sent events, the first a whole state. 503 where max_watchers watch already.
  void watch(std::shared_ptr<HttpResponse> response);
  // Ends all streams; from now on 503.
  void close();
  int64_t watchers() const;

 private:
  struct Watcher {
    std::shared_ptr<HttpResponse> response;
    bool stream = true;
    bool behind = true;  // needs a whole state
  };
  void add(std::shared_ptr<HttpResponse> response, bool stream);
  void work();
  void tell_all(std::vector<Watcher>& watchers);
  std::string state(const CacheMap& map, bool whole) const;
  bool changed(const CacheMap& map) const;

  AsyncEngine& engine_;
  const Metrics& metrics_;
  const std::string model_json_;
  const LiveOptions options_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::vector<Watcher> arrived_;
  int64_t num_streams_ = 0;
  bool closed_ = false, stop_ = false;
  // The thread's own.
  std::shared_ptr<const CacheMap> last_;  // what those who are not behind know
  std::chrono::steady_clock::time_point told_at_{};
  std::thread thread_;
};

}  // namespace pagoda::server
