// The download loop: ranges, retries, sums, the .incomplete file.
#include "hub/download.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "hub/digest.h"
#include "hub/repo_id.h"

namespace pagoda::hub {

namespace {

constexpr size_t kReadPiece = 1 << 20;

// The growing .incomplete file with its running sum.
class PartialFile final : public BodySink {
 public:
  PartialFile(const std::string& path, const DownloadJob& job, const std::string& where, const ByteCounter& count)
      : path_(path), job_(job), where_(where), count_(count) {
    if (is_sha256(job.etag)) digest_.emplace(Digest::Kind::kSha256);
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd_ < 0) fail_errno(path, "cannot open", errno);
    try {
      take_up();
    } catch (...) {
      ::close(fd_);
      throw;
    }
  }
  ~PartialFile() override { ::close(fd_); }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  int64_t have() const { return have_; }
  bool pieced() const { return pieced_; }  // it did not come in one answer
  bool take_progress() { return std::exchange(progress_, false); }

  void start_over() {
    if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0) fail_errno(path_, "cannot empty", errno);
    if (count_ && have_ != 0) count_(-have_, false);
    have_ = 0;
    pieced_ = false;
    if (digest_) digest_->restart();
  }

  void on_start(int status, const HttpHeaders& headers) override {
    if (status != 206) {
      if (have_ != 0) start_over();  // the server ignored the range and sends all
      // A page of a proxy or a portal rather than the file; it must not become the beginning of it.
      const std::string length(header(headers, "content-length"));
      if (job_.size >= 0 && !length.empty() && length != std::to_string(job_.size)) {
        fail(ErrorKind::kDevice, where_, "{}: wrong length: got {} bytes, need {}", job_.name, length.substr(0, 40), job_.size);
      }
      return;
    }
    pieced_ = true;
    // "bytes 100-199/200"; a wrong piece would be found by the checksum, but only after the whole download.
    const std::string range(header(headers, "content-range"));
    long long begin = -1;
    if (std::sscanf(range.c_str(), "bytes %lld-", &begin) != 1 || begin != have_) {
      fail(ErrorKind::kDevice, where_, "{}: wrong part of the file: got '{}', need bytes from {}", job_.name,
           range.substr(0, 80), have_);
    }
  }

  void on_data(const char* data, size_t size) override {
    if (job_.size >= 0 && static_cast<int64_t>(size) > job_.size - have_) {
      fail(ErrorKind::kDevice, where_, "{}: too many bytes: got over {}, need {}", job_.name,
           have_ + static_cast<int64_t>(size), job_.size);
    }
    for (size_t done = 0; done < size;) {
      const ssize_t put = ::write(fd_, data + done, size - done);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) write_failed(errno);
      done += static_cast<size_t>(put);
    }
    if (digest_) digest_->update(data, size);
    have_ += static_cast<int64_t>(size);
    progress_ = true;
    if (count_) count_(static_cast<int64_t>(size), true);
  }

  // Empty when the sum is right or cannot be checked; else what was found.
  std::string wrong_sum() {
    std::string found;
    if (digest_) {
      found = digest_->hex();
    } else if (is_commit(job_.etag)) {
      found = git_blob_hex_of_file(path_);
    } else {
      return {};
    }
    return found == job_.etag ? std::string() : found;
  }

  void sync() {
    if (::fsync(fd_) != 0) write_failed(errno);
  }

 private:
  void take_up() {
    struct stat info{};
    if (::fstat(fd_, &info) != 0) fail_errno(path_, "cannot stat", errno);
    if (!S_ISREG(info.st_mode)) invalid(path_, "not a file in the cache: need a regular file or nothing there");
    if (job_.force || (job_.size >= 0 && info.st_size > job_.size)) {
      start_over();
      return;
    }
    if (digest_) {
      std::vector<char> piece(kReadPiece);
      while (have_ < info.st_size) {
        const ssize_t got = ::read(fd_, piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail_errno(path_, "cannot read", errno);
        if (got == 0) break;
        digest_->update(piece.data(), static_cast<size_t>(got));
        have_ += got;
      }
    } else {
      have_ = info.st_size;
      if (::lseek(fd_, 0, SEEK_END) < 0) fail_errno(path_, "cannot seek", errno);
    }
    pieced_ = have_ > 0;
    if (count_ && have_ != 0) count_(have_, false);
  }

  [[noreturn]] void write_failed(int error) {
    if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
      // What was written helps nobody while the disk is full, and its space may be what others need.
      ::unlink(path_.c_str());
      const auto free = free_bytes(parent_path(path_));
      fail(ErrorKind::kDevice, where_, "{}: no space left on the disk: got {} bytes free in {}, need {} more", job_.name,
           free ? std::to_string(*free) : "no", parent_path(path_),
           job_.size >= 0 ? std::to_string(job_.size - have_) : std::string("some"));
    }
    fail_errno(path_, "cannot write", error);
  }

  std::string path_;
  const DownloadJob& job_;
  const std::string& where_;
  const ByteCounter& count_;
  int fd_ = -1;
  int64_t have_ = 0;
  bool pieced_ = false;
  bool progress_ = false;
  std::optional<Digest> digest_;
};

