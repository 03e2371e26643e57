// Feeds bytes to the GGUF reader and to the tokenizer in it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/tokenizer_gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pagoda::Limits limits;
  limits.max_items = 1 << 12;
  try {
    const auto file = pagoda::GgufFile::parse(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz", limits);
    const auto tokenizer = pagoda::read_gguf_tokenizer(*file, limits);
    for (const std::string_view text : {"", "Hello world", "\u00E9\u4E2D\U0001F642 ab 12"})
      tokenizer->decode(tokenizer->encode(text, true).ids, false);
  } catch (const pagoda::Error&) {
  }
  return 0;
}
