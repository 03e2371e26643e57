// The states of a connection.
#include "server/http_session.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "base/error.h"

namespace pagoda::server {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr Clock::time_point kNever = Clock::time_point::max();
// Requests that a client sends ahead of their answers: beyond this it has to wait, and so do we with noticing that it went.
constexpr size_t kMostAhead = 64 << 10;
// How long a client that was refused may go on sending before its connection is reset: it could not read the answer else.
constexpr std::chrono::milliseconds kLinger{2'000};
// Takes tens of milliseconds and more to be parsed and cut into tokens: few at a time, so that short ones go past.
constexpr size_t kLargeBody = 64 << 10;
constexpr size_t kKeptCapacity = 64 << 10;
constexpr int kClientClosed = 499;  // as nginx logs it

// What fails while a connection is being closed changes nothing.
void quietly(const error_code&) {}

Clock::time_point after(std::chrono::milliseconds time) { return Clock::now() + time; }

}  // namespace

template <class Event>
void Session::guarded(Event&& event) noexcept {
  if (state_ == State::kClosed) return;
  try {
    event();
  } catch (...) {
    close(true);
  }
}

Session::Session(ServerCore& core, Socket socket, std::string remote)
    : core_(core),
      socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      remote_(std::move(remote)),
      memory_(core.options.memory),
      started_(Clock::now()),
      read_deadline_(kNever),
      write_deadline_(kNever),
      last_sent_(started_),
      timer_at_(kNever) {
  if (core_.tls) tls_.emplace(socket_, *core_.tls);
}

void Session::start() {
  asio::dispatch(socket_.get_executor(), [self = shared_from_this()] {
    self->guarded([&] {
      // A client that connects has to say something soon, TLS included.
      self->read_deadline_ = after(self->core_.options.header_timeout);
      if (!self->tls_) {
        self->read();
      } else {
        self->state_ = State::kHandshake;
        self->tls_->async_handshake(asio::ssl::stream_base::server, [self](error_code ec) {
          self->guarded([&] {
            if (ec) return self->close(false);
            self->state_ = State::kIdle;
            self->read();
          });
        });
      }
      self->arm();
    });
  });
}

void Session::wake() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] { self->guarded([&] { self->flush(); }); });
}

void Session::run(std::function<void()> work) {
  asio::post(socket_.get_executor(),
             [self = shared_from_this(), work = std::move(work)]() mutable { self->guarded(std::move(work)); });
}

void Session::drain() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    self->guarded([&] {
      switch (self->state_) {
        case State::kHandshake:
        case State::kIdle: self->close(false); break;
        case State::kHead:
        case State::kBody: self->refuse(503, "[http] the server is shutting down"); break;
        case State::kAnswer: self->exchange_->close_after(); break;
        case State::kLinger:
        case State::kClosed: break;
      }
    });
  });
}

void Session::cut() {
  asio::post(socket_.get_executor(),
             [self = shared_from_this()] { self->close(self->exchange_ != nullptr && self->exchange_->cut_needs_reset()); });
}

// ---- reading

void Session::read() {
  if (reading_ || peer_closed_ || state_ == State::kClosed || state_ == State::kHandshake) return;
  if (in_.size() >= kMostAhead && state_ == State::kAnswer) return;
  reading_ = true;
  auto done = [self = shared_from_this()](error_code ec, size_t size) {
    self->reading_ = false;
    self->guarded([&] { self->on_read(ec, size); });
  };
  if (tls_) {
    tls_->async_read_some(asio::buffer(buffer_), std::move(done));
  } else {
    socket_.async_read_some(asio::buffer(buffer_), std::move(done));
  }
}

void Session::on_read(error_code ec, size_t size) {
  if (ec) {
    peer_closed_ = true;
    return lost(ec);
  }
  if (!discard_) {
    in_.append(buffer_, size);
    advance();
  }
  read();
}

