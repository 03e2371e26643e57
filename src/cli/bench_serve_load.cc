// Arrivals, requests, records.
#include "cli/bench_serve_load.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"

namespace pagoda::cli {

namespace {

constexpr uint64_t kArrivalStream = 5;

// Seconds between arrivals: gamma of shape `burstiness` and mean 1 / rate, exponential at 1 (a Poisson process).
class Arrivals {
 public:
  Arrivals(double rate, double burstiness, uint64_t seed) : rate_(rate), shape_(burstiness), random_(seed, kArrivalStream) {}
  double next() {
    if (std::isinf(rate_)) return 0;
    return gamma() / (shape_ * rate_);
  }

 private:
  // Marsaglia and Tsang, "A simple method for generating gamma variables" (2000).
  double gamma() {
    const double shape = shape_ < 1 ? shape_ + 1 : shape_, d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = random_.normal(drawn_++), v = std::pow(1 + c * x, 3), u = uniform();
      if (v <= 0 || std::log(u) >= 0.5 * x * x + d - d * v + d * std::log(v)) continue;
      return shape_ < 1 ? d * v * std::pow(uniform(), 1 / shape_) : d * v;
    }
  }
  double uniform() { return 1 - random_.uniform(drawn_++); }  // in (0, 1]

  double rate_, shape_;
  RandomStream random_;
  uint64_t drawn_ = 0;
};

Json request_body(const BenchRequest& request, const ServeBenchFlags& flags, const std::string& model, const Json& extra) {
  Json body = Json::object();
  body.set("model", model);
  if (flags.chat()) {
    Json message = Json::object(), messages = Json::array();
    message.set("role", "user").set("content", request.prompt);
    messages.push_back(std::move(message));
    body.set("messages", std::move(messages)).set("max_completion_tokens", request.output_len);
  } else {
    body.set("prompt", request.prompt.empty() ? ids_json(request.prompt_ids) : Json(request.prompt));
    body.set("max_tokens", request.output_len);
  }
  Json options = Json::object();
  options.set("include_usage", true);
  body.set("temperature", flags.temperature).set("stream", true).set("stream_options", std::move(options));
  if (flags.ignore_eos) body.set("ignore_eos", true);
  if (extra.is_object()) {
    for (const JsonMember& member : extra.as_object("--extra-body")) body.set(member.key, member.value);
  }
  return body;
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

double parse_rate(const std::string& text) {
  if (text == "inf") return std::numeric_limits<double>::infinity();
  size_t end = 0;
  double rate = 0;
  try {
    rate = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  if (end != text.size() || text.empty() || !(rate > 0))
    invalid("--request-rate", "got '{}', need requests a second, or inf", text);
  return rate;
}

ServeLoad::ServeLoad(const Program& program, const ServeBenchFlags& flags, server::HttpClient& client, const ApiServer& api,
                     std::string model)
    : flags_(flags),
      client_(client),
      api_(api),
      model_(std::move(model)),
      status_(program),
      extra_(flags.extra_body.empty() ? Json() : Json::parse(flags.extra_body, "--extra-body")) {
  if (!extra_.is_null()) extra_.as_object("--extra-body");
}

void ServeLoad::warm_up(const std::vector<BenchRequest>& requests) {
  status_.show("waiting for a first answer");
  for (int64_t i = 0; i < flags_.num_warmups; ++i) {
    const BenchRequest& request = requests[static_cast<size_t>(i) % requests.size()];
    if (!complete_and_wait(client_, api_, flags_.endpoint, request_body(request, flags_, model_, extra_),
                           [](const Delta&) {})) {
      throw Interrupted();
    }
  }
}

bool ServeLoad::run(const std::vector<BenchRequest>& requests) {
  records_.resize(requests.size());
  const double cpu = cpu_seconds();
  begun_ = steady_seconds();
  Arrivals arrivals(parse_rate(flags_.request_rate), flags_.burstiness, flags_.dataset.seed);
  double at = begun_;
  bool whole = true;
  for (size_t i = 0; i < requests.size() && whole; ++i) {
    whole = wait_until(at) && wait_for_room();
    if (whole) send(i, requests[i]);
    at += arrivals.next();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  while (open_ > 0 && whole) {
    wait(lock, 0.05);
    whole = !interrupted();
  }
  seconds_ = steady_seconds() - begun_;
  if (!whole) cancel(lock);
  cpu_seconds_ = cpu_seconds() - cpu;
  status_.show("");
  return whole;
}

bool ServeLoad::wait_until(double time) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (double left = time - steady_seconds(); left > 0; left = time - steady_seconds()) {
    wait(lock, std::min(left, 0.05));
    if (interrupted()) return false;
  }
  return !interrupted();
}

bool ServeLoad::wait_for_room() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (flags_.max_concurrency > 0 && open_ >= flags_.max_concurrency) {
    if (interrupted()) return false;
    wait(lock, 0.05);
  }
  return true;
}

void ServeLoad::wait(std::unique_lock<std::mutex>& lock, double seconds) {
  show();
  changed_.wait_for(lock, std::chrono::duration<double>(seconds));
}

void ServeLoad::show() {
  const double passed = steady_seconds() - begun_, rate = static_cast<double>(done_) / std::max(passed, 1e-9);
  const auto total = static_cast<int64_t>(records_.size());
  const double left = rate > 0 ? static_cast<double>(total - done_) / rate : NAN;
  status_.show_sometimes(fmt::format("{} of {} requests, {} under way, {} failed, {:.2f} requests/s, {} chunks/s, {} left",
                                     done_, total, open_, failed_, rate,
                                     static_cast<int64_t>(static_cast<double>(chunks_) / std::max(passed, 1e-9)),
                                     std::isfinite(left) ? fmt::format("{:.0f} s", left) : "?"));
}

void ServeLoad::send(size_t i, const BenchRequest& request) {
  Json body = request_body(request, flags_, model_, extra_);
  const std::lock_guard<std::mutex> lock(mutex_);
  ServeRecord& record = records_[i];
  record.input_len = request.input_len();
  record.start = steady_seconds();
  most_open_ = std::max(most_open_, ++open_);
  StreamHandlers handlers;
  handlers.on_delta = [this, &record](const Delta& delta) { take(record, delta); };
  handlers.on_done = [this, &record](const std::optional<Error>& error) { end(record, error); };
  ids_.push_back(start_completion(client_, api_, flags_.endpoint, body, std::move(handlers)));
}

void ServeLoad::take(ServeRecord& record, const Delta& delta) {
  const double now = steady_seconds();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (delta.has_choice) {
    if (record.chunks++ == 0) {
      record.first = now;
    } else {
      record.itl.push_back(now - record.last);
    }
    record.last = now;
    ++chunks_;
    if (flags_.save_detailed) record.text += delta.text;
  }
  if (delta.completion_tokens) record.output_len = *delta.completion_tokens;
  if (delta.prompt_tokens) record.input_len = *delta.prompt_tokens;
}

void ServeLoad::end(ServeRecord& record, const std::optional<Error>& error) {
  const std::lock_guard<std::mutex> lock(mutex_);
  --open_;
  if (!stopping_) {
    record.done = true;
    record.ok = !error && record.chunks > 0;
    if (!record.ok) record.error = error.value_or(Error(ErrorKind::kDevice, "[server] an answer without tokens"));
    if (record.output_len == 0) record.output_len = record.chunks;  // a server that tells no usage
    ++done_;
    failed_ += record.ok ? 0 : 1;
  }
  changed_.notify_all();
}

void ServeLoad::cancel(std::unique_lock<std::mutex>& lock) {
  stopping_ = true;
  for (const uint64_t id : ids_) client_.cancel(id);
  while (open_ > 0) changed_.wait_for(lock, std::chrono::milliseconds(50));
}

}  // namespace pagoda::cli
