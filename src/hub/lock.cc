// Waiting for and holding a lock file.
#include "hub/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "base/file.h"

namespace pagoda::hub {

FileLock::FileLock(const std::string& path, const std::function<bool()>& should_stop) {
  make_directories(parent_path(path));
  for (;;) {
    // Group-writable, so that users who share a cache can wait for one another.
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0664);
    if (fd_ < 0) fail_errno(path, "cannot open lock file", errno);
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) {
      struct stat ours{};
      struct stat named{};
      // Someone may have removed the file between our opening and locking it: then others lock another inode.
      if (::fstat(fd_, &ours) == 0 && ::stat(path.c_str(), &named) == 0 && ours.st_ino == named.st_ino &&
          ours.st_dev == named.st_dev) {
        return;
      }
    } else if (errno == ENOSYS || errno == ENOTSUP || errno == ENOLCK || errno == EINVAL) {
      return;
    } else if (errno != EWOULDBLOCK && errno != EACCES && errno != EINTR) {
      const int error = errno;
      ::close(fd_);
      fd_ = -1;
      fail_errno(path, "cannot lock", error);
    }
    ::close(fd_);
    fd_ = -1;
    if (should_stop()) fail(ErrorKind::kDevice, path, "interrupted while another program downloads the same file");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

FileLock::~FileLock() {
  // The file stays: removing it would let two waiters lock two files of one name.
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace pagoda::hub
