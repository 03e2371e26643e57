// GGUF files written in memory, for tests of the reader.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda {

class GgufBytes {
 public:
  GgufBytes& text(std::string_view key, std::string_view value) {
    return entry(key, 8, size(value.size()) + std::string(value));
  }
  GgufBytes& number(std::string_view key, uint32_t value) { return entry(key, 4, little(value)); }
  GgufBytes& real(std::string_view key, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return entry(key, 6, little(bits));
  }
  GgufBytes& texts(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = little(8) + size(values.size());
    for (const std::string& value : values) bytes += size(value.size()) + value;
    return entry(key, 9, bytes);
  }
  // dims: innermost first. `bytes` of zeros follow the header for it; `offset` < 0: where they really lie.
  GgufBytes& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t bytes,
                    int64_t offset = -1) {
    tensors_ += size(name.size()) + std::string(name) + little(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) tensors_ += size(dim);
    tensors_ += little(type) + size(offset < 0 ? data_ : static_cast<uint64_t>(offset));
    data_ += (bytes + 31) / 32 * 32;
    ++num_tensors_;
    return *this;
  }
  std::string bytes() const {
    std::string all = "GGUF" + little(3) + size(num_tensors_) + size(num_entries_) + entries_ + tensors_;
    all.resize((all.size() + 31) / 32 * 32 + data_);
    return all;
  }

 private:
  static std::string little(uint32_t value) {
    std::string bytes;
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> (8 * i) & 255);
    return bytes;
  }
  static std::string size(uint64_t value) {
    return little(static_cast<uint32_t>(value)) + little(static_cast<uint32_t>(value >> 32));
  }
  GgufBytes& entry(std::string_view key, uint32_t type, const std::string& value) {
    entries_ += size(key.size()) + std::string(key) + little(type) + value;
    ++num_entries_;
    return *this;
  }
  std::string entries_, tensors_;
  uint64_t num_entries_ = 0, num_tensors_ = 0, data_ = 0;
};

}  // namespace pagoda
