// When a sequence ends: end ids and lengths, and stop strings in a stream of text.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
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

// Finds the first stop string in text that comes in pieces (each of whole characters), and says how much of the text is safe
// to show: what may still become a stop string is held back. The result does not depend on how the text is cut into pieces.
// First is the one whose end comes first; of those that end together, the longest.
class StopMatcher {
 public:
  // Throws kInvalidInput for an empty stop string or one that is not UTF-8.
  explicit StopMatcher(const std::vector<std::string>& stop_strings, bool include_stop_str = false);

  // The prompt's text, or its end, before any feed: a stop string may begin in the prompt and end in the output (HF's
  // meaning), never end in the prompt. Without this call the prompt is not looked at (vLLM's meaning).
  void prime(std::string_view prompt);

  // More output; returns what may be shown now. After a match: the rest up to the match (include_stop_str: up to its end), then
  // nothing more, and everything fed later is ignored.
  std::string feed(std::string_view piece);
  // The output has ended without a match: what was held back.
  std::string flush();

  bool matched() const { return matched_.has_value(); }
  // Index in the list given; the lowest where a string is given twice.
  std::optional<size_t> match() const { return matched_; }
  // What the last piece held after the match. HF shows it, since it ends with whole tokens: feed's text with
  // include_stop_str, then this.
  const std::string& overhang() const { return overhang_; }

 private:
  struct Node {
    std::map<unsigned char, int32_t> next;
    int32_t fallback = 0;  // the longest proper suffix that begins a stop string
    int32_t depth = 0;
    int32_t stop = -1;  // the longest stop string that ends here
  };

  void add(const std::string& stop, int32_t index);
  void link();
  int32_t step(int32_t node, unsigned char byte) const;

  std::vector<Node> nodes_;
  std::vector<size_t> lengths_;
  bool include_;
  int32_t node_ = 0;
  std::string held_;
  std::optional<size_t> matched_;
  std::string overhang_;
};

}  // namespace pagoda
