// Feeds bytes to the safetensors reader, and reads what it accepted to the last byte.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pagoda::Limits limits;
  limits.max_items = 1 << 12;
  try {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const auto file = pagoda::SafetensorsFile::parse(bytes, "fuzz", nullptr, limits);
    unsigned sum = 0;
    for (const pagoda::TensorEntry& tensor : file->tensors()) {
      if (file->find(tensor.name) == nullptr) __builtin_trap();
      for (int64_t i = 0; i < tensor.bytes; ++i) sum += tensor.data()[i];
    }
    [[maybe_unused]] volatile unsigned seen = sum;  // the reads must not be optimised away
  } catch (const pagoda::Error&) {
  }
  return 0;
}
