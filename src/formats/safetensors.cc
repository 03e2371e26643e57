// Reading and writing of safetensors.
#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <tuple>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"

namespace pagoda {

namespace {

constexpr int64_t kMaxHeader = 100'000'000;  // the reference implementation's bound

uint64_t read_u64(const uint8_t* data) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = (value << 8) | data[i];
  return value;
}

TensorEntry read_entry(const std::string& where, const std::string& name, const Json& json, int64_t data_bytes,
                       const uint8_t* data) {
  const std::string at = where + ": " + name;
  TensorEntry entry;
  entry.name = name;
  entry.dtype = parse_dtype(json.at("dtype", at).as_string(at), at);
  int64_t count = 1;
  for (const Json& dim : json.at("shape", at).as_array(at)) {
    const int64_t size = dim.as_int(at);
    if (size < 0) invalid(at, "negative dimension: got {}", size);
    entry.shape.push_back(size);
    count = checked_mul(count, size, at);
  }
  if (static_cast<int>(entry.shape.size()) > kMaxRank)
    invalid(at, "too many dimensions: got {}, need at most {}", entry.shape.size(), kMaxRank);
  const Json::Array& offsets = json.at("data_offsets", at).as_array(at);
  if (offsets.size() != 2) invalid(at, "data_offsets: got {} numbers, need 2", offsets.size());
  const int64_t begin = offsets[0].as_int(at), end = offsets[1].as_int(at);
  if (begin < 0 || end < begin || end > data_bytes) {
    invalid(at, "data outside the file: got offsets {} to {}, need within 0 to {} (a truncated file?)", begin, end, data_bytes);
  }
  const int64_t need = checked_mul(count, dtype_bits(entry.dtype), at) / 8;
  if (end - begin != need) invalid(at, "wrong size: got {} bytes, need {} for its shape and dtype", end - begin, need);
  entry.set_data(data + begin);
  entry.bytes = end - begin;
  return entry;
}

}  // namespace

std::shared_ptr<SafetensorsFile> SafetensorsFile::parse(std::string_view bytes, const std::string& where,
                                                        const std::shared_ptr<const void>& owner, const Limits& limits) {
  const uint8_t* data = reinterpret_cast<const uint8_t*>(bytes.data());
  if (bytes.size() < 8) invalid(where, "not safetensors: got {} bytes, need at least 8", bytes.size());
  const uint64_t header_bytes = read_u64(data);
  if (header_bytes > static_cast<uint64_t>(std::min(kMaxHeader, limits.max_json_bytes)) || header_bytes > bytes.size() - 8) {
    invalid(where, "not safetensors: header says {} bytes, need at most {} (a truncated file?)", header_bytes,
            bytes.size() - 8);
  }
  const Json header = Json::parse(bytes.substr(8, header_bytes), where, limits);
  if (!header.is_object()) invalid(where, "not safetensors: header is a {}, need an object", header.type_name());
  const int64_t data_bytes = static_cast<int64_t>(bytes.size() - 8 - header_bytes);
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile);
  for (const JsonMember& member : header.as_object(where)) {
    if (member.key == "__metadata__") {
      for (const JsonMember& item : member.value.as_object(where)) {
        file->metadata_[item.key] = item.value.as_string(where + ": __metadata__");
      }
      continue;
    }
    TensorEntry entry = read_entry(where, member.key, member.value, data_bytes, data + 8 + header_bytes);
    entry.owner = owner;
    file->tensors_.push_back(std::move(entry));
  }
  std::sort(file->tensors_.begin(), file->tensors_.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tuple(a.data(), a.bytes, std::string_view(a.name)) < std::tuple(b.data(), b.bytes, std::string_view(b.name));
  });
  const uint8_t* expected = data + 8 + header_bytes;
  for (size_t i = 0; i < file->tensors_.size(); ++i) {
    const TensorEntry& entry = file->tensors_[i];
    if (entry.data() != expected) {
      invalid(where, "{}: data {}: got offset {}, need {}", entry.name,
              entry.data() < expected ? "overlaps another tensor" : "leaves a gap",
              entry.data() - data - 8 - static_cast<int64_t>(header_bytes),
              expected - data - 8 - static_cast<int64_t>(header_bytes));
    }
    expected += entry.bytes;
    if (!file->index_.emplace(entry.name, i).second) invalid(where, "tensor given twice: '{}'", entry.name);
  }
  if (expected != data + bytes.size()) {
    invalid(where, "data left over: got {} bytes, need {}", data_bytes,
            expected - data - 8 - static_cast<int64_t>(header_bytes));
  }
  return file;
}

