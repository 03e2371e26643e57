// Double-array units as darts-clone writes them: offset in bits 10..30 (shifted by 8 when bit 9 is set), leaf flag bit 8, label
// in the low byte with bit 31, value in the low 31 bits of a leaf.
#include "text/charsmap.h"

#include <algorithm>

#include "base/error.h"

namespace pagoda {

Charsmap Charsmap::parse(std::string_view blob, std::string_view where) {
  Charsmap map;
  if (blob.empty()) return map;
  const auto word = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value |= static_cast<uint32_t>(static_cast<unsigned char>(blob[at + i])) << (8 * i);
    return value;
  };
  if (blob.size() < 4) invalid(where, "precompiled charsmap too short: got {} bytes, need 4", blob.size());
  const size_t bytes = word(0);
  if (bytes % 4 != 0 || bytes > blob.size() - 4) {
    invalid(where, "precompiled charsmap: got a trie of {} bytes in {}, need a multiple of 4 that fits", bytes,
            blob.size() - 4);
  }
  map.units_.resize(bytes / 4);
  for (size_t i = 0; i < map.units_.size(); ++i) map.units_[i] = word(4 + 4 * i);
  map.replacements_ = blob.substr(4 + bytes);
  return map;
}

std::string_view Charsmap::replacement(uint32_t offset) const {
  if (offset >= replacements_.size()) return {};
  const std::string_view rest = std::string_view(replacements_).substr(offset);
  return rest.substr(0, rest.find('\0'));
}

template <class Found>
void Charsmap::walk(std::string_view text, Found&& found) const {
  const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); };
  if (units_.empty()) return;
  uint32_t node = offset(units_[0]);
  // Nothing says that the units are a tree: a ring of them would match to the end of the text, at every character anew.
  constexpr size_t kMaxKeyBytes = 1024;
  for (size_t i = 0; i < std::min(text.size(), kMaxKeyBytes); ++i) {
    const uint32_t byte = static_cast<unsigned char>(text[i]);
    if (byte == 0) return;
    node ^= byte;
    if (node >= units_.size()) return;
    const uint32_t unit = units_[node];
    if ((unit & ((1u << 31) | 0xFF)) != byte) return;
    node ^= offset(unit);
    if (((unit >> 8) & 1) == 0) continue;
    if (node >= units_.size()) return;
    if (found(i + 1, units_[node] & 0x7FFFFFFF)) return;
  }
}

Charsmap::Match Charsmap::shortest(std::string_view text) const {
  Match match;
  walk(text, [&](size_t length, uint32_t value) {
    match = {length, replacement(value)};
    return true;
  });
  return match;
}

Charsmap::Match Charsmap::longest(std::string_view text) const {
  size_t best = 0;
  uint32_t best_value = 0;
  walk(text, [&](size_t length, uint32_t value) {
    best = length;
    best_value = value;
    return false;
  });
  if (best == 0) return {};
  return {best, replacement(best_value)};
}

}  // namespace pagoda
