// SHA-256 and SHA-1 over streams of bytes, and the name that git gives a file's content.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pagoda::hub {

class Digest {
 public:
  enum class Kind { kSha256, kSha1 };
  explicit Digest(Kind kind);
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  void update(const void* data, size_t size);
  std::string hex();  // ends the sum; restart() begins a new one
  void restart();

 private:
  Kind kind_;
  void* context_;
};

std::string sha256_hex(std::string_view bytes);
std::string git_blob_hex(std::string_view bytes);  // SHA-1 of "blob <size>\0" and the bytes
// The same over a file.
std::string git_blob_hex_of_file(const std::string& path);

// Standard alphabet, padded with "=".
std::string base64(std::string_view bytes);

}  // namespace pagoda::hub
