// The first process of the emulated machine: runs one command, sends what it prints to port 0xE9, then its status, then ends
// the machine. The emulator passes port 0xE9 on to its own output and stops at "Shutdown" on port 0x8900.
#include <fcntl.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr unsigned short kOutput = 0xE9, kPower = 0x8900;

void send(const std::string& text) { outsb(kOutput, text.data(), text.size()); }

// /command: the working folder, the variables (NAME=VALUE), an empty string, the arguments; each ends in a zero byte.
std::vector<std::string> read_command() {
  std::vector<std::string> parts;
  FILE* file = std::fopen("/command", "rb");
  std::string part;
  for (int c; file != nullptr && (c = std::fgetc(file)) != EOF;) {
    if (c != 0) {
      part.push_back(static_cast<char>(c));
    } else {
      parts.push_back(part);
      part.clear();
    }
  }
  return parts;
}

[[noreturn]] void run(const std::vector<std::string>& command) {
  size_t at = 1;
  if (chdir(command[0].c_str()) != 0) _exit(126);
  for (; at < command.size() && !command[at].empty(); ++at) putenv(strdup(command[at].c_str()));
  std::vector<char*> arguments;
  for (++at; at < command.size(); ++at) arguments.push_back(strdup(command[at].c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  std::perror(arguments[0]);
  _exit(127);
}

}  // namespace

int main() {
  mount("proc", "/proc", "proc", 0, nullptr);
  mount("sys", "/sys", "sysfs", 0, nullptr);
  mount("dev", "/dev", "devtmpfs", 0, nullptr);
  mount("tmp", "/tmp", "tmpfs", 0, nullptr);
  iopl(3);
  const std::vector<std::string> command = read_command();
  int status = 126 << 8, ends[2];
  send("\n\x02\n");
  char last = '\n';
  if (command.size() > 2 && pipe(ends) == 0) {
    const pid_t child = fork();
    if (child == 0) {
      close(0);
      open("/dev/null", O_RDONLY);
      dup2(ends[1], 1);
      dup2(ends[1], 2);
      close(ends[0]);
      close(ends[1]);
      run(command);
    }
    close(ends[1]);
    char buffer[4096];
    for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0; last = buffer[got - 1]) {
      send(std::string(buffer, static_cast<size_t>(got)));
    }
    waitpid(child, &status, 0);
  }
  const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  send((last == '\n' ? "\x03" : "\n\x03") + std::to_string(code) + "\n");
  for (const char c : std::string("Shutdown")) outb(static_cast<unsigned char>(c), kPower);
  for (;;) pause();
}