void Session::advance() {
  for (bool more = true; more;) {
    switch (state_) {
      case State::kIdle: {
        // RFC 9112, 2.2: empty lines before a request line are to be ignored.
        size_t blank = 0;
        while (in_.compare(blank, 2, "\r\n") == 0) blank += 2;
        in_.erase(0, blank);
        more = !in_.empty() && in_ != "\r";
        if (more) {
          state_ = State::kHead;
          scanner_ = {};
          read_deadline_ = after(core_.options.header_timeout);
        }
        break;
      }
      case State::kHead: more = read_head(); break;
      case State::kBody: more = read_body(); break;
      default: more = false;
    }
  }
  if (state_ != State::kClosed) arm();
}

bool Session::read_head() {
  const auto most = static_cast<size_t>(core_.options.max_header_bytes);
  const HeadScanner::State found = scanner_.scan(in_);
  if (scanner_.size() > most || (found == HeadScanner::State::kMore && in_.size() >= most)) {
    refuse(431, fmt::format("[http] headers too large: need at most {} bytes", most));
    return false;
  }
  if (found == HeadScanner::State::kMore) return false;
  if (found == HeadScanner::State::kBad) {
    refuse(400, fmt::format("[http] malformed request: bad character at byte {} of its head", scanner_.size()));
    return false;
  }
  started_ = Clock::now();
  head_ = parse_request_head(std::string_view(in_).substr(0, scanner_.size()), core_.options.max_body_bytes);
  in_.erase(0, scanner_.size());
  head_.request.remote = remote_;
  if (head_.refused != 0) {
    refuse(head_.refused, head_.refusal);
    return false;
  }
  chunks_.reset();
  if (head_.chunked) chunks_.emplace(core_.options.max_body_bytes);
  state_ = State::kBody;
  read_deadline_ = after(core_.options.body_timeout);
  if (head_.expects_continue && in_.empty()) {
    interim_ = "HTTP/1.1 100 Continue\r\n\r\n";
    flush();
  }
  return state_ == State::kBody;
}

bool Session::read_body() {
  std::string& body = head_.request.body;
  if (!chunks_) {
    const size_t missing = static_cast<size_t>(head_.content_length) - body.size();
    const size_t here = std::min(missing, in_.size());
    body.append(in_, 0, here);
    in_.erase(0, here);
    if (!count_body() || here < missing) return false;
  } else {
    std::string_view rest = in_;
    const ChunkDecoder::State found = chunks_->decode(rest, body);
    in_.erase(0, in_.size() - rest.size());
    if (!count_body() || found == ChunkDecoder::State::kMore) return false;
    if (found != ChunkDecoder::State::kEnd) {
      const bool large = found == ChunkDecoder::State::kTooLarge;
      refuse(large ? 413 : 400, large
                                    ? fmt::format("[http] body too large: need at most {} bytes", core_.options.max_body_bytes)
                                    : "[http] malformed request: bad chunk");
      return false;
    }
  }
  dispatch();
  return true;
}

// False after a refusal: there is no room for what came.
bool Session::count_body() {
  if (memory_.resize(static_cast<int64_t>(head_.request.body.size()))) return true;
  refuse(503, "[http] too many large requests at once: try again later", {{"Retry-After", "1"}});
  return false;
}

// ---- answering

void Session::open_exchange(bool keep_alive) {
  Exchange::Request about;
  about.id = head_.request.id;
  about.head_only = head_.request.method == "HEAD";
  about.http10 = head_.http10;
  about.keep_alive = keep_alive;
  exchange_ = std::make_shared<Exchange>(weak_from_this(), std::move(about), core_.options.memory);
  state_ = State::kAnswer;
  read_deadline_ = kNever;
  rest_ = Exchange::Rest::kMore;
  const std::lock_guard lock(core_.mutex);
  ++core_.answering;
}