std::shared_ptr<SafetensorsFile> SafetensorsFile::open(const std::string& path, const Limits& limits) {
  const std::shared_ptr<MappedFile> map = MappedFile::open(path);
  const std::shared_ptr<SafetensorsFile> file = parse(map->bytes(), path, map, limits);
  file->map_ = map;
  return file;
}

void SafetensorsFile::drop_pages() const {
  if (map_) map_->drop_pages();
}

const uint8_t* TensorEntry::no_data() const {
  static constexpr uint8_t kNothing[1] = {};
  if (encoded) unsupported(name, "got {}, need elements that are not packed", encoded->coding());
  if (bytes > 0 || name.empty()) fail(ErrorKind::kInternal, name, "a tensor without data was read");
  return kNothing;
}

const TensorEntry* SafetensorsFile::find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<TensorSpec> specs,
                                     const std::map<std::string, std::string>& metadata)
    : specs_(std::move(specs)), file_(path), path_(path) {
  Json header = Json::object();
  if (!metadata.empty()) {
    Json meta = Json::object();
    for (const auto& [key, value] : metadata) meta.set(key, value);
    header.set("__metadata__", std::move(meta));
  }
  Json::Object& members = header.as_object(path);
  int64_t offset = 0;
  for (const TensorSpec& spec : specs_) {
    Json entry = Json::object();
    entry.set("dtype", safetensors_dtype_name(spec.dtype));
    Json shape = Json::array();
    int64_t bytes = dtype_size(spec.dtype);
    for (const int64_t dim : spec.shape) {
      shape.push_back(dim);
      bytes = checked_mul(bytes, dim, path);
    }
    entry.set("shape", std::move(shape));
    Json offsets = Json::array();
    offsets.push_back(offset);
    offset = checked_add(offset, bytes, path);
    offsets.push_back(offset);
    entry.set("data_offsets", std::move(offsets));
    members.push_back({spec.name, std::move(entry)});
  }
  std::string text = header.dump();
  text.resize(static_cast<size_t>(round_up(static_cast<int64_t>(text.size()), 8)), ' ');
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) length[static_cast<size_t>(i)] = static_cast<char>((text.size() >> (8 * i)) & 0xFF);
  file_.write(length);
  file_.write(text);
}

void SafetensorsWriter::append(const Tensor& tensor) {
  if (next_ >= specs_.size()) fail(ErrorKind::kInternal, path_, "more tensors than announced");
  const TensorSpec& spec = specs_[next_++];
  if (!tensor.is_contiguous() || tensor.dtype() != spec.dtype || tensor.dims() != spec.shape) {
    fail(ErrorKind::kInternal, path_, "{}: tensor differs from what was announced", spec.name);
  }
  file_.write({static_cast<const char*>(tensor.view().data), static_cast<size_t>(tensor.bytes())});
}

void SafetensorsWriter::finish() {
  if (next_ != specs_.size())
    fail(ErrorKind::kInternal, path_, "fewer tensors than announced: got {}, need {}", next_, specs_.size());
  file_.commit();
}

void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back({name, tensor.dtype(), tensor.dims()});
  SafetensorsWriter writer(path, std::move(specs), metadata);
  for (const auto& [name, tensor] : tensors) writer.append(tensor);
  writer.finish();
}

}  // namespace pagoda
