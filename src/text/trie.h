// A trie over bytes for common-prefix search, as one hash table from (node, byte) to node.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/vocab.h"

namespace pagoda {

class Trie {
 public:
  Trie() : values_(1, -1) {}

  // The last value given for a key wins.
  void add(std::string_view key, int32_t value) {
    uint32_t node = 0;
    for (const char c : key) node = child_or_new(node, static_cast<unsigned char>(c));
    values_[node] = value;
  }

  // found(length, value) for every key that text begins with, shortest first.
  template <class Found>
  void prefixes(std::string_view text, Found&& found) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node == 0) return;
      if (values_[node] >= 0) found(i + 1, values_[node]);
    }
  }

 private:
  uint32_t child(uint32_t node, unsigned char byte) const {
    if (node == 0) return roots_[byte];
    const uint32_t* const next = edges_.find((static_cast<uint64_t>(node) << 8) | byte);
    return next == nullptr ? 0 : *next;
  }
  uint32_t child_or_new(uint32_t node, unsigned char byte) {
    uint32_t& next = node == 0 ? roots_[byte] : edges_[(static_cast<uint64_t>(node) << 8) | byte];
    if (next == 0) {
      next = static_cast<uint32_t>(values_.size());
      values_.push_back(-1);
    }
    return next;
  }
  std::vector<int32_t> values_;
  uint32_t roots_[256] = {};
  FlatMap<uint32_t> edges_;
};

}  // namespace pagoda