void Session::dispatch() {
  open_exchange(head_.keep_alive && !core_.stopping);
  request_ = std::move(head_.request);
  head_ = {};
  if (core_.access_log) {
    logged_ = {request_.method, request_.path, request_.query, request_.headers, "", request_.remote, request_.id};
  }
  const std::shared_ptr<HttpResponse> response = make_response(exchange_);
  if (request_.body.empty()) return handle(response);
  Turns& turns = request_.body.size() > kLargeBody ? core_.large_bodies : core_.bodies;
  const auto comes = [self = shared_from_this(), response, &turns] {
    asio::post(self->socket_.get_executor(),
               [self, response, turn = Turn(turns)] { self->guarded([&] { self->handle(response); }); });
  };
  if (!turns.take(comes)) return;
  const Turn turn(turns);
  handle(response);
}

// `response` is held until an exception is known: the handler's last reference would else answer with a plain 500.
void Session::handle(const std::shared_ptr<HttpResponse>& response) {
  if (state_ == State::kClosed) return;  // went away while it waited for its turn
  HttpRequest request = std::move(request_);
  request_ = {};
  try {
    core_.handler(std::move(request), response);
  } catch (...) {
    const Error error = current_error();
    exchange_->abandon(http_status(error.kind()), error.message());
  }
  memory_.resize(0);
}

void Session::refuse(int status, std::string_view message, const Headers& headers) {
  const std::string body = error_body(status, message);  // the message may be one of head_, which is emptied below
  if (head_.request.id.empty()) head_.request.id = request_id(nullptr);
  head_.request.remote = remote_;
  discard_ = true;
  in_.clear();
  memory_.resize(0);
  open_exchange(false);
  head_.request.body = {};
  logged_ = std::move(head_.request);
  head_ = {};
  exchange_->send(status, "application/json", body, headers);
}

// ---- writing

void Session::flush() {
  if (writing_ || state_ == State::kClosed) return;
  if (written_ == out_.size()) {
    if (out_.capacity() > kKeptCapacity) out_ = {};
    out_.clear();
    written_ = 0;
    out_is_answer_ = interim_.empty();
    if (!out_is_answer_) {
      out_.swap(interim_);
    } else if (exchange_) {
      rest_ = exchange_->take(out_);
    }
    if (out_.empty()) {
      write_deadline_ = kNever;
      if (exchange_ && rest_ == Exchange::Rest::kFinished) return complete();
      if (exchange_ && rest_ == Exchange::Rest::kCut) return close(exchange_->cut_needs_reset());
      return arm();
    }
  }
  writing_ = true;
  if (write_deadline_ == kNever) expect_reading();
  const auto bytes = asio::buffer(out_.data() + written_, out_.size() - written_);
  auto done = [self = shared_from_this()](error_code ec, size_t size) {
    self->writing_ = false;
    self->guarded([&] { self->on_written(ec, size); });
  };
  if (tls_) {
    tls_->async_write_some(bytes, std::move(done));
  } else {
    socket_.async_write_some(bytes, std::move(done));
  }
  arm();
}

void Session::on_written(error_code ec, size_t size) {
  if (ec) return lost(ec);
  written_ += size;
  given_ += static_cast<int64_t>(size);
  last_sent_ = Clock::now();
  if (out_is_answer_ && exchange_) exchange_->taken(static_cast<int64_t>(size));
  flush();
}

void Session::complete() {
  const bool keep_alive = exchange_->keep_alive() && !core_.stopping && !peer_closed_ && !discard_;
  end_exchange(0);
  if (!keep_alive) return linger();
  state_ = State::kIdle;
  read_deadline_ = after(core_.options.keep_alive_timeout);
  advance();
  read();
}

// The answer is written, and the connection ends. If it were closed while the client still sends, its system would be told to
// throw away what it has not read yet.
void Session::linger() {
  if (peer_closed_) return close(false);
  state_ = State::kLinger;
  discard_ = true;
  in_.clear();
  read_deadline_ = after(kLinger);
  error_code ignored;
  if (tls_) {
    tls_->async_shutdown([self = shared_from_this()](error_code) {
      error_code nothing;
      if (self->state_ != State::kClosed) quietly(self->socket_.shutdown(Socket::shutdown_send, nothing));
    });
  } else {
    quietly(socket_.shutdown(Socket::shutdown_send, ignored));
  }
  read();
  arm();
}

