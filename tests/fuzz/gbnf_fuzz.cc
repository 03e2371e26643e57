// Feeds bytes to the readers of GBNF and Lark; what they accept is followed a few tokens.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "tests/fuzz/grammar_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  for (const bool lark : {false, true}) {
    try {
      const pagoda::GrammarLimits limits = pagoda::grammar_fuzz::limits();
      pagoda::grammar_fuzz::follow(lark ? pagoda::compile_lark(source, limits) : pagoda::compile_gbnf(source, limits));
    } catch (const pagoda::Error&) {
    }
  }
  return 0;
}
