// Feeds bytes to the SentencePiece reader; what it accepts encodes and decodes a few texts, as SentencePiece and as the
// pipeline that a folder without a class makes of it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/sentencepiece.h"
#include "formats/sentencepiece_tree.h"
#include "formats/tokenizer_json.h"

namespace {

void use(const pagoda::Tokenizer& tokenizer) {
  for (const std::string_view text : {"", "Hello world", " a  b\n", "\u00E9e\u0301\uFB01\u4E2D\U0001F642 <sep> abcab"}) {
    const pagoda::Encoding encoding = tokenizer.encode(text, true);
    tokenizer.decode(encoding.ids, false);
  }
}

void use_as_pipeline(const pagoda::SentencePieceModel& model, const pagoda::Limits& limits) {
  const pagoda::TokenizerConfig config = pagoda::completed_by_model(model, {});
  pagoda::TokenizerJsonOptions options;
  options.decimal_scores = false;
  use(*pagoda::make_pipeline_tokenizer(
      pagoda::parse_tokenizer_json(pagoda::sentencepiece_own_tree(model, config, "fuzz"), "fuzz", limits, options)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pagoda::Limits limits;
  limits.max_items = 1 << 12;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    use_as_pipeline(pagoda::parse_sentencepiece(bytes, "fuzz", limits), limits);
  } catch (const pagoda::Error&) {
  }
  try {
    use(*pagoda::make_sentencepiece_tokenizer(pagoda::parse_sentencepiece(bytes, "fuzz", limits), {}, "fuzz"));
  } catch (const pagoda::Error&) {
  }
  return 0;
}
