// One request's answer on its way from any thread to the session that writes it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "server/http_server.h"

namespace pagoda::server {

// The session as the answer sees it.
class Wakeable {
 public:
  virtual ~Wakeable() = default;
  virtual void wake() = 0;                           // from any thread; soon take() is called on the session's
  virtual void cut() = 0;                            // from any thread; soon lose() is called on the session's
  virtual bool peer_gone() = 0;                      // on the session's
  virtual void run(std::function<void()> work) = 0;  // from any thread; soon it is called on the session's, unless it has ended
};

// Between the handler's side (any thread) and the session's (its strand). Bytes given while the session writes are gathered, so
// that many small writes become few.
class Exchange {
 public:
  struct Request {
    std::string id;
    bool head_only = false;  // HEAD: no body is sent
    bool http10 = false;
    bool keep_alive = true;
  };
  Exchange(std::weak_ptr<Wakeable> session, Request request, const MemoryLedger& memory)
      : session_(std::move(session)), request_(std::move(request)), memory_(memory) {}

  // ---- the handler's side, see HttpResponse
  void send(int status, std::string_view content_type, std::string body, const Headers& headers);
  void begin(int status, std::string_view content_type, const Headers& headers);
  bool write(std::string_view chunk);
  void finish();
  void on_disconnect(std::function<void()> callback);
  void post(std::function<void()> work);
  bool gone() const;
  void keep(MemoryLedger::Lease room);
  int64_t pending_bytes() const;
  // Nobody will finish this: an error if nothing was sent yet, else the stream is cut.
  void abandon(int status, std::string_view message);

  // ---- the session's side
  enum class Rest { kMore, kFinished, kCut };
  // Moves what is to be written to the end of `out`, and says what follows: no more will come after kFinished and kCut.
  Rest take(std::string& out);
  void taken(int64_t bytes);  // the client's system took so many
  // The client is gone: the callback is called here, the rest of the answer goes nowhere.
  void lose();
  // The connection must close after this answer; the head says so if it is not written yet.
  void close_after();
  bool keep_alive() const;
  bool wants_pings() const;  // an event stream that goes on
  // Puts a comment into an event stream that has nothing under way and stands between two events.
  bool ping();
  bool finished() const;
  int status() const;            // 0: nothing sent yet
  int64_t body_bytes() const;    // of the answer's body so far
  bool cut_needs_reset() const;  // the client could take a plain end for the whole

 private:
  void start_locked(int status, std::string_view content_type, const Headers& headers, int64_t length);
  void send_locked(int status, std::string_view content_type, std::string body, const Headers& headers);
  void add_locked(std::string_view chunk);
  void wake_locked();

  mutable std::mutex mutex_;
  std::weak_ptr<Wakeable> session_;
  Request request_;
  std::function<void()> disconnected_;
  MemoryLedger::Lease memory_;  // of pending_, or what an answer to come has room for
  std::string out_;
  int64_t pending_ = 0;
  int64_t body_bytes_ = 0;
  int status_ = 0;
  char last_[2] = {'\n', '\n'};  // the last bytes of the stream: an event ends with an empty line
  bool begun_ = false, finished_ = false, cut_ = false, gone_ = false;
  bool woken_ = false;
  bool chunked_ = false, until_close_ = false, bodiless_ = false, events_ = false;
};

// What the handler holds; the last of it dropped unfinished ends the answer.
std::shared_ptr<HttpResponse> make_response(std::shared_ptr<Exchange> exchange);

}  // namespace pagoda::server
