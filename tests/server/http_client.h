// A small HTTP/1.1 client for tests of the server: raw bytes go out, answers come back parsed; plain, TLS or Unix socket.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace pagoda::testing {

struct Answer {
  int status = 0;                              // 0: none came
  std::string head;                            // as it came
  std::string body;                            // without framing
  bool whole = false;                          // the body ended as its framing says
  std::map<std::string, std::string> headers;  // names in lower case
  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

class Client {
 public:
  explicit Client(int port, int receive_buffer = 0) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  explicit Client(const std::string& path) {
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof(address.sun_path) - 1));
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }
  int fd() const { return fd_; }
  // False where the handshake fails.
  bool start_tls(SSL_CTX* context) {
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, fd_);
    return SSL_connect(ssl_) == 1;
  }
  SSL* ssl() const { return ssl_; }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto put = ssl_ != nullptr ? SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()))
                                       : static_cast<int>(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL));
      if (put <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(put));
    }
    return true;
  }
  void shutdown_send() { ::shutdown(fd_, SHUT_WR); }
  void close() {
    SSL_free(ssl_);
    ssl_ = nullptr;
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void reset() {
    const linger hard{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close();
  }

  // More bytes into the buffer; false at the end, after an error or a silence of so many milliseconds.
  bool receive(int milliseconds = 10'000) {
    if (ssl_ == nullptr || SSL_pending(ssl_) == 0) {
      pollfd wait{fd_, POLLIN, 0};
      if (::poll(&wait, 1, milliseconds) <= 0) {
        silent_ = true;
        return false;
      }
    }
    char piece[16384];
    const int got =
        ssl_ != nullptr ? SSL_read(ssl_, piece, sizeof(piece)) : static_cast<int>(::recv(fd_, piece, sizeof(piece), 0));
    if (got < 0 && ssl_ == nullptr && errno == ECONNRESET) was_reset_ = true;
    if (got <= 0) return false;
    buffer_.append(piece, static_cast<size_t>(got));
    return true;
  }
  bool was_reset() const { return was_reset_; }
  std::string& buffer() { return buffer_; }
  bool wait_for(std::string_view text, int milliseconds = 10'000) {
    while (buffer_.find(text) == std::string::npos) {
      if (!receive(milliseconds)) return false;
    }
    return true;
  }
  // True once the server has closed the connection (and not merely been silent).
  bool closed(int milliseconds = 10'000) {
    silent_ = false;
    while (receive(milliseconds)) {
    }
    return !silent_;
  }
  std::string rest() {
    while (receive()) {
    }
    return std::exchange(buffer_, {});
  }

  // The next answer; to_head: it has no body whatever its headers say.
  Answer read_answer(bool to_head = false) {
    Answer answer;
    if (!wait_for("\r\n\r\n")) return answer;
    const size_t end = buffer_.find("\r\n\r\n");
    answer.head = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    answer.status = std::atoi(answer.head.substr(9, 3).c_str());
    for (size_t at = answer.head.find("\r\n") + 2; at < answer.head.size();) {
      const size_t stop = answer.head.find("\r\n", at);
      const std::string line = answer.head.substr(at, stop - at);
      std::string name = line.substr(0, line.find(':'));
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      answer.headers[name] = line.substr(std::min(line.size(), line.find(": ") + 2));
      at = stop + 2;
    }
    if (to_head || answer.status == 204 || answer.status == 304 || answer.status < 200) {
      answer.whole = true;
    } else if (answer.header("transfer-encoding") == "chunked") {
      read_chunks(answer);
    } else if (answer.headers.count("content-length") != 0) {
      const auto size = static_cast<size_t>(std::atoll(answer.header("content-length").c_str()));
      while (buffer_.size() < size && receive()) {
      }
      answer.whole = buffer_.size() >= size;
      answer.body = buffer_.substr(0, size);
      buffer_.erase(0, size);
    } else {
      answer.body = rest();
      answer.whole = !was_reset_;
    }
    return answer;
  }
  Answer ask(std::string_view bytes, bool to_head = false) {
    send(bytes);
    return read_answer(to_head);
  }

 private:
  void read_chunks(Answer& answer) {
    for (;;) {
      if (!wait_for("\r\n")) return;
      const size_t line = buffer_.find("\r\n");
      const size_t size = std::strtoul(buffer_.c_str(), nullptr, 16);
      while (buffer_.size() < line + 2 + size + 2) {
        if (!receive()) return;
      }
      answer.body += buffer_.substr(line + 2, size);
      buffer_.erase(0, line + 2 + size + 2);
      if (size == 0) break;
    }
    answer.whole = true;
  }

  int fd_ = -1;
  SSL* ssl_ = nullptr;
  bool connected_ = false;
  bool silent_ = false;
  bool was_reset_ = false;
  std::string buffer_;
};

// Something that another thread will say, at most ten seconds from now.
class Signal {
 public:
  void set() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  bool wait(int times = 1, int milliseconds = 10'000) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::milliseconds(milliseconds), [&] { return count_ >= times; });
  }
  int count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

inline bool eventually(const std::function<bool()>& condition, int milliseconds = 10'000) {
  for (int waited = 0; waited < milliseconds; waited += 5) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

}  // namespace pagoda::testing