// Asks until all bytes are there.
void fetch_all(HttpClient& client, const HubConfig& config, const std::string& where, const DownloadJob& job, PartialFile& file,
               Backoff backoff, const std::function<bool()>& should_stop) {
  while (job.size < 0 || file.have() < job.size) {
    HttpRequest request;
    request.url = job.url;
    request.sink = &file;
    if (file.have() > 0) request.headers.emplace_back("Range", "bytes=" + std::to_string(file.have()) + "-");
    HttpResult result = client.perform(request);
    if (file.take_progress()) backoff.progress();
    if (result.ok()) {
      if (job.size < 0 || file.have() == job.size) return;
      result.retryable = true;
      result.transport_error = "the answer ended " + std::to_string(job.size - file.have()) + " bytes early";
    }
    if (result.status == 416 && file.have() > 0) {
      // Nothing after what we have: complete if the size is unknown and the server names this one, else not our file.
      const std::string whole = "bytes */" + std::to_string(file.have());
      if (job.size < 0 && header(result.headers, "content-range") == whole) return;
      file.start_over();
    } else if (!is_transient(result) && (result.from_hub || result.status == 0)) {
      fail_http(result, config, where, job.name);
    }
    // Answers of 4xx by another host are taken as passing too: its signed address may have run out, the hub gives a new one.
    if (!backoff.again(should_stop, asked_wait(result))) {
      if (should_stop()) result.transport_error = "interrupted";
      fail_http(result, config, where, job.name);
    }
  }
}

}  // namespace

bool download_blob(HttpClient& client, const HubConfig& config, const std::string& where, const RepoCache& cache,
                   const DownloadJob& job, Backoff backoff, const std::function<bool()>& should_stop,
                   const ByteCounter& count) {
  const std::string blob = cache.blob_path(job.etag);
  const bool is_new = !file_exists(blob);
  if (!job.force && !is_new && (job.size < 0 || file_size(blob) == job.size)) {
    if (count) count(file_size(blob), false);
    return false;
  }
  const std::string path = cache.incomplete_path(job.etag);
  PartialFile file(path, job, where, count);
  for (;;) {
    fetch_all(client, config, where, job, file, backoff, should_stop);
    const std::string found = file.wrong_sum();
    if (found.empty()) break;
    if (!file.pieced()) {
      ::unlink(path.c_str());
      if (count) count(-file.have(), false);
      fail(ErrorKind::kDevice, where, "{}: wrong checksum: got {}, need {} (nothing is kept; the server or a proxy changed it)",
           job.name, found, job.etag);
    }
    file.start_over();  // the pieces were not of one file: an earlier run's, or a server's that changed
  }
  file.sync();
  if (::rename(path.c_str(), blob.c_str()) != 0) fail_errno(blob, "cannot move file into place", errno);
  return is_new;
}

}  // namespace pagoda::hub
