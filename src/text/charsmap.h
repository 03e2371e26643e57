// SentencePiece's precompiled character map: a double-array trie from strings to replacements.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda {

class Charsmap {
 public:
  // Layout: little-endian uint32 size of the trie in bytes, the trie's 32-bit units, the replacements, each ended by NUL.
  // An empty blob is a map that changes nothing. Throws kInvalidInput.
  static Charsmap parse(std::string_view blob, std::string_view where);

  struct Match {
    size_t length = 0;  // matched bytes; 0: none
    std::string_view replacement;
  };
  Match shortest(std::string_view text) const;  // the shortest key that is a prefix of text: what HF takes
  Match longest(std::string_view text) const;   // the longest: what SentencePiece takes
  bool empty() const { return units_.empty(); }

 private:
  template <class Found>
  void walk(std::string_view text, Found&& found) const;
  std::string_view replacement(uint32_t offset) const;
  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace pagoda
