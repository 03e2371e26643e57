// Binding of TCP and Unix sockets.
#include "server/http_listen.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace pagoda::server {

namespace {

constexpr int kBacklog = 4096;

[[noreturn]] void refuse(const std::string& what, int error_number) {
  fail(ErrorKind::kDevice, "http", "cannot listen on {}: {}", what, std::generic_category().message(error_number));
}

// Binds; 0 or errno.
int try_bind(int fd, const sockaddr* address, socklen_t size) {
  if (::bind(fd, address, size) != 0) return errno;
  return ::listen(fd, kBacklog) != 0 ? errno : 0;
}

int port_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) fail_errno("http", "getsockname", errno);
  return address.ss_family == AF_INET6 ? ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port)
                                       : ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

void set_option(int fd, int level, int option, int value) { ::setsockopt(fd, level, option, &value, sizeof(value)); }

bool somebody_listens(const sockaddr_un& address) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) fail_errno("http", "socket", errno);
  const int error = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ? errno : 0;
  ::close(fd);
  // Anything but a plain refusal (a full queue, no permission) means that the file is in use.
  return error != ECONNREFUSED && error != ENOENT;
}

}  // namespace

ListeningSocket::ListeningSocket(ListeningSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      family_(other.family_),
      port_(other.port_),
      path_(std::exchange(other.path_, {})),
      device_(other.device_),
      inode_(other.inode_) {}

ListeningSocket::~ListeningSocket() {
  remove_file();
  if (fd_ >= 0) ::close(fd_);
}

int ListeningSocket::release() { return std::exchange(fd_, -1); }

void ListeningSocket::remove_file() {
  struct stat now{};
  if (path_.empty() || ::lstat(path_.c_str(), &now) != 0) return;
  if (now.st_dev == device_ && now.st_ino == inode_) ::unlink(path_.c_str());
  path_.clear();
}

ListeningSocket ListeningSocket::tcp(const std::string& host, int port) {
  if (port < 0 || port > 65535) invalid("http", "bad port: got {}, need 0 to 65535", port);
  const std::string what = fmt::format("{}:{}", host.empty() ? "*" : host, port);
  if (host.empty()) {
    // One socket for both: systems without IPv6 refuse it, and get the older one below.
    const int fd = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
      ListeningSocket out(fd, AF_INET6);
      set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
      set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      sockaddr_in6 address{};
      address.sin6_family = AF_INET6;
      address.sin6_port = htons(static_cast<uint16_t>(port));
      const int error = try_bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
      if (error == 0) {
        out.port_ = port_of(fd);
        return out;
      }
      if (error != EAFNOSUPPORT && error != EADDRNOTAVAIL) refuse(what, error);
    }
  }
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string name = host.empty() ? "0.0.0.0" : host;
  const int error = ::getaddrinfo(name.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0)
    invalid("http", "bad host: got '{}', need a name or address of this machine ({})", host, ::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  const addrinfo* chosen = found;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    if (one->ai_family == AF_INET) {
      chosen = one;
      break;
    }
  }
  const int fd = ::socket(chosen->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail_errno("http", "socket", errno);
  ListeningSocket out(fd, chosen->ai_family);
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (const int failed = try_bind(fd, chosen->ai_addr, chosen->ai_addrlen); failed != 0) refuse(what, failed);
  out.port_ = port_of(fd);
  return out;
}

ListeningSocket ListeningSocket::local(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path) || path.find('\0') != std::string::npos) {
    invalid("http", "bad path of a Unix socket: got {} bytes, need 1 to {}", path.size(), sizeof(address.sun_path) - 1);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  struct stat there{};
  if (::lstat(path.c_str(), &there) == 0) {
    if (!S_ISSOCK(there.st_mode)) invalid("http", "'{}' exists and is no socket: need a free path", path);
    if (somebody_listens(address)) refuse(path, EADDRINUSE);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) refuse(path, errno);
  }
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail_errno("http", "socket", errno);
  ListeningSocket out(fd, AF_UNIX);
  const int error = try_bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  if (error != 0) refuse(path, error);
  if (::lstat(path.c_str(), &there) == 0) {
    out.path_ = path;
    out.device_ = there.st_dev;
    out.inode_ = there.st_ino;
  }
  return out;
}

void raise_open_file_limit(long long connections) {
  constexpr long long kOthers = 512;  // files of models, of the program, of the connections to come
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const auto wanted = static_cast<rlim_t>(connections + kOthers);
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = limit.rlim_max == RLIM_INFINITY ? wanted : std::min(wanted, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace pagoda::server
