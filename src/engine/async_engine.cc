// The loop of the engine's thread.
#include "engine/async_engine.h"

#include <chrono>
#include <new>

namespace pagoda {

namespace {

constexpr int64_t kSnapshotMs = 100;

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Event failed(const Error& error) {
  Event event;
  event.request_done = true;
  event.error = error;
  return event;
}

// False where it threw.
bool call(const AsyncEngine::Sink& sink, const Event& event) {
  try {
    sink(event);
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

AsyncEngine::AsyncEngine(Engine& engine, int64_t max_open) : engine_(engine), max_open_(max_open) {
  stats_ = engine.stats();
  thread_ = std::thread([this] { work(); });
}

AsyncEngine::~AsyncEngine() { stop(); }

void AsyncEngine::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::optional<uint64_t> AsyncEngine::submit(Request&& request, Sink sink) {
  uint64_t ticket = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stop_ || (max_open_ > 0 && num_open_.load(std::memory_order_relaxed) >= max_open_)) return std::nullopt;
    ticket = next_ticket_;
    inbox_.push_back({ticket, std::move(request), std::move(sink)});
    ++next_ticket_;
    num_open_.fetch_add(1, std::memory_order_relaxed);
  }
  wake_.notify_one();
  return ticket;
}

void AsyncEngine::abort(uint64_t ticket) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    aborts_.push_back(ticket);
  }
  wake_.notify_one();
}

EngineStats AsyncEngine::stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stats_;
}

std::shared_ptr<const CacheMap> AsyncEngine::cache_map() {
  std::unique_lock<std::mutex> lock(mutex_);
  const uint64_t wanted = ++maps_wanted_;
  wake_.notify_one();
  map_made_.wait(lock, [this, wanted] { return maps_made_ >= wanted; });
  return map_;
}

void AsyncEngine::make_map() {
  uint64_t wanted = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (maps_made_ == maps_wanted_) return;
    wanted = maps_wanted_;
  }
  std::shared_ptr<const CacheMap> map;
  try {
    map = std::make_shared<const CacheMap>(engine_.cache_map());
  } catch (const std::bad_alloc&) {  // who asked gets none; requests go on
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  map_.swap(map);
  maps_made_ = wanted;
  map_made_.notify_all();
}

void AsyncEngine::drain() {
  std::unique_lock<std::mutex> lock(mutex_);
  idle_.wait(lock, [this] { return num_open_.load(std::memory_order_relaxed) == 0; });
}

void AsyncEngine::snapshot(bool now) {
  const int64_t time = now_ms();
  if (!now && time - snapshot_at_ < kSnapshotMs) return;
  snapshot_at_ = time;
  std::optional<EngineStats> stats;
  try {
    stats = engine_.stats();
  } catch (const std::bad_alloc&) {  // those of before stay
    return;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  std::swap(stats_, *stats);
}

void AsyncEngine::end(uint64_t ticket) {
  const auto open = open_.find(ticket);
  if (open == open_.end()) return;
  ticket_of_.erase(open->second.request);
  open_.erase(open);
  closed();
}

void AsyncEngine::closed() {
  const std::lock_guard<std::mutex> lock(mutex_);
  num_open_.fetch_sub(1, std::memory_order_relaxed);
  if (num_open_.load(std::memory_order_relaxed) == 0) idle_.notify_all();
}

void AsyncEngine::tell(const Event& event) {
  const auto found = ticket_of_.find(event.request);
  if (found == ticket_of_.end()) return;
  const uint64_t ticket = found->second;
  // The sink outlives its entry: it may be the last to hold what it writes to.
  const Sink sink = event.request_done ? std::move(open_.at(ticket).sink) : open_.at(ticket).sink;
  const bool told = call(sink, event);
  if (!told) engine_.abort(event.request);
  if (!told || event.request_done) end(ticket);
}

void AsyncEngine::take_in() {
  std::vector<Submission> submissions;
  std::vector<uint64_t> aborts;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    submissions.swap(inbox_);
    aborts.swap(aborts_);
  }
  for (Submission& submission : submissions) take(submission);
  for (const uint64_t ticket : aborts) {
    const auto open = open_.find(ticket);
    if (open == open_.end()) continue;
    engine_.abort(open->second.request);
    end(ticket);
  }
}

void AsyncEngine::take(Submission& submission) {
  uint64_t request = 0;
  try {
    Open& open = open_[submission.ticket];
    open = {0, submission.sink};
    request = engine_.add(std::move(submission.request));
    open.request = request;
    ticket_of_[request] = submission.ticket;
  } catch (...) {
    if (request != 0) engine_.abort(request);
    call(submission.sink, failed(current_error()));
    open_.erase(submission.ticket);
    closed();
  }
}

void AsyncEngine::work() {
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] {
        return stop_ || !inbox_.empty() || !aborts_.empty() || maps_made_ != maps_wanted_ || engine_.has_work();
      });
      if (stop_) break;
    }
    take_in();
    make_map();
    step();
    healthy_.store(engine_.healthy(), std::memory_order_relaxed);
    snapshot(!engine_.has_work());  // what is seen while nothing happens must not be of an earlier time
  }
  take_in();
  make_map();
  end_all(Error(ErrorKind::kDevice, "[engine] shutting down"));
}

void AsyncEngine::step() {
  std::vector<Event> events;
  try {
    events = engine_.step();
  } catch (...) {
    // Not a step that failed, but one that could not even be planned (no memory): nobody can go on where it was.
    return end_all(current_error());
  }
  for (const Event& event : events) tell(event);
}

void AsyncEngine::end_all(const Error& error) {
  while (!open_.empty()) {
    const auto& [ticket, open] = *open_.begin();
    const Sink sink = open.sink;
    engine_.abort(open.request);
    end(uint64_t{ticket});
    call(sink, failed(error));
  }
}

}  // namespace pagoda
