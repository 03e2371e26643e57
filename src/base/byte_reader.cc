// read(2) in pieces of a mebibyte.
#include "base/byte_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace pagoda {

ByteReader::ByteReader(const std::string& path) : path_(path), buffer_(size_t{1} << 20) {
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) fail_errno(path, "cannot open", errno);
  struct stat info{};
  const bool known = ::fstat(fd_, &info) == 0;
  if (known && S_ISDIR(info.st_mode)) {
    ::close(fd_);
    invalid(path, "cannot read: got a directory, need a file");
  }
  if (known && S_ISREG(info.st_mode)) size_ = info.st_size;
}

ByteReader::~ByteReader() { ::close(fd_); }

std::string_view ByteReader::peek() {
  while (begin_ == end_) {
    const ssize_t got = ::read(fd_, buffer_.data(), buffer_.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_errno(path_, "cannot read", errno);
    if (got == 0) return {};
    begin_ = 0;
    end_ = static_cast<size_t>(got);
    read_ += got;
  }
  return {buffer_.data() + begin_, end_ - begin_};
}

size_t ByteReader::read(std::string& out, size_t bytes) {
  size_t done = 0;
  while (done < bytes) {
    const std::string_view piece = peek().substr(0, bytes - done);
    if (piece.empty()) break;
    out.append(piece);
    skip(piece.size());
    done += piece.size();
  }
  return done;
}

LineReader::LineReader(const std::string& path, int64_t max_bytes) : reader_(path), max_bytes_(max_bytes) {}

bool LineReader::next(std::string& line, bool keep_end) {
  line.clear();
  begin_ = reader_.offset();
  for (;;) {
    const std::string_view piece = reader_.peek();
    if (piece.empty()) {
      if (reader_.offset() == begin_) return false;
      ++number_;
      return true;
    }
    const size_t end = piece.find('\n');
    const size_t take = std::min(end, piece.size());
    if (static_cast<int64_t>(line.size() + take) > max_bytes_) {
      invalid(reader_.path(), "line {} is too long: got over {} bytes, need at most that many", number_ + 1, max_bytes_);
    }
    line.append(piece.substr(0, take));
    reader_.skip(take);
    if (end == std::string_view::npos) continue;
    reader_.skip(1);
    if (keep_end) line += '\n';
    ++number_;
    return true;
  }
}

}  // namespace pagoda
