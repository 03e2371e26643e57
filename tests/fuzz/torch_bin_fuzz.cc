// Feeds bytes to the pytorch_model.bin reader: as an archive, and as a pickle with two small storages.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "formats/torch_bin.h"
#include "formats/torch_pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  pagoda::Limits limits;
  limits.max_items = 1 << 16;
  limits.max_steps = 1 << 20;
  try {
    if ((data[0] & 1) == 0) {
      // What was accepted must be readable to its last byte.
      for (const auto& tensor : pagoda::parse_torch_bin(bytes, "fuzz", limits)) {
        if (tensor.bytes > (1 << 20)) continue;
        std::vector<uint8_t> out(static_cast<size_t>(tensor.bytes));
        pagoda::copy_torch_tensor(tensor, out.data());
      }
    } else {
      static const std::string_view kStorage("0123456789abcdef");
      const auto record = [](std::string_view key) { return key == "0" || key == "1" ? &kStorage : nullptr; };
      pagoda::run_torch_pickle(bytes, "fuzz", limits, record);
    }
  } catch (const pagoda::Error&) {
  }
  return 0;
}
