// Feeds bytes to the reader of tekken.json; what it accepts encodes and decodes a few texts.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/tekken.h"
#include "formats/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pagoda::Limits limits;
  limits.max_items = 1 << 12;
  limits.max_depth = 64;
  try {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const pagoda::Json tree = pagoda::tekken_tree(pagoda::Json::parse(bytes, "fuzz", limits), "fuzz", limits);
    const auto tokenizer = pagoda::make_pipeline_tokenizer(pagoda::parse_tokenizer_json(tree, "fuzz", limits));
    for (const std::string_view text : {"", "Hello world", " a  b\n", "\u00E9e\u0301\uFB01\u4E2D\U0001F642 <s>[INST] abcab"}) {
      tokenizer->decode(tokenizer->encode(text, true).ids, false);
    }
  } catch (const pagoda::Error&) {
  }
  return 0;
}