// ---- ends

void Session::lost(error_code ec) {
  // A client may close its side once it has said all: what is already answered is still written for it. An answer that is still
  // being made is taken back, because a client that went away looks the same.
  const bool only_their_side = ec == asio::error::eof || ec == asio::ssl::error::stream_truncated;
  if (state_ == State::kAnswer && only_their_side && exchange_->finished()) return;
  close(false);
}

void Session::close(bool reset) {
  if (state_ == State::kClosed) return;
  const std::shared_ptr<Session> self = shared_from_this();
  state_ = State::kClosed;
  error_code ignored;
  timer_.cancel();
  if (reset) quietly(socket_.set_option(asio::socket_base::linger(true, 0), ignored));
  quietly(socket_.close(ignored));
  memory_.resize(0);
  head_ = {};
  request_ = {};
  if (exchange_) end_exchange(kClientClosed);
  {
    const std::lock_guard lock(core_.mutex);
    core_.sessions.erase(self);
  }
  core_.changed.notify_all();
}

void Session::end_exchange(int status_if_none) {
  const std::shared_ptr<Exchange> exchange = std::move(exchange_);
  exchange_ = nullptr;
  exchange->lose();
  if (core_.access_log) {
    const int status = exchange->status() != 0 ? exchange->status() : status_if_none;
    const double milliseconds = std::chrono::duration<double, std::milli>(Clock::now() - started_).count();
    try {
      core_.access_log(logged_, status, exchange->body_bytes(), milliseconds);
    } catch (...) {  // a log that fails ends no connection
    }
  }
  logged_ = {};
  {
    const std::lock_guard lock(core_.mutex);
    --core_.answering;
  }
  core_.changed.notify_all();
}

// ---- time

void Session::arm() {
  if (state_ == State::kClosed) return;
  Clock::time_point next = std::min(read_deadline_, write_deadline_);
  if (exchange_ && !writing_ && exchange_->wants_pings()) next = std::min(next, last_sent_ + core_.options.sse_ping);
  // A deadline that moved away needs no new timer: it looks again when it comes.
  if (next == kNever || timer_at_ <= next) return;
  timer_at_ = next;
  timer_.expires_at(next);
  timer_.async_wait([self = shared_from_this()](error_code ec) {
    if (ec) return;
    self->guarded([&] {
      self->timer_at_ = kNever;
      self->on_time();
      self->arm();
    });
  });
}

// What it sent and nobody has read yet hides the end behind it.
bool Session::peer_gone() {
  if (state_ == State::kClosed) return true;
  char next = 0;
  const ssize_t got = ::recv(socket_.native_handle(), &next, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

// What the system holds for the client.
int64_t Session::unsent_bytes() {
  int bytes = 0;
  return ::ioctl(socket_.native_handle(), SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

// A write goes on only once a good part of the system's buffer is free: what counts is what has left that.
void Session::expect_reading() {
  const int64_t unsent = unsent_bytes(), waiting = unsent + static_cast<int64_t>(out_.size() - written_);
  expected_ = given_ - unsent + std::min(waiting, kLeastReadRate * core_.options.write_timeout.count() / 1000);
  write_deadline_ = after(core_.options.write_timeout);
}

void Session::on_time() {
  const Clock::time_point now = Clock::now();
  if (now >= write_deadline_) {
    if (given_ - unsent_bytes() < expected_) return close(true);
    expect_reading();
  }
  if (now >= read_deadline_) {
    switch (state_) {
      case State::kHead: return refuse(408, "[http] the headers took too long");
      case State::kBody: return refuse(408, "[http] the body took too long");
      default: return close(false);
    }
  }
  if (exchange_ && !writing_ && now >= last_sent_ + core_.options.sse_ping) {
    // Without a ping now (half an event is out), the next try is a period away.
    last_sent_ = now;
    if (exchange_->ping()) flush();
  }
}

}  // namespace pagoda::server
