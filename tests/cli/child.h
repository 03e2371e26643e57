// Runs the program as a child: with pipes, or on a terminal of its own.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"

namespace pagoda::testing {

struct Ended {
  int code = -1;  // 128 + signal where one ended it
  std::string out, err;
  Json json() const { return Json::parse(out, "stdout"); }
};

using Environment = std::map<std::string, std::string>;

[[noreturn]] inline void become_pagoda(const std::vector<std::string>& arguments, const Environment& environment) {
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv{const_cast<char*>("pagoda")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execv(PAGODA_PROGRAM, argv.data());
  ::_exit(127);
}

inline int exit_of(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// A program that is still running, with pipes on all three.
class Running {
 public:
  explicit Running(const std::vector<std::string>& arguments, const Environment& environment = {}) {
    int in[2], out[2], err[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0) ::abort();
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      ::dup2(err[1], 2);
      become_pagoda(arguments, environment);
    }
    ::close(in[0]);
    ::close(out[1]);
    ::close(err[1]);
    in_ = in[1];
    out_ = out[0];
    err_ = err[0];
  }
  pid_t pid() const { return child_; }
  // What the program writes to stdout, up to the first `text`; less where it ends or is silent for a minute. end() gives the
  // rest.
  std::string read_until(const std::string& text) {
    std::string read;
    pollfd wait{out_, POLLIN, 0};
    while (out_ >= 0 && read.find(text) == std::string::npos && ::poll(&wait, 1, 60'000) == 1) take(out_, read);
    return read;
  }
  // Writes all of `input`, closes it, and takes what comes until the program ends.
  Ended end(std::string_view input = "") {
    Ended ended;
    ::signal(SIGPIPE, SIG_IGN);
    if (input.empty()) close_input();
    while (out_ >= 0 || err_ >= 0) {
      pollfd wait[3] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}, {in_, POLLOUT, 0}};
      if (::poll(wait, 3, -1) < 0) continue;
      if (in_ >= 0 && wait[2].revents != 0) {
        const ssize_t put = ::write(in_, input.data(), std::min<size_t>(input.size(), 4096));
        if (put > 0) input.remove_prefix(static_cast<size_t>(put));
        if (put < 0 || input.empty()) close_input();
      }
      if (wait[0].revents != 0) take(out_, ended.out);
      if (wait[1].revents != 0) take(err_, ended.err);
    }
    ended.code = exit_of(child_);
    return ended;
  }

 private:
  void close_input() {
    if (in_ >= 0) ::close(in_);
    in_ = -1;
  }
  static void take(int& fd, std::string& into) {
    char piece[4096];
    const ssize_t got = ::read(fd, piece, sizeof piece);
    if (got > 0) {
      into.append(piece, static_cast<size_t>(got));
    } else {
      ::close(fd);
      fd = -1;
    }
  }
  pid_t child_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;
};

inline Ended run_pagoda(const std::vector<std::string>& arguments, std::string_view input = "",
                        const Environment& environment = {}) {
  return Running(arguments, environment).end(input);
}

// The program on a pseudo terminal: what a person at a keyboard sees.
class OnTerminal {
 public:
  explicit OnTerminal(const std::vector<std::string>& arguments) {
    master_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ::grantpt(master_);
    ::unlockpt(master_);
    const std::string name = ::ptsname(master_);
    child_ = ::fork();
    if (child_ == 0) {
      ::setsid();
      const int slave = ::open(name.c_str(), O_RDWR);  // becomes the controlling terminal: Ctrl-C arrives as a signal
      ::ioctl(slave, TIOCSCTTY, 0);
      for (const int fd : {0, 1, 2}) ::dup2(slave, fd);
      become_pagoda(arguments, {});
    }
  }
  ~OnTerminal() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      exit_of(child_);
    }
    ::close(master_);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;

  void type(std::string_view text) { (void)!::write(master_, text.data(), text.size()); }
  // Waits until `text` has appeared after what was waited for last; false after 60 s or where the program ended.
  bool wait_for(const std::string& text) {
    const auto start = std::chrono::steady_clock::now();
    for (;;) {
      if (const size_t at = seen_.find(text, from_); at != std::string::npos) {
        from_ = at + text.size();
        return true;
      }
      if (std::chrono::steady_clock::now() - start > std::chrono::seconds(60)) return false;
      pollfd wait{master_, POLLIN, 0};
      if (::poll(&wait, 1, 1000) <= 0) continue;
      char piece[4096];
      const ssize_t got = ::read(master_, piece, sizeof piece);
      if (got <= 0) return seen_.find(text, from_) != std::string::npos;
      seen_.append(piece, static_cast<size_t>(got));
    }
  }
  int end() {
    wait_for("\x01 never printed");
    const int code = exit_of(child_);
    child_ = -1;
    return code;
  }
  const std::string& seen() const { return seen_; }

 private:
  int master_ = -1;
  pid_t child_ = -1;
  std::string seen_;
  size_t from_ = 0;
};

}  // namespace pagoda::testing
