// When a sequence ends: end ids and lengths, and stop strings in a stream of text.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "generate/params.h"

namespace pagoda {

enum class FinishReason { kNone, kStop, kLength, kRepetition };
const char* finish_reason_name(FinishReason reason);  // "", "stop", "length", "repetition"

// After `token` became the output_length-th new token. An end id wins over the length.
FinishReason check_token(const SamplingParams& params, int32_t token, int64_t output_length);

// vLLM's repetition_detection: an answer ends once its last tokens are one pattern of min_pattern_size to max_pattern_size
// tokens, min_count times in a row.
struct RepetitionDetection {
  int64_t min_pattern_size = 1, max_pattern_size = 0, min_count = 2;
};
// ids[begin, ...): the output so far.
bool ends_in_repetition(const std::vector<int32_t>& ids, int64_t begin, const RepetitionDetection& detection);

// The stop strings of a request, once for all its sequences: an automaton over bytes, some 20 bytes large for each of theirs.
class StopAutomaton {
 public:
  // Throws kInvalidInput for an empty stop string or one that is not UTF-8.
  explicit StopAutomaton(const std::vector<std::string>& stop_strings);
  bool empty() const { return lengths_.empty(); }

 private:
  friend class StopMatcher;
  struct Node {
    int32_t first = 0;     // of its children, which lie side by side, by byte
    int32_t fallback = 0;  // the longest proper suffix that begins a stop string
    int32_t depth = 0;
    int32_t stop = -1;  // the longest stop string that ends here
    uint16_t children = 0;
    uint8_t byte = 0;  // that leads here
  };
  int32_t child(int32_t node, uint8_t byte) const;  // -1: none
  int32_t step(int32_t node, uint8_t byte) const;

  std::vector<Node> nodes_;
  std::vector<size_t> lengths_;
};

// Finds the first stop string in text that comes in pieces (each of whole characters), and says how much of the text is safe
// to show: what may still become a stop string is held back. The result does not depend on how the text is cut into pieces.
// First is the one whose end comes first; of those that end together, the longest. Small: copies go their own ways.
class StopMatcher {
 public:
  explicit StopMatcher(std::shared_ptr<const StopAutomaton> stops, bool include_stop_str = false)
      : stops_(std::move(stops)), include_(include_stop_str) {}

  // The prompt's text, or its end, before any feed: a stop string may begin in the prompt and end in the output (HF's
  // meaning), never end in the prompt. Without this call the prompt is not looked at (vLLM's meaning).
  void prime(std::string_view prompt);

  // More output; returns what may be shown now. After a match: the rest up to the match (include_stop_str: up to its end), then
  // nothing more, and everything fed later is ignored. may_end false: no stop string that ends in this piece counts, one that
  // begins here and ends later does.
  std::string feed(std::string_view piece, bool may_end = true);
  // The output has ended without a match: what was held back.
  std::string flush();

  bool matched() const { return matched_.has_value(); }
  // Index in the list given; the lowest where a string is given twice.
  std::optional<size_t> match() const { return matched_; }
  // What the last piece held after the match. HF shows it, since it ends with whole tokens: feed's text with
  // include_stop_str, then this.
  const std::string& overhang() const { return overhang_; }

 private:
  std::shared_ptr<const StopAutomaton> stops_;
  bool include_;
  int32_t node_ = 0;
  std::string held_;
  std::optional<size_t> matched_;
  std::string overhang_;
};

}  // namespace pagoda
