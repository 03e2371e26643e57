// A lock file that excludes other pulls of the same blob: flock, as the filelock package that huggingface_hub uses.
#pragma once

#include <functional>
#include <string>

namespace pagoda::hub {

class FileLock {
 public:
  // Waits until the lock is ours; makes the file's folder. Throws kDevice "interrupted" once should_stop() gives true.
  // Where the file system knows no flock, it goes on without: blobs are renamed into place, so a lost lock costs work only.
  FileLock(const std::string& path, const std::function<bool()>& should_stop);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace pagoda::hub
