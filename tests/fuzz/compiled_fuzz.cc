// Feeds bytes to the reader of compiled models: as they are, and as the header of a file whose lengths and checksum are right.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/crc32c.h"
#include "base/error.h"
#include "formats/compiled_model.h"

namespace {

void read(std::string_view bytes) {
  pagoda::Limits limits;
  limits.max_json_bytes = 1 << 16;
  limits.max_items = 1 << 12;
  try {
    const auto file = pagoda::CompiledFile::parse(bytes, "fuzz", nullptr, limits);
    volatile uint8_t sum = 0;
    for (const pagoda::CompiledWeight& weight : file->weights()) {
      const auto* data = static_cast<const uint8_t*>(file->data(weight));
      sum = static_cast<uint8_t>(sum + data[0] + data[weight.bytes - 1]);
    }
  } catch (const pagoda::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  read(bytes);
  if (size > 1 << 14) return 0;
  std::string whole(size_t{1} << 15, '\0');
  const uint32_t version = 1, crc = pagoda::crc32c(bytes);
  const uint64_t header = size, total = whole.size();
  std::memcpy(whole.data(), "PAGODACM", 8);
  std::memcpy(whole.data() + 8, &version, 4);
  std::memcpy(whole.data() + 12, &crc, 4);
  std::memcpy(whole.data() + 16, &header, 8);
  std::memcpy(whole.data() + 24, &total, 8);
  std::memcpy(whole.data() + 64, data, size);
  read(whole);
  return 0;
}
