// Renames do the work: a folder has its name only when it is complete.
#include "train/checkpoint.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <tuple>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/progress.h"
#include "formats/safetensors.h"
#include "models/adapter.h"
#include "train/optimizer.h"

namespace pagoda::train {

namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "checkpoint-";
constexpr const char* kTemporary = ".tmp-";
constexpr const char* kReplaced = ".tmp-old-";  // a checkpoint whose successor is about to get its name

void sync(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_errno(path, "cannot open", errno);
  const int failed = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  if (failed != 0) fail_errno(path, "cannot sync", error);
}

void remove_all(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

// Away at once under a temporary name, then bit by bit: what is left of a removal that was cut short is no checkpoint, and is
// known to be ours.
void remove_checkpoint(const std::string& path) {
  const std::string doomed = join_path(parent_path(path), kTemporary + file_name(path));
  remove_all(doomed);
  if (::rename(path.c_str(), doomed.c_str()) != 0) fail_errno(path, "cannot remove", errno);
  remove_all(doomed);
}

bool is_same(const std::string& path, const std::string& other) {
  std::error_code missing;
  return fs::equivalent(path, other, missing) && !missing;
}

[[noreturn]] void refuse_to_replace(const std::string& path) {
  invalid(path,
          "is no checkpoint of a training (no {} in it), and its name is one that the run may need: move it away, or take "
          "another --output-dir",
          kTrainerState);
}

bool parse_step(const std::string& name, int64_t& step) {
  const size_t prefix = std::string(kPrefix).size();
  if (name.rfind(kPrefix, 0) != 0 || name.size() == prefix || name.size() > prefix + 15) return false;
  if (name.find_first_not_of("0123456789", prefix) != std::string::npos) return false;
  step = std::stoll(name.substr(prefix));
  return true;
}

}  // namespace

FolderWriter::FolderWriter(std::string path)
    : path_(std::move(path)), temporary_(join_path(parent_path(path_), kTemporary + file_name(path_))) {
  remove_all(temporary_);
  make_directories(temporary_);
}

FolderWriter::~FolderWriter() {
  if (!committed_) remove_all(temporary_);
}

void FolderWriter::commit() {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(temporary_)) sync(entry.path().string());
  sync(temporary_);
  if (std::filesystem::exists(path_) && !file_exists(join_path(path_, kTrainerState))) refuse_to_replace(path_);
  if (directory_exists(path_)) {
    replace_checkpoint(path_, temporary_);
  } else if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail_errno(path_, "cannot rename into place", errno);
  }
  committed_ = true;
  sync(parent_path(path_));
}

