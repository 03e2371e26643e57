// Feeds bytes to the tiktoken reader: the first line is the pattern, the rest the ranks, the single bytes added.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "formats/tiktoken.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(bytes.find('\n'), bytes.size());
  pagoda::Limits limits;
  limits.max_items = 1 << 12;
  const auto run = [&](const std::string& ranks) {
    try {
      const auto tokenizer = pagoda::read_tiktoken(ranks, bytes.substr(0, line), "fuzz", limits);
      for (const std::string_view text : {"Hello world 123", " a\n\n b", "\u00E9\u4E2D\U0001F642"})
        tokenizer->decode(tokenizer->encode_ids(text, true), false);
    } catch (const pagoda::Error&) {
    }
  };
  const std::string rest(bytes.substr(std::min(line + 1, bytes.size())));
  run(rest);
  // With all single bytes there the rest matters.
  static const char* const kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string whole;
  for (int b = 0; b < 256; ++b)
    whole += {kAlphabet[b >> 2], kAlphabet[(b & 3) << 4], '=', '=', ' '}, whole += std::to_string(b) + "\n";
  run(whole + rest);
  return 0;
}
