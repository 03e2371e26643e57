// The watching thread, and states as JSON.
#include "server/live_feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace pagoda::server {

namespace {

constexpr const char* kJson = "application/json";
constexpr size_t kMostRequests = 64;
constexpr std::chrono::milliseconds kPause(50);  // between two looks at the engine, however many ask
constexpr int64_t kMostPending = 256 << 10;      // bytes that a watcher has not read: it gets no more until it has

bool same(const CacheMap::Open& a, const CacheMap::Open& b) {
  return a.request == b.request && a.num_computed_tokens == b.num_computed_tokens &&
         a.num_generated_tokens == b.num_generated_tokens && a.num_blocks == b.num_blocks;
}

int64_t owner_number(uint64_t owner) { return owner == CacheMap::kCached ? -1 : static_cast<int64_t>(owner); }

// Pages that differ from `before` (null: from free ones), neighbours of one kind together.
void write_runs(std::string& out, const CacheMap& map, const CacheMap* before) {
  const size_t count = map.owners.size();
  const auto differs = [&](size_t i) {
    return before == nullptr ? map.owners[i] != CacheMap::kFree || map.references[i] != 0
                             : map.owners[i] != before->owners[i] || map.references[i] != before->references[i];
  };
  bool first = true;
  for (size_t i = 0; i < count;) {
    if (!differs(i)) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    while (end < count && differs(end) && map.owners[end] == map.owners[i] && map.references[end] == map.references[i]) ++end;
    fmt::format_to(std::back_inserter(out), "{}{},{},{},{}", first ? "" : ",", i, end - i, owner_number(map.owners[i]),
                   map.references[i]);
    first = false;
    i = end;
  }
}

}  // namespace

LiveFeed::LiveFeed(AsyncEngine& engine, const Metrics& metrics, std::string model_json, LiveOptions options)
    : engine_(engine), metrics_(metrics), model_json_(std::move(model_json)), options_(options) {
  thread_ = std::thread([this] { work(); });
}

LiveFeed::~LiveFeed() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void LiveFeed::tell(std::shared_ptr<HttpResponse> response) { add(std::move(response), false); }
void LiveFeed::watch(std::shared_ptr<HttpResponse> response) { add(std::move(response), true); }

void LiveFeed::add(std::shared_ptr<HttpResponse> response, bool stream) {
  const char* refused = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) {
      refused = "[server] shutting down";
    } else if (stream && num_streams_ >= options_.max_watchers) {
      refused = "[server] too many watch already: try again later";
    } else {
      // Begun under the lock: the thread writes to it only after that.
      if (stream) response->begin(200, "text/event-stream; charset=utf-8", {{"cache-control", "no-cache"}});
      num_streams_ += stream ? 1 : 0;
      arrived_.push_back({response, stream, true});
    }
  }
  if (refused != nullptr) return response->send(503, kJson, error_body(503, refused), {{"retry-after", "5"}});
  wake_.notify_one();
}

void LiveFeed::close() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }
  wake_.notify_one();
}

int64_t LiveFeed::watchers() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return num_streams_;
}

void LiveFeed::work() {
  std::vector<Watcher> watchers;
  auto looked_at = std::chrono::steady_clock::now() - options_.interval;
  for (;;) {
    bool closed = false, stop = false;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      const auto due = [&] { return stop_ || !arrived_.empty() || (closed_ && !watchers.empty()); };
      if (watchers.empty()) {
        wake_.wait(lock, due);
      } else {
        wake_.wait_until(lock, looked_at + options_.interval, due);
      }
      wake_.wait_until(lock, looked_at + kPause, [this] { return closed_; });
      std::move(arrived_.begin(), arrived_.end(), std::back_inserter(watchers));
      arrived_.clear();
      closed = closed_;
      stop = stop_;
    }
    looked_at = std::chrono::steady_clock::now();
    if (!watchers.empty() && !stop) {
      try {
        tell_all(watchers);
      } catch (const std::bad_alloc&) {  // this time nobody is told; the next state is whole
        for (Watcher& watcher : watchers) watcher.behind = true;
      }
    }
    if (closed) {
      for (const Watcher& watcher : watchers) {
        if (watcher.stream) watcher.response->finish();
      }
      watchers.clear();
    }
    const auto streams = static_cast<int64_t>(watchers.size());
    if (streams == 0) last_.reset();
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto waiting = std::count_if(arrived_.begin(), arrived_.end(), [](const Watcher& watcher) { return watcher.stream; });
    num_streams_ = streams + waiting;
    if (stop) return;
  }
}

