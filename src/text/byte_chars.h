// GPT-2's printable character for each byte, and back.
#pragma once

#include <array>
#include <cstdint>

namespace pagoda {

constexpr std::array<uint16_t, 256> make_byte_chars() {
  std::array<uint16_t, 256> chars{};
  uint16_t next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    chars[static_cast<size_t>(b)] = printable ? static_cast<uint16_t>(b) : next++;
  }
  return chars;
}

inline constexpr std::array<uint16_t, 256> kByteChars = make_byte_chars();

// The byte that `code` stands for, or -1.
inline int byte_of_char(uint32_t code) {
  if (code < 256) return kByteChars[code] == code ? static_cast<int>(code) : -1;
  if (code >= 256 + 68) return -1;
  for (int b = 0; b < 256; ++b) {
    if (kByteChars[static_cast<size_t>(b)] == code) return b;
  }
  return -1;
}

}  // namespace pagoda
