// Listening sockets of the system: TCP by name or address, Unix by path.
#pragma once

#include <string>

namespace pagoda::server {

// A socket that listens, and the file that a Unix socket leaves behind.
class ListeningSocket {
 public:
  // host "": every interface, IPv6 too where the system has it. A name with several addresses: its first IPv4 address if it has
  // one, else its first. port 0: one that is free. kDevice: in use or forbidden; kInvalidInput: no such host, bad port.
  static ListeningSocket tcp(const std::string& host, int port);
  // A socket file that nobody listens on is replaced. kDevice: somebody listens there; kInvalidInput: the path is too long, or
  // a file of another kind has it.
  static ListeningSocket local(const std::string& path);

  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  ~ListeningSocket();  // closes, removes the file

  int family() const { return family_; }
  int port() const { return port_; }  // 0 for a Unix socket
  int release();                      // the descriptor, which the caller closes
  void remove_file();                 // of a Unix socket, if it is still the one made here

 private:
  ListeningSocket(int fd, int family) : fd_(fd), family_(family) {}

  int fd_ = -1;
  int family_ = 0;
  int port_ = 0;
  std::string path_;
  unsigned long long device_ = 0, inode_ = 0;
};

// Lets this process hold so many connections where the system allows it: the soft limit of open files is often 1,024.
void raise_open_file_limit(long long connections);

}  // namespace pagoda::server
