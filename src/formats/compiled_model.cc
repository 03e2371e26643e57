// The header is written first: all sizes are known before the first weight.
#include "formats/compiled_model.h"

#include <cstring>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/error.h"

namespace pagoda {

namespace {

constexpr std::string_view kMagic = "PAGODACM";
constexpr uint32_t kVersion = 1;
constexpr int64_t kPrefix = 64, kPage = 4096;
constexpr int64_t kMostSize = int64_t{1} << 46;  // sums of such do not overflow

template <class T>
T read(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <class T>
void put(std::string& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

int64_t size_of(const Json& json, const char* field, const std::string& where) {
  const int64_t value = json.at(field, where).as_int(where);
  if (value < 1 || value > kMostSize) invalid(where, "{}: got {}, need 1 to {}", field, value, kMostSize);
  return value;
}

Json header_of(const Json& key, const std::vector<CompiledWeight>& weights) {
  Json list = Json::array(), header = Json::object();
  for (const CompiledWeight& weight : weights) {
    Json parts = Json::array(), json = Json::object();
    for (const auto& [name, rows] : weight.parts) {
      Json part = Json::object();
      part.set("name", name).set("rows", rows);
      parts.push_back(std::move(part));
    }
    json.set("parts", std::move(parts)).set("layout", weight.layout).set("n", weight.n).set("k", weight.k);
    json.set("offset", weight.offset).set("bytes", weight.bytes);
    list.push_back(std::move(json));
  }
  header.set("key", key).set("weights", std::move(list));
  return header;
}

}  // namespace

std::shared_ptr<const CompiledFile> CompiledFile::open(const std::string& path, const Limits& limits) {
  const std::shared_ptr<MappedFile> file = MappedFile::open(path);
  return parse({reinterpret_cast<const char*>(file->data()), static_cast<size_t>(file->size())}, path, file, limits);
}

std::shared_ptr<const CompiledFile> CompiledFile::parse(std::string_view bytes, const std::string& where,
                                                        std::shared_ptr<const void> owner, const Limits& limits) {
  const auto size = static_cast<int64_t>(bytes.size());
  if (size < kPrefix || bytes.substr(0, kMagic.size()) != kMagic) invalid(where, "not a compiled model");
  if (const auto version = read<uint32_t>(bytes, 8); version != kVersion)
    unsupported(where, "compiled model of format {}: need {}", version, kVersion);
  const auto header_bytes = read<uint64_t>(bytes, 16), file_bytes = read<uint64_t>(bytes, 24);
  if (file_bytes != bytes.size()) invalid(where, "damaged: got {} bytes, need {}", size, file_bytes);
  if (header_bytes > static_cast<uint64_t>(limits.max_json_bytes) || header_bytes > static_cast<uint64_t>(size - kPrefix))
    invalid(where, "damaged: header of {} bytes in a file of {}", header_bytes, size);
  const std::string_view header = bytes.substr(kPrefix, header_bytes);
  if (crc32c(header) != read<uint32_t>(bytes, 12)) invalid(where, "damaged: the header's checksum is wrong");
  const Json json = Json::parse(header, where, limits);
  const std::shared_ptr<CompiledFile> file(new CompiledFile);
  file->bytes_ = bytes;
  file->owner_ = std::move(owner);
  file->key_ = json.at("key", where);
  if (!file->key_.is_object()) invalid(where, "key: got {}, need an object", file->key_.type_name());
  int64_t least = kPrefix + static_cast<int64_t>(header_bytes);
  for (const Json& weight : json.at("weights", where).as_array(where)) {
    file->read_weight(weight, where, least);
    least = file->weights_.back().offset + file->weights_.back().bytes;
  }
  return file;
}

void CompiledFile::read_weight(const Json& json, const std::string& where, int64_t least_offset) {
  CompiledWeight weight;
  int64_t rows = 0;
  for (const Json& part : json.at("parts", where).as_array(where)) {
    weight.parts.emplace_back(part.at("name", where).as_string(where), size_of(part, "rows", where));
    rows = checked_add(rows, weight.parts.back().second, where);
  }
  if (weight.parts.empty()) invalid(where, "a weight without parts");
  const std::string& name = weight.parts[0].first;
  weight.layout = json.at("layout", where).as_string(where);
  weight.n = size_of(json, "n", where);
  weight.k = size_of(json, "k", where);
  weight.offset = size_of(json, "offset", where);
  weight.bytes = size_of(json, "bytes", where);
  if (rows != weight.n) invalid(where, "{}: got {} rows, need {}", name, rows, weight.n);
  if (weight.offset < least_offset || weight.offset % kPage != 0 ||
      weight.offset + weight.bytes > static_cast<int64_t>(bytes_.size())) {
    invalid(where, "{}: damaged: bytes {} to {} of {}, need a page of its own behind byte {}", name, weight.offset,
            weight.offset + weight.bytes, bytes_.size(), least_offset);
  }
  if (!index_.emplace(name, weights_.size()).second) invalid(where, "{} is there twice", name);
  weights_.push_back(std::move(weight));
}

const CompiledWeight* CompiledFile::find(const std::string& first_part) const {
  const auto at = index_.find(first_part);
  return at == index_.end() ? nullptr : &weights_[at->second];
}

void write_compiled(const std::string& path, const Json& key, std::vector<CompiledWeight> weights,
                    const std::vector<const void*>& data, const TaskHooks& hooks) {
  // The header's length depends on the offsets, which depend on it: room is kept for numbers of any length.
  for (CompiledWeight& weight : weights) weight.offset = kMostSize;
  const int64_t first = round_up(kPrefix + static_cast<int64_t>(header_of(key, weights).dump().size()), kPage);
  int64_t at = first;
  for (CompiledWeight& weight : weights) {
    weight.offset = at;
    at = round_up(checked_add(at, weight.bytes, path), kPage);
  }
  const int64_t end = weights.empty() ? first : weights.back().offset + weights.back().bytes;
  const std::string header = header_of(key, weights).dump();
  std::string begin(static_cast<size_t>(first), '\0');
  std::memcpy(begin.data(), kMagic.data(), kMagic.size());
  put<uint32_t>(begin, 8, kVersion);
  put<uint32_t>(begin, 12, crc32c(header));
  put<uint64_t>(begin, 16, header.size());
  put<uint64_t>(begin, 24, static_cast<uint64_t>(end));
  std::memcpy(begin.data() + kPrefix, header.data(), header.size());
  AtomicFile file(path);
  file.write(begin);
  const std::string zeros(static_cast<size_t>(kPage), '\0');
  for (size_t i = 0; i < weights.size(); ++i) {
    hooks.check();
    file.write({static_cast<const char*>(data[i]), static_cast<size_t>(weights[i].bytes)});
    const int64_t after = weights[i].offset + weights[i].bytes;
    if (i + 1 < weights.size())
      file.write(std::string_view(zeros).substr(0, static_cast<size_t>(weights[i + 1].offset - after)));
  }
  hooks.check();
  file.commit();
}

}  // namespace pagoda
