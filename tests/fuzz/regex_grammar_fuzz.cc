// Feeds bytes to the reader of regular expressions; what it accepts is followed a few tokens.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "tests/fuzz/grammar_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    pagoda::grammar_fuzz::follow(
        pagoda::compile_regex(std::string_view(reinterpret_cast<const char*>(data), size), pagoda::grammar_fuzz::limits()));
  } catch (const pagoda::Error&) {
  }
  return 0;
}