void replace_checkpoint(const std::string& path, const std::string& by, bool exchange) {
  // A folder cannot replace one that is not empty, but two can change places.
  if (exchange && ::renameat2(AT_FDCWD, by.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) return remove_all(by);
  const std::string old = join_path(parent_path(path), kReplaced + file_name(path));
  remove_all(old);
  if (::rename(path.c_str(), old.c_str()) != 0) fail_errno(path, "cannot rename", errno);
  if (::rename(by.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::rename(old.c_str(), path.c_str());
    fail_errno(path, "cannot rename into place", error);
  }
  sync(parent_path(path));  // the old one goes only once its successor's name is on the disk
  remove_all(old);
}

void put_back(const std::string& output_dir) {
  if (!directory_exists(output_dir)) return;
  const std::string replaced = kReplaced;
  for (const std::string& name : list_directory(output_dir)) {
    int64_t step = 0;
    if (name.rfind(replaced, 0) != 0 || !parse_step(name.substr(replaced.size()), step)) continue;
    const std::string old = join_path(output_dir, name), path = checkpoint_path(output_dir, step);
    if (directory_exists(path)) {
      remove_all(old);
    } else if (::rename(old.c_str(), path.c_str()) != 0) {
      fail_errno(old, "cannot rename", errno);
    }
  }
}

OutputLock::OutputLock(const std::string& output_dir) {
  make_directories(output_dir);
  // The folder itself is locked: no file is left behind. A file system that knows no such locks has none.
  fd_ = ::open(output_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0 || ::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(fd_);
  invalid(output_dir, "another training writes into this folder: need another --output-dir, or its end");
}

OutputLock::~OutputLock() {
  if (fd_ >= 0) ::close(fd_);
}

std::string checkpoint_path(const std::string& output_dir, int64_t step) {
  return join_path(output_dir, kPrefix + std::to_string(step));
}

std::vector<std::pair<int64_t, std::string>> list_checkpoints(const std::string& output_dir) {
  std::vector<std::pair<int64_t, std::string>> found;
  if (!directory_exists(output_dir)) return found;
  for (const std::string& name : list_directory(output_dir)) {
    int64_t step = 0;
    const std::string path = join_path(output_dir, name);
    if (parse_step(name, step) && file_exists(join_path(path, kTrainerState))) found.emplace_back(step, path);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string incomplete_checkpoint(const std::string& path) {
  const std::string model = file_exists(join_path(path, kAdapterConfig)) ? kAdapterWeights : "model.safetensors";
  for (const std::string& name : {std::string(kTrainerState), std::string(kTrainingState), model, std::string(kOptimizer)}) {
    const std::string file = join_path(path, name);
    if (!file_exists(file)) return fmt::format("no {} in it", name);
    try {
      if (name == model || name == kOptimizer) {
        SafetensorsFile::open(file);
      } else {
        read_json(file);
      }
    } catch (const Error& error) {
      return error.message();
    }
  }
  return {};
}

void prune_checkpoints(const std::string& output_dir, int64_t limit, const std::vector<std::string>& keep) {
  if (limit <= 0) return;
  // A run that went back to an earlier checkpoint writes smaller steps than are there.
  std::vector<std::tuple<fs::file_time_type, int64_t, std::string>> by_time;
  for (const auto& [step, path] : list_checkpoints(output_dir)) {
    std::error_code gone;
    by_time.emplace_back(fs::last_write_time(join_path(path, kTrainerState), gone), step, path);
  }
  std::sort(by_time.begin(), by_time.end());
  auto left = static_cast<int64_t>(by_time.size());
  for (const auto& [time, step, path] : by_time) {
    if (left <= limit) return;
    if (std::any_of(keep.begin(), keep.end(), [&](const std::string& kept) { return is_same(kept, path); })) continue;
    remove_checkpoint(path);
    --left;
  }
}

int64_t bytes_of_checkpoint(const std::string& path) {
  int64_t bytes = 0;
  std::error_code failed;
  for (fs::recursive_directory_iterator it(path, failed), end; !failed && it != end; it.increment(failed)) {
    struct stat info{};
    // What has another name elsewhere stays.
    if (::lstat(it->path().c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1) bytes += info.st_blocks * 512;
  }
  return bytes;
}

void remove_checkpoints(const std::string& output_dir) {
  for (const auto& [step, path] : list_checkpoints(output_dir)) remove_checkpoint(path);
}

void remove_leftovers(const std::string& output_dir) {
  if (!directory_exists(output_dir)) return;
  put_back(output_dir);
  const std::string temporary = kTemporary;
  for (const std::string& name : list_directory(output_dir)) {
    int64_t step = 0;
    if (name.rfind(temporary, 0) == 0 && parse_step(name.substr(temporary.size()), step))
      remove_all(join_path(output_dir, name));
  }
}

void check_names_are_free(const std::string& output_dir, int64_t done, int64_t max_steps) {
  if (!directory_exists(output_dir)) return;
  for (const std::string& name : list_directory(output_dir)) {
    int64_t step = 0;
    const std::string path = join_path(output_dir, name);
    if (!parse_step(name, step) || step <= done || step > max_steps) continue;
    if (!file_exists(join_path(path, kTrainerState))) refuse_to_replace(path);
  }
}

int64_t bytes_of_run(const TrainingArguments& arguments, int64_t all, int64_t trained) {
  const int64_t moments = Optimizer::plain_name(arguments.optim).starts_with("adam") ? 2 : 1;
  const int64_t average = arguments.ema_decay > 0 ? 1 : 0;
  const int64_t checkpoint = arguments.save_strategy == "no" ? 0 : all + (moments + average) * trained;
  return checkpoint + all + (int64_t{1} << 20);
}

void check_writable(const std::string& folder, int64_t bytes) {
  make_directories(folder);
  const std::string probe = join_path(folder, ".probe");
  write_file_atomic(probe, "probe");
  ::unlink(probe.c_str());
  struct statvfs info{};
  if (::statvfs(folder.c_str(), &info) != 0) return;
  const uint64_t free_bytes = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  if (bytes > 0 && free_bytes < static_cast<uint64_t>(bytes)) {
    fail(ErrorKind::kDevice, folder, "no space: got {} free, need {} for a checkpoint and the model",
         format_bytes(static_cast<int64_t>(free_bytes)), format_bytes(bytes));
  }
}

}  // namespace pagoda::train
