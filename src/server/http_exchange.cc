// Framing of answers, and what happens when either side goes away.
#include "server/http_exchange.h"

#include <utility>

#include "base/error.h"
#include "server/http_text.h"

namespace pagoda::server {

namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kNoRoom = "[http] too many large answers wait for their clients: try again later";

bool has_no_body(int status) { return status == 204 || status == 304; }

class Response final : public HttpResponse {
 public:
  explicit Response(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~Response() override {
    try {
      exchange_->abandon(500, "[http] the request was dropped without an answer");
    } catch (...) {  // no memory for the text: the session's end will close the connection
    }
  }
  Response(const Response&) = delete;
  Response& operator=(const Response&) = delete;
  void send(int status, std::string_view content_type, std::string body, const Headers& headers) override {
    exchange_->send(status, content_type, std::move(body), headers);
  }
  void begin(int status, std::string_view content_type, const Headers& headers) override {
    exchange_->begin(status, content_type, headers);
  }
  bool write(std::string chunk) override { return exchange_->write(chunk); }
  void finish() override { exchange_->finish(); }
  void on_disconnect(std::function<void()> callback) override { exchange_->on_disconnect(std::move(callback)); }
  void post(std::function<void()> work) override { exchange_->post(std::move(work)); }
  bool gone() const override { return exchange_->gone(); }
  void keep(MemoryLedger::Lease room) override { exchange_->keep(std::move(room)); }
  int64_t pending_bytes() const override { return exchange_->pending_bytes(); }

 private:
  std::shared_ptr<Exchange> exchange_;
};

}  // namespace

std::shared_ptr<HttpResponse> make_response(std::shared_ptr<Exchange> exchange) {
  return std::make_shared<Response>(std::move(exchange));
}

// Under the lock: once lose() has returned, nobody touches the session, which may then go together with its server.
void Exchange::wake_locked() {
  if (woken_ || gone_) return;
  if (const std::shared_ptr<Wakeable> session = session_.lock()) {
    woken_ = true;
    session->wake();
  }
}

void Exchange::start_locked(int status, std::string_view content_type, const Headers& headers, int64_t length) {
  if (status < 200 || status > 599) status = 500;
  begun_ = true;
  status_ = status;
  bodiless_ = request_.head_only || has_no_body(status);
  AnswerHead head;
  head.status = status;
  head.content_type = content_type;
  head.http10 = request_.http10;
  head.request_id = request_.id;
  head.length = length;
  if (has_no_body(status)) {
    head.framing = Framing::kNone;
  } else if (length >= 0) {
    head.framing = Framing::kLength;
  } else if (request_.http10) {
    head.framing = Framing::kUntilClose;
    if (!bodiless_) request_.keep_alive = false;
    until_close_ = !bodiless_;
  } else {
    head.framing = Framing::kChunked;
    chunked_ = !bodiless_;
  }
  head.keep_alive = request_.keep_alive;
  const std::string text = format_head(head, headers);
  out_ += text;
  pending_ += static_cast<int64_t>(text.size());
}

void Exchange::send_locked(int status, std::string_view content_type, std::string body, const Headers& headers) {
  const bool has_body = !request_.head_only && !has_no_body(status);
  if (!memory_.resize(has_body ? static_cast<int64_t>(body.size()) : 0)) {
    Headers more = headers;
    more.emplace_back("Retry-After", "1");
    return send_locked(503, kJson, error_body(503, kNoRoom), more);
  }
  start_locked(status, content_type, headers, static_cast<int64_t>(body.size()));
  if (!bodiless_) {
    pending_ += static_cast<int64_t>(body.size());
    body_bytes_ += static_cast<int64_t>(body.size());
    body.insert(0, out_);  // the head goes to the text, which may have hundreds of megabytes
    out_ = std::move(body);
  }
  finished_ = true;
  wake_locked();
}

void Exchange::send(int status, std::string_view content_type, std::string body, const Headers& headers) {
  std::function<void()> dropped;  // may hold the response itself: to be destroyed without the lock
  const std::lock_guard lock(mutex_);
  if (begun_ || finished_ || gone_) return;
  send_locked(status, content_type, std::move(body), headers);
  dropped.swap(disconnected_);
}

void Exchange::begin(int status, std::string_view content_type, const Headers& headers) {
  const std::lock_guard lock(mutex_);
  if (begun_ || finished_ || gone_) return;
  start_locked(status, content_type, headers, -1);
  events_ = !bodiless_ && content_type.substr(0, 17) == "text/event-stream";
  wake_locked();
}

void Exchange::add_locked(std::string_view chunk) {
  const size_t before = out_.size();
  if (chunked_) out_ += fmt::format("{:x}\r\n", chunk.size());
  out_ += chunk;
  if (chunked_) out_ += "\r\n";
  pending_ += static_cast<int64_t>(out_.size() - before);
  body_bytes_ += static_cast<int64_t>(chunk.size());
  for (const char c : chunk.substr(chunk.size() - (chunk.size() < 2 ? chunk.size() : 2))) {
    last_[0] = last_[1];
    last_[1] = c;
  }
}

bool Exchange::write(std::string_view chunk) {
  const std::lock_guard lock(mutex_);
  if (!begun_ || finished_ || gone_) return false;
  // A chunk of length 0 would end the stream.
  if (bodiless_ || chunk.empty()) return true;
  if (!memory_.resize(pending_ + static_cast<int64_t>(chunk.size()))) {
    cut_ = finished_ = true;
    if (const std::shared_ptr<Wakeable> session = session_.lock()) session->cut();
    return false;
  }
  add_locked(chunk);
  wake_locked();
  return true;
}

void Exchange::finish() {
  std::function<void()> dropped;
  const std::lock_guard lock(mutex_);
  if (finished_ || gone_) return;
  if (!begun_) {
    send_locked(500, kJson, error_body(500, "[http] the answer was finished before it began"), {});
  } else {
    if (chunked_) {
      out_ += "0\r\n\r\n";
      pending_ += 5;
    }
    finished_ = true;
    wake_locked();
  }
  dropped.swap(disconnected_);
}

void Exchange::abandon(int status, std::string_view message) {
  std::function<void()> dropped;
  const std::lock_guard lock(mutex_);
  if (finished_ || gone_) return;
  if (!begun_) {
    send_locked(status, kJson, error_body(status, message), {});
  } else {
    cut_ = true;
    finished_ = true;
    wake_locked();
  }
  dropped.swap(disconnected_);
}

void Exchange::on_disconnect(std::function<void()> callback) {
  std::function<void()> dropped;
  {
    const std::lock_guard lock(mutex_);
    if (finished_ && !cut_) return;
    if (!gone_) {
      dropped.swap(disconnected_);
      disconnected_ = std::move(callback);
      return;
    }
  }
  if (callback) callback();
}

void Exchange::post(std::function<void()> work) {
  std::function<void()> dropped;  // may hold the response itself: to be destroyed without the lock
  const std::lock_guard lock(mutex_);
  const std::shared_ptr<Wakeable> session = gone_ ? nullptr : session_.lock();
  if (session) {
    session->run(std::move(work));
  } else {
    dropped.swap(work);
  }
}

bool Exchange::gone() const {
  const std::lock_guard lock(mutex_);
  const std::shared_ptr<Wakeable> session = gone_ ? nullptr : session_.lock();
  return session == nullptr || session->peer_gone();
}

void Exchange::keep(MemoryLedger::Lease room) {
  const std::lock_guard lock(mutex_);
  if (!begun_ && !gone_) memory_ = std::move(room);
}

int64_t Exchange::pending_bytes() const {
  const std::lock_guard lock(mutex_);
  return pending_;
}

Exchange::Rest Exchange::take(std::string& out) {
  const std::lock_guard lock(mutex_);
  woken_ = false;
  if (out.empty()) {
    out.swap(out_);
  } else {
    out += out_;
  }
  out_.clear();
  return cut_ ? Rest::kCut : finished_ ? Rest::kFinished : Rest::kMore;
}

void Exchange::taken(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  pending_ -= bytes;
  memory_.resize(pending_);
}

void Exchange::lose() {
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    if (gone_) return;
    gone_ = true;
    out_.clear();
    pending_ = 0;
    callback.swap(disconnected_);
    memory_.resize(0);
  }
  if (!callback) return;
  try {
    callback();
  } catch (...) {  // the client is gone: nobody is left to be told
  }
}

void Exchange::close_after() {
  const std::lock_guard lock(mutex_);
  request_.keep_alive = false;
}

bool Exchange::keep_alive() const {
  const std::lock_guard lock(mutex_);
  return request_.keep_alive;
}

bool Exchange::wants_pings() const {
  const std::lock_guard lock(mutex_);
  return events_ && begun_ && !finished_ && !gone_;
}

bool Exchange::ping() {
  const std::lock_guard lock(mutex_);
  const bool between = last_[0] == '\n' && last_[1] == '\n';
  if (!events_ || !begun_ || finished_ || gone_ || pending_ > 0 || !between) return false;
  add_locked(": ping\n\n");
  return true;
}

bool Exchange::finished() const {
  const std::lock_guard lock(mutex_);
  return finished_;
}

int Exchange::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

int64_t Exchange::body_bytes() const {
  const std::lock_guard lock(mutex_);
  return body_bytes_;
}

bool Exchange::cut_needs_reset() const {
  const std::lock_guard lock(mutex_);
  return until_close_;
}

}  // namespace pagoda::server
