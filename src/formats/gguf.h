// GGUF files: header, key-values and tensor table. Strings and arrays are views into the mapped bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/limits.h"
#include "text/vocab.h"

namespace pagoda {

struct GgufValue {
  enum class Type {
    kUint8,
    kInt8,
    kUint16,
    kInt16,
    kUint32,
    kInt32,
    kFloat32,
    kBool,
    kString,
    kArray,
    kUint64,
    kInt64,
    kFloat64
  };
  Type type = Type::kUint8;
  int64_t integer = 0;    // integers and booleans; uint64 beyond int64 is refused when read as a number
  double real = 0;        // floats
  std::string_view text;  // strings
  // Arrays: element type and count; strings listed, numbers as little-endian bytes.
  Type element = Type::kUint8;
  int64_t count = 0;
  std::vector<std::string_view> strings;
  std::string_view bytes;

  bool is_integer() const;
  bool is_array_of(Type wanted) const { return type == Type::kArray && element == wanted; }
};

struct GgufTensor {
  std::string name;
  std::vector<int64_t> dims;  // innermost first, as the file has them
  uint32_t type = 0;          // ggml's number
  uint64_t offset = 0;        // from data_offset()
};

class GgufFile {
 public:
  static std::shared_ptr<const GgufFile> open(const std::string& path, const Limits& limits = {});
  // `bytes` must outlive the result.
  static std::shared_ptr<const GgufFile> parse(std::string_view bytes, std::string_view where, const Limits& limits = {});

  uint32_t version() const { return version_; }
  const GgufValue* find(std::string_view key) const;  // null: none
  // Typed access; a missing key gives the fallback, another type throws kInvalidInput.
  std::string text(std::string_view key, std::string_view fallback) const;
  int64_t integer(std::string_view key, int64_t fallback) const;
  bool flag(std::string_view key, bool fallback) const;
  double real(std::string_view key, double fallback) const;
  const std::vector<std::string_view>* strings(std::string_view key) const;  // null: none
  // Arrays of numbers, converted; empty where there is none.
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<float> floats(std::string_view key) const;

  struct Entry {
    std::string key;
    GgufValue value;
  };
  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  uint64_t data_offset() const { return data_offset_; }  // of the tensors' bytes in the file
  std::string_view bytes() const { return bytes_; }
  void drop_pages() const;  // of the mapped file, see MappedFile
  const std::string& where() const { return where_; }

 private:
  GgufFile() = default;
  std::string where_;
  std::shared_ptr<MappedFile> file_;
  std::string_view bytes_;
  uint32_t version_ = 0;
  uint64_t data_offset_ = 0;
  std::vector<Entry> entries_;
  std::map<std::string, size_t, std::less<>> index_;  // of entries_
  std::vector<GgufTensor> tensors_;
};

// Does a file begin as GGUF files do?
bool is_gguf(const std::string& path);

}  // namespace pagoda
