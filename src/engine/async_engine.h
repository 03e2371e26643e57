// The engine on a thread of its own, for callers on many threads: one guarded queue in, events out through each request's sink.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"

namespace pagoda {

class AsyncEngine {
 public:
  // Called on the engine's thread with every event of the request, the last with request_done set: must be quick. What the
  // engine refuses (Engine::add) comes as such an event too. A sink that throws (no memory for its answer) is told nothing more
  // and its request is aborted; the others go on.
  using Sink = std::function<void(const Event&)>;

  // max_open: requests that may wait or run at once; 0: any number.
  AsyncEngine(Engine& engine, int64_t max_open);
  ~AsyncEngine();  // stop()
  AsyncEngine(const AsyncEngine&) = delete;
  AsyncEngine& operator=(const AsyncEngine&) = delete;

  void check(const Request& request) const { engine_.check(request); }
  // A number for abort(); empty where max_open are open already or the engine was stopped, and the request is then as it was.
  std::optional<uint64_t> submit(Request&& request, Sink sink);
  // No further event of it. Of no effect once it is done.
  void abort(uint64_t ticket);

  int64_t max_open() const { return max_open_; }  // 0: any number
  int64_t num_open() const { return num_open_.load(std::memory_order_relaxed); }
  bool healthy() const { return healthy_.load(std::memory_order_relaxed); }
  EngineStats stats() const;  // at most a tenth of a second old while the engine works
  // Who holds which page once the step under way is done, which is waited for. Null where there is no memory for it. The engine
  // does nothing for it unless asked.
  std::shared_ptr<const CacheMap> cache_map();
  // Blocks until nothing is open.
  void drain();
  // Ends the engine's thread; requests still open end with an error event (kDevice, "shutting down"). Whoever still holds the
  // engine may call it as before: it takes no more requests. Not beside cache_map().
  void stop();

 private:
  struct Submission {
    uint64_t ticket;
    Request request;
    Sink sink;
  };
  void work();
  void step();
  void end_all(const Error& error);
  void take_in();
  void take(Submission& submission);
  void tell(const Event& event);
  void end(uint64_t ticket);
  void closed();  // one fewer is open
  void snapshot(bool now);
  void make_map();

  Engine& engine_;
  const int64_t max_open_;
  std::atomic<int64_t> num_open_{0};
  std::atomic<bool> healthy_{true};
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, idle_, map_made_;
  std::vector<Submission> inbox_;
  std::vector<uint64_t> aborts_;
  EngineStats stats_;
  std::shared_ptr<const CacheMap> map_;
  uint64_t maps_wanted_ = 0, maps_made_ = 0;  // counts of calls: those up to maps_made_ are answered
  uint64_t next_ticket_ = 1;
  bool stop_ = false;
  // The engine thread's own.
  struct Open {
    uint64_t request;
    Sink sink;
  };
  std::unordered_map<uint64_t, Open> open_;           // by ticket
  std::unordered_map<uint64_t, uint64_t> ticket_of_;  // by the engine's number
  int64_t snapshot_at_ = 0;                           // ms
  std::thread thread_;
};

}  // namespace pagoda
