// Submission in a window, gathering, cancellation.
#include "server/pooling_job.h"

#include "base/error.h"

namespace pagoda::server {

namespace {
// Inputs of one request that are open in the engine at once: enough to fill a step, and others get their turn.
constexpr size_t kWindow = 64;
}  // namespace

PoolingJob::PoolingJob(AsyncEngine& engine, Metrics& metrics, std::vector<Request> requests, Write write,
                       std::shared_ptr<HttpResponse> response)
    : engine_(engine),
      metrics_(metrics),
      write_(std::move(write)),
      response_(std::move(response)),
      requests_(std::move(requests)) {
  result_.vectors.resize(requests_.size());
  timers_.reserve(requests_.size());
}

void PoolingJob::start() {
  for (const Request& request : requests_) {
    engine_.check(request);
    result_.prompt_tokens += static_cast<int64_t>(request.prompt_ids.size());
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    tickets_.reserve(requests_.size());  // nothing may fail between a submission and the note of its ticket
    try {
      submit_more();
    } catch (...) {
      stop("error");
      throw;
    }
    if (over_) return;
  }
  const std::weak_ptr<PoolingJob> weak = weak_from_this();
  response_->on_disconnect([weak] {
    if (const std::shared_ptr<PoolingJob> job = weak.lock()) job->cancel();
  });
}

// With the lock held.
void PoolingJob::submit_more() {
  const std::shared_ptr<PoolingJob> self = shared_from_this();
  while (next_ < requests_.size() && under_way_ < kWindow) {
    const size_t input = next_;
    RequestTimer timer(static_cast<int64_t>(requests_[input].prompt_ids.size()), 1, 0);
    const auto ticket = engine_.submit(std::move(requests_[input]), [self, input](const Event& event) {
      self->response_->post([self, input, event] { self->on_event(input, event); });  // the engine has others to serve
    });
    if (!ticket && under_way_ > 0) return;  // it is tried again when one of those ends
    if (!ticket) {
      stop("abort");
      metrics_.count_rejection();
      send_busy(*response_, "[server] too many requests are open: try again later");
      return;
    }
    tickets_.push_back(*ticket);
    timers_.push_back(std::move(timer));
    ++next_;
    ++under_way_;
  }
}

void PoolingJob::on_event(size_t input, const Event& event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (over_) return;
  if (event.error) return fail(*event.error);
  try {
    take(input, event);
  } catch (...) {
    fail(current_error());
  }
}

void PoolingJob::take(size_t input, const Event& event) {
  if (!event.request_done) return;
  timers_[input].scheduled = event.scheduled_at;
  metrics_.finish(timers_[input], "stop");
  result_.vectors[input] = event.pooled;
  result_.cached_tokens += event.num_cached_tokens;
  --under_way_;
  submit_more();
  if (over_ || under_way_ > 0) return;
  over_ = true;
  response_->send(200, "application/json", write_(result_));
}

void PoolingJob::fail(const Error& error) {
  stop("error");
  const int status = http_status(error.kind());
  response_->send(status, "application/json", error_body(status, error.message()));
}

// With the lock held: no further event counts.
void PoolingJob::stop(std::string_view reason) {
  over_ = true;
  for (const uint64_t ticket : tickets_) engine_.abort(ticket);
  for (RequestTimer& timer : timers_) metrics_.finish(timer, reason);
}

void PoolingJob::cancel() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!over_) stop("abort");
}

}  // namespace pagoda::server
