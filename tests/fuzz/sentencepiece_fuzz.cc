// Feeds bytes to the SentencePiece reader; what it accepts encodes and decodes a few texts.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/sentencepiece.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pagoda::Limits limits;
  limits.max_items = 1 << 12;
  try {
    const auto tokenizer = pagoda::make_sentencepiece_tokenizer(
        pagoda::parse_sentencepiece(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz", limits), {}, "fuzz");
    for (const std::string_view text : {"", "Hello world", " a  b\n", "\u00E9e\u0301\uFB01\u4E2D\U0001F642 <sep> abcab"}) {
      const pagoda::Encoding encoding = tokenizer->encode(text, true);
      tokenizer->decode(encoding.ids, false);
    }
  } catch (const pagoda::Error&) {
  }
  return 0;
}
