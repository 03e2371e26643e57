// The reader checks every length against what is left before it looks.
#include "formats/gguf.h"

#include <cstring>
#include <fstream>

#include "base/checked.h"
#include "base/error.h"
#include "base/utf8.h"

namespace pagoda {

namespace {

using Type = GgufValue::Type;

constexpr int64_t kMaxDims = 8;

size_t type_size(Type type) {
  switch (type) {
    case Type::kUint8:
    case Type::kInt8:
    case Type::kBool: return 1;
    case Type::kUint16:
    case Type::kInt16: return 2;
    case Type::kUint32:
    case Type::kInt32:
    case Type::kFloat32: return 4;
    case Type::kUint64:
    case Type::kInt64:
    case Type::kFloat64: return 8;
    default: return 0;
  }
}

const char* type_name(Type type) {
  static constexpr const char* kNames[] = {"uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                           "bool",  "string", "array",  "uint64", "int64",  "float64"};
  return kNames[static_cast<size_t>(type)];
}

uint64_t little(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  return value;
}

int64_t as_integer(Type type, uint64_t bits) {
  switch (type) {
    case Type::kInt8: return static_cast<int8_t>(bits);
    case Type::kInt16: return static_cast<int16_t>(bits);
    case Type::kInt32: return static_cast<int32_t>(bits);
    default: return static_cast<int64_t>(bits);
  }
}

double as_real(Type type, uint64_t bits) {
  if (type == Type::kFloat32) {
    const uint32_t narrow = static_cast<uint32_t>(bits);
    float value;
    std::memcpy(&value, &narrow, sizeof(value));
    return value;
  }
  double value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

class Cursor {
 public:
  Cursor(std::string_view bytes, std::string_view where, const Limits& limits)
      : bytes_(bytes), where_(where), limits_(limits) {}

  std::string_view take(uint64_t size, std::string_view what) {
    if (size > bytes_.size() - pos_)
      invalid(where_, "file cut off: {} at byte {} needs {} bytes, {} are left", what, pos_, size, bytes_.size() - pos_);
    const std::string_view part = bytes_.substr(pos_, static_cast<size_t>(size));
    pos_ += static_cast<size_t>(size);
    return part;
  }
  uint32_t u32(std::string_view what) { return static_cast<uint32_t>(little(take(4, what))); }
  uint64_t u64(std::string_view what) { return little(take(8, what)); }
  std::string_view string(std::string_view what) {
    const uint64_t size = u64(what);
    if (size > static_cast<uint64_t>(limits_.max_string_bytes))
      invalid(where_, "{} too long: got {} bytes, need at most {}", what, size, limits_.max_string_bytes);
    return take(size, what);
  }
  Type type(std::string_view what) {
    const uint32_t number = u32(what);
    if (number > static_cast<uint32_t>(Type::kFloat64)) invalid(where_, "{}: unknown value type {}", what, number);
    return static_cast<Type>(number);
  }
  uint64_t count(std::string_view what) {
    const uint64_t count = u64(what);
    if (count > static_cast<uint64_t>(limits_.max_items))
      invalid(where_, "{}: got {} entries, need at most {}", what, count, limits_.max_items);
    return count;
  }
  size_t position() const { return pos_; }
  size_t left() const { return bytes_.size() - pos_; }

  GgufValue value(std::string_view key) {
    GgufValue value;
    value.type = type(key);
    if (value.type == Type::kString) {
      value.text = string(key);
    } else if (value.type == Type::kArray) {
      value.element = type(key);
      const uint64_t n = count(key);
      value.count = static_cast<int64_t>(n);
      if (value.element == Type::kArray) unsupported(where_, "{}: arrays of arrays", key);
      if (value.element == Type::kString) {
        if (n > left() / 8) invalid(where_, "{}: {} strings do not fit in the file", key, n);
        value.strings.reserve(static_cast<size_t>(n));
        for (uint64_t i = 0; i < n; ++i) value.strings.push_back(string(key));
      } else {
        value.bytes = take(n * type_size(value.element), key);
      }
    } else {
      const uint64_t bits = little(take(type_size(value.type), key));
      if (value.type == Type::kFloat32 || value.type == Type::kFloat64) {
        value.real = as_real(value.type, bits);
      } else {
        value.integer = as_integer(value.type, bits);
      }
    }
    return value;
  }

 private:
  std::string_view bytes_, where_;
  const Limits& limits_;
  size_t pos_ = 0;
};

}  // namespace

bool GgufValue::is_integer() const {
  if (type == Type::kUint64) return integer >= 0;  // larger ones wrapped
  return type != Type::kFloat32 && type != Type::kFloat64 && type != Type::kString && type != Type::kArray &&
         type != Type::kBool;
}

std::shared_ptr<const GgufFile> GgufFile::open(const std::string& path, const Limits& limits) {
  const std::shared_ptr<MappedFile> file = MappedFile::open(path);
  const std::shared_ptr<const GgufFile> parsed = parse(file->bytes(), path, limits);
  std::const_pointer_cast<GgufFile>(parsed)->file_ = file;
  return parsed;
}

std::shared_ptr<const GgufFile> GgufFile::parse(std::string_view bytes, std::string_view where, const Limits& limits) {
  std::shared_ptr<GgufFile> file(new GgufFile);
  file->where_ = where;
  file->bytes_ = bytes;
  Cursor cursor(bytes, where, limits);
  if (bytes.size() < 4 || bytes.substr(0, 4) != "GGUF") invalid(where, "no GGUF file: the first four bytes are not 'GGUF'");
  cursor.take(4, "magic");
  file->version_ = cursor.u32("version");
  if (file->version_ != 2 && file->version_ != 3) {
    if ((file->version_ & 0xFFFF) == 0 && file->version_ != 0) unsupported(where, "a big-endian GGUF file");
    unsupported(where, "GGUF version {}: need 2 or 3", file->version_);
  }
  const uint64_t tensors = cursor.count("tensor count");
  const uint64_t values = cursor.count("key-value count");
  for (uint64_t i = 0; i < values; ++i) {
    const std::string_view key = cursor.string("key");
    if (key.empty() || key.size() > 65535 || utf8_invalid_at(key) != std::string_view::npos)
      invalid(where, "key {}: not a valid name", i);
    if (!file->index_.emplace(key, file->entries_.size()).second) invalid(where, "key '{}' is there twice", key);
    file->entries_.push_back({std::string(key), cursor.value(key)});
  }
  for (uint64_t i = 0; i < tensors; ++i) {
    GgufTensor tensor;
    tensor.name = cursor.string("tensor name");
    const uint32_t dims = cursor.u32("tensor dimensions");
    if (dims > kMaxDims) invalid(where, "tensor '{}': got {} dimensions, need at most {}", tensor.name, dims, kMaxDims);
    int64_t elements = 1;
    for (uint32_t d = 0; d < dims; ++d) {
      const uint64_t size = cursor.u64("tensor shape");
      if (size > static_cast<uint64_t>(INT64_MAX)) invalid(where, "tensor '{}': dimension too large", tensor.name);
      tensor.dims.push_back(static_cast<int64_t>(size));
      elements = checked_mul(elements, static_cast<int64_t>(size), where);
    }
    tensor.type = cursor.u32("tensor type");
    tensor.offset = cursor.u64("tensor offset");
    file->tensors_.push_back(std::move(tensor));
  }
  const int64_t alignment = file->integer("general.alignment", 32);
  if (alignment < 1 || alignment > (int64_t{1} << 20) || (alignment & (alignment - 1)) != 0) {
    invalid(where, "general.alignment: got {}, need a power of two", alignment);
  }
  file->data_offset_ = static_cast<uint64_t>(checked_round_up(static_cast<int64_t>(cursor.position()), alignment, where));
  return file;
}

void GgufFile::drop_pages() const {
  if (file_) file_->drop_pages();
}

bool is_gguf(const std::string& path) {
  if (!file_exists(path)) return false;
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::memcmp(magic, "GGUF", sizeof magic) == 0;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &entries_[found->second].value;
}

std::string GgufFile::text(std::string_view key, std::string_view fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (value->type != Type::kString) invalid(where_, "{}: got {}, need string", key, type_name(value->type));
  return std::string(value->text);
}

int64_t GgufFile::integer(std::string_view key, int64_t fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_integer()) invalid(where_, "{}: got {}, need an integer", key, type_name(value->type));
  return value->integer;
}

bool GgufFile::flag(std::string_view key, bool fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return fallback;
  if (value->type != Type::kBool) invalid(where_, "{}: got {}, need bool", key, type_name(value->type));
  return value->integer != 0;
}

double GgufFile::real(std::string_view key, double fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return fallback;
  if (value->type != Type::kFloat32 && value->type != Type::kFloat64)
    invalid(where_, "{}: got {}, need a float", key, type_name(value->type));
  return value->real;
}

const std::vector<std::string_view>* GgufFile::strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return nullptr;
  if (!value->is_array_of(Type::kString)) invalid(where_, "{}: got {}, need an array of strings", key, type_name(value->type));
  return &value->strings;
}

std::vector<int64_t> GgufFile::integers(std::string_view key) const {
  std::vector<int64_t> out;
  const GgufValue* value = find(key);
  if (value == nullptr) return out;
  const bool fits = value->type == Type::kArray && value->element != Type::kString && value->element != Type::kFloat32 &&
                    value->element != Type::kFloat64;
  if (!fits) invalid(where_, "{}: got {}, need an array of integers", key, type_name(value->type));
  const size_t size = type_size(value->element);
  out.reserve(static_cast<size_t>(value->count));
  for (size_t i = 0; i < static_cast<size_t>(value->count); ++i)
    out.push_back(as_integer(value->element, little(value->bytes.substr(i * size, size))));
  return out;
}

std::vector<float> GgufFile::floats(std::string_view key) const {
  std::vector<float> out;
  const GgufValue* value = find(key);
  if (value == nullptr) return out;
  if (!value->is_array_of(Type::kFloat32)) invalid(where_, "{}: got {}, need an array of float32", key, type_name(value->type));
  out.reserve(static_cast<size_t>(value->count));
  for (size_t i = 0; i < static_cast<size_t>(value->count); ++i) {
    out.push_back(static_cast<float>(as_real(Type::kFloat32, little(value->bytes.substr(i * 4, 4)))));
  }
  return out;
}

}  // namespace pagoda
