// A file read front to back through a buffer, and its lines: files may be larger than memory, and pipes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda {

class ByteReader {
 public:
  explicit ByteReader(const std::string& path);  // not found, device; a directory is kInvalidInput
  ~ByteReader();
  ByteReader(const ByteReader&) = delete;
  ByteReader& operator=(const ByteReader&) = delete;

  // What lies in the buffer, read anew when it is used up; empty at the end of the file.
  std::string_view peek();
  void skip(size_t bytes) { begin_ += bytes; }  // at most peek().size()
  // Exactly `bytes` bytes appended to `out`; fewer where the file ends: returns how many.
  size_t read(std::string& out, size_t bytes);

  int64_t offset() const { return read_ - static_cast<int64_t>(end_ - begin_); }  // of the next byte
  int64_t size() const { return size_; }                                          // -1: no regular file
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
  int64_t size_ = -1, read_ = 0;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;
};

class LineReader {
 public:
  // A line longer than max_bytes is kInvalidInput.
  LineReader(const std::string& path, int64_t max_bytes);
  // The next line; its "\n" stays only if `keep_end`. False at the end of the file.
  bool next(std::string& line, bool keep_end = false);
  int64_t number() const { return number_; }      // of the line read last, from 1
  int64_t line_offset() const { return begin_; }  // its first byte in the file
  const ByteReader& bytes() const { return reader_; }
  ByteReader& bytes() { return reader_; }

 private:
  ByteReader reader_;
  int64_t max_bytes_, number_ = 0, begin_ = 0;
};

}  // namespace pagoda
