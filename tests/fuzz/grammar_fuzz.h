// What the fuzz targets of grammars share: small limits, and a walk under the masks of what was read.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "generate/grammar/grammar.h"

namespace pagoda::grammar_fuzz {

inline GrammarLimits limits() {
  GrammarLimits out;
  out.max_source_bytes = 1 << 16;
  out.max_items = 1 << 14;
  out.max_states = 1 << 14;
  out.max_stack = 64;
  out.max_stacks = 64;
  out.max_readings = 1 << 12;
  out.max_mask_steps = 1 << 13;
  out.max_cache_bytes = 1 << 20;
  return out;
}

// Takes the lowest or the highest token in turn. A mask without tokens before the text is complete is a bug.
inline void follow(const GrammarPtr& grammar) {
  static const std::shared_ptr<const TokenVocabulary> kVocabulary = [] {
    std::vector<std::string> bytes(1);
    for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(1, static_cast<char>(byte));
    for (const char* const piece : {"{\"", "\": ", "ab", "abc", "\xC3\xA9", "\xE4\xB8", "  ", "\n ", "12", "true"})
      bytes.emplace_back(piece);
    return std::make_shared<const TokenVocabulary>(bytes);
  }();
  const std::unique_ptr<TokenConstraint> constraint = make_constraint(grammar, kVocabulary, {0});
  const int64_t size = kVocabulary->size();
  std::vector<float> logits(static_cast<size_t>(size));
  for (int step = 0; step < 24 && !constraint->complete(); ++step) {
    logits.assign(logits.size(), 0.0f);
    constraint->mask(logits.data(), size);
    int32_t low = -1, high = -1;
    for (int32_t id = 1; id < size; ++id) {
      if (!std::isfinite(logits[static_cast<size_t>(id)])) continue;
      if (low < 0) low = id;
      high = id;
    }
    if (low < 0) std::abort();
    constraint->accept(step % 3 == 0 ? high : low);
  }
}

}  // namespace pagoda::grammar_fuzz