void LiveFeed::tell_all(std::vector<Watcher>& watchers) {
  const std::shared_ptr<const CacheMap> map = engine_.cache_map();
  if (!map) throw std::bad_alloc();
  const auto now = std::chrono::steady_clock::now();
  const bool news = !last_ || changed(*map) || now - told_at_ >= options_.at_least;
  const bool newcomers = std::any_of(watchers.begin(), watchers.end(), [](const Watcher& watcher) { return watcher.behind; });
  std::string whole, change;
  if (newcomers) whole = state(*map, true);
  if (news && last_) change = "data: " + state(*map, false) + "\n\n";
  for (Watcher& watcher : watchers) {
    if (!watcher.stream) {
      watcher.response->send(200, kJson, whole, {{"cache-control", "no-store"}});
      watcher.response.reset();
      continue;
    }
    const bool full = watcher.response->pending_bytes() > kMostPending;
    const bool tells = watcher.behind || news;
    if (tells && !full && !watcher.response->write(watcher.behind ? "data: " + whole + "\n\n" : change)) {
      watcher.response.reset();
      continue;
    }
    // A write of nothing says whether the client is still there.
    if (!tells && !watcher.response->write("")) watcher.response.reset();
    if (tells) watcher.behind = full;
  }
  watchers.erase(std::remove_if(watchers.begin(), watchers.end(), [](const Watcher& watcher) { return !watcher.response; }),
                 watchers.end());
  // Those who are told nothing this time still know what was last told.
  if (!news) return;
  last_ = map;
  told_at_ = now;
}

bool LiveFeed::changed(const CacheMap& map) const {
  const EngineStats &a = map.stats, &b = last_->stats;
  return a.num_steps != b.num_steps || a.num_running != b.num_running || a.num_waiting != b.num_waiting ||
         a.num_prompt_tokens != b.num_prompt_tokens || a.num_generated_tokens != b.num_generated_tokens ||
         map.owners != last_->owners || map.references != last_->references ||
         !std::equal(map.requests.begin(), map.requests.end(), last_->requests.begin(), last_->requests.end(), same);
}

std::string LiveFeed::state(const CacheMap& map, bool whole) const {
  const EngineStats& stats = map.stats;
  const auto cached = std::count(map.owners.begin(), map.owners.end(), CacheMap::kCached);
  const auto shared = std::count_if(map.references.begin(), map.references.end(), [](int32_t count) { return count > 1; });
  const Latency first = metrics_.first_token(), inter = metrics_.inter_token();
  std::string out =
      fmt::format("{{\"seconds\":{:.3f}", std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count());
  if (whole) out += ",\"model\":" + model_json_;
  out += fmt::format(
      ",\"running\":{},\"waiting\":{},\"prompt_tokens\":{},\"cached_prompt_tokens\":{},\"generated_tokens\":{},"
      "\"preemptions\":{},\"steps\":{},\"first_token\":{{\"count\":{},\"seconds\":{:.6f}}},"
      "\"inter_token\":{{\"count\":{},\"seconds\":{:.6f}}},\"cache\":{{\"page_tokens\":{},\"pages\":{},\"used\":{},"
      "\"cached\":{},\"shared\":{},\"held_tokens\":{},\"table_pages\":{},\"whole\":{},\"runs\":[",
      stats.num_running, stats.num_waiting, stats.num_prompt_tokens, stats.num_cached_prompt_tokens, stats.num_generated_tokens,
      stats.num_preemptions, stats.num_steps, first.count, first.seconds, inter.count, inter.seconds, kPageTokens,
      stats.num_blocks, stats.num_allocated_blocks, cached, shared, stats.num_held_tokens, stats.num_table_blocks, whole);
  write_runs(out, map, whole ? nullptr : last_.get());
  out += "]},\"requests\":[";
  const size_t shown = std::min(map.requests.size(), kMostRequests);
  for (size_t i = 0; i < shown; ++i) {
    const CacheMap::Open& open = map.requests[i];
    fmt::format_to(std::back_inserter(out), "{}[{},{},{},{},{},{}]", i == 0 ? "" : ",", open.request, open.num_prompt_tokens,
                   open.num_computed_tokens, open.num_generated_tokens, open.num_sequences, open.num_blocks);
  }
  return out + "]}";
}

}  // namespace pagoda::server
