// Feeds bytes to the reader of JSON schemas; what it accepts is followed a few tokens.
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "tests/fuzz/grammar_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    pagoda::GrammarSource source;
    source.kind = pagoda::GrammarSource::Kind::kJsonSchema;
    source.text.assign(reinterpret_cast<const char*>(data), size);
    source.json.any_whitespace = size % 2 == 0;
    pagoda::grammar_fuzz::follow(pagoda::compile(source, pagoda::grammar_fuzz::limits()));
  } catch (const pagoda::Error&) {
  }
  return 0;
}
