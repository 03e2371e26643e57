// Feeds bytes to the tokenizer.json reader; what it accepts encodes and decodes a few texts.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pagoda::Limits limits;
  limits.max_items = 1 << 12;
  limits.max_depth = 64;
  try {
    const auto tokenizer =
        pagoda::read_tokenizer_json(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz", limits);
    for (const std::string_view text : {"", "Hello world", " a  b\n", "\u00E9e\u0301\uFB01\u4E2D\U0001F642 <s> 12"}) {
      try {
        const pagoda::Encoding encoding = tokenizer->encode(text, true);
        tokenizer->encode_ids(text, false);
        tokenizer->decode(encoding.ids, false);
        tokenizer->encode_pair(text, "b", true);
      } catch (const pagoda::Error&) {
      }
    }
  } catch (const pagoda::Error&) {
  }
  return 0;
}
