// One connection: reads requests one after another, writes their answers, keeps the time-outs. All on the connection's strand.
#pragma once

#include <algorithm>
#include <atomic>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>

#include "server/http_exchange.h"
#include "server/http_request_parser.h"
#include "server/http_server.h"
#include "server/http_text.h"
#include "server/http_turns.h"

namespace pagoda::server {

using Clock = std::chrono::steady_clock;
using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
using Socket = boost::asio::basic_stream_socket<boost::asio::generic::stream_protocol, Strand>;
using Timer = boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, Strand>;

class Session;

// What all connections of a server share. Outlives them.
struct ServerCore {
  explicit ServerCore(const HttpOptions& o)
      : options(o),
        large_bodies(o.threads < 6 ? 1 : 2),
        bodies(std::max(1, o.threads - 1 - (o.threads < 6 ? 1 : 2))),
        io(o.threads) {
    options.max_body_bytes = std::min(options.max_body_bytes, options.memory.most() + MemoryLedger::kFreeBytes);
  }

  HttpOptions options;
  Handler handler;
  AccessLog access_log;
  // Requests with bodies are parsed and cut into tokens on the server's threads: turns leave one of these (of three or more) to
  // those without, and keep the memory of large ones within bounds.
  Turns large_bodies, bodies;
  boost::asio::io_context io;
  std::optional<boost::asio::ssl::context> tls;

  std::mutex mutex;
  std::condition_variable changed;                        // of what stands below
  std::unordered_set<std::shared_ptr<Session>> sessions;  // open connections
  int64_t answering = 0;                                  // sessions whose answer is under way
  std::atomic<bool> stopping{false};
};

class Session final : public Wakeable, public std::enable_shared_from_this<Session> {
 public:
  Session(ServerCore& core, Socket socket, std::string remote);

  // From any thread.
  void start();
  void wake() override;
  void run(std::function<void()> work) override;
  bool peer_gone() override;
  void drain();         // no request after this one; ends at once where there is none
  void cut() override;  // ends in any state

 private:
  enum class State { kHandshake, kIdle, kHead, kBody, kAnswer, kLinger, kClosed };

  void read();
  void on_read(boost::system::error_code ec, size_t size);
  void advance();
  bool read_head();
  bool read_body();
  bool count_body();
  void dispatch();
  void handle(const std::shared_ptr<HttpResponse>& response);
  void open_exchange(bool keep_alive);
  void refuse(int status, std::string_view message, const Headers& headers = {});
  void flush();
  void on_written(boost::system::error_code ec, size_t size);
  void complete();
  void linger();
  void lost(boost::system::error_code ec);
  void close(bool reset);
  void end_exchange(int status_if_none);
  void arm();
  void on_time();
  int64_t unsent_bytes();
  void expect_reading();
  // An event of this connection's that throws (no memory) ends it, and nothing else.
  template <class Event>
  void guarded(Event&& event) noexcept;

  ServerCore& core_;
  Socket socket_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
  Timer timer_;
  std::string remote_;
  State state_ = State::kIdle;

  // Reading: what came and is not used yet, the request as far as it is known.
  char buffer_[8192];
  std::string in_;
  bool reading_ = false;
  bool peer_closed_ = false;
  bool discard_ = false;  // whatever comes, no request will be taken from it
  HeadScanner scanner_;
  std::optional<ChunkDecoder> chunks_;
  RequestHead head_;
  MemoryLedger::Lease memory_;  // of the body, until its handler is done with it

  // Writing.
  std::shared_ptr<Exchange> exchange_;
  HttpRequest request_;  // until its handler is called
  HttpRequest logged_;   // without body
  Clock::time_point started_;
  std::string interim_;  // "100 Continue"
  std::string out_;
  size_t written_ = 0;
  bool writing_ = false;
  bool out_is_answer_ = false;
  int64_t given_ = 0;  // bytes that the system has taken, since the connection began
  Exchange::Rest rest_ = Exchange::Rest::kMore;

  // By write_deadline_ the client must have taken so many of all bytes.
  int64_t expected_ = 0;

  // Deadlines; max(): none.
  Clock::time_point read_deadline_, write_deadline_, last_sent_, timer_at_;
};

}  // namespace pagoda::server
