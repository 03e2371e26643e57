// Stop strings by an automaton over bytes (Aho and Corasick 1975): UTF-8 strings match at character borders only.
#include "generate/stop.h"

#include <algorithm>
#include <deque>

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda {

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone: return "";
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kRepetition: return "repetition";
  }
  return "";
}

FinishReason check_token(const SamplingParams& params, int32_t token, int64_t output_length) {
  const auto holds = [token](const std::vector<int32_t>& ids) { return std::find(ids.begin(), ids.end(), token) != ids.end(); };
  if ((!params.ignore_eos && holds(params.eos_token_ids)) || holds(params.stop_token_ids)) return FinishReason::kStop;
  return output_length >= params.max_new_tokens ? FinishReason::kLength : FinishReason::kNone;
}

bool ends_in_repetition(const std::vector<int32_t>& ids, int64_t begin, const RepetitionDetection& detection) {
  const auto end = static_cast<int64_t>(ids.size());
  for (int64_t size = detection.min_pattern_size; size <= detection.max_pattern_size; ++size) {
    // The last count * size tokens are a pattern repeated where each equals the one `size` before it.
    const int64_t first = end - size * detection.min_count;
    if (first < begin) return false;
    int64_t i = end - 1;
    while (i >= first + size && ids[static_cast<size_t>(i)] == ids[static_cast<size_t>(i - size)]) --i;
    if (i < first + size) return true;
  }
  return false;
}

StopMatcher::StopMatcher(const std::vector<std::string>& stop_strings, bool include_stop_str)
    : nodes_(1), include_(include_stop_str) {
  for (const std::string& stop : stop_strings) {
    if (stop.empty()) invalid("stop strings", "a stop string is empty: got \"\", need at least one character");
    if (!utf8_valid(stop)) {
      invalid("stop strings", "a stop string is not UTF-8: got a bad byte at {}, need UTF-8", utf8_invalid_at(stop));
    }
    add(stop, static_cast<int32_t>(lengths_.size()));
    lengths_.push_back(stop.size());
  }
  link();
}

void StopMatcher::add(const std::string& stop, int32_t index) {
  int32_t node = 0;
  for (const char c : stop) {
    const auto fresh = static_cast<int32_t>(nodes_.size());
    const auto [edge, is_new] = nodes_[static_cast<size_t>(node)].next.try_emplace(static_cast<unsigned char>(c), fresh);
    const int32_t child = edge->second;
    if (is_new) {
      const int32_t depth = nodes_[static_cast<size_t>(node)].depth + 1;
      nodes_.emplace_back();
      nodes_.back().depth = depth;
    }
    node = child;
  }
  int32_t& stop_here = nodes_[static_cast<size_t>(node)].stop;
  if (stop_here < 0) stop_here = index;
}

void StopMatcher::link() {
  std::deque<int32_t> queue = {0};
  while (!queue.empty()) {
    const int32_t at = queue.front();
    queue.pop_front();
    for (const auto& [byte, child] : nodes_[static_cast<size_t>(at)].next) {
      Node& node = nodes_[static_cast<size_t>(child)];
      node.fallback = at == 0 ? 0 : step(nodes_[static_cast<size_t>(at)].fallback, byte);
      if (node.stop < 0) node.stop = nodes_[static_cast<size_t>(node.fallback)].stop;
      queue.push_back(child);
    }
  }
}

int32_t StopMatcher::step(int32_t node, unsigned char byte) const {
  for (;;) {
    const Node& here = nodes_[static_cast<size_t>(node)];
    const auto edge = here.next.find(byte);
    if (edge != here.next.end()) return edge->second;
    if (node == 0) return 0;
    node = here.fallback;
  }
}

void StopMatcher::prime(std::string_view prompt) {
  for (const char c : prompt) node_ = step(node_, static_cast<unsigned char>(c));
}

std::string StopMatcher::feed(std::string_view piece) {
  if (matched_) return {};
  for (size_t i = 0; i < piece.size(); ++i) {
    node_ = step(node_, static_cast<unsigned char>(piece[i]));
    held_.push_back(piece[i]);
    const int32_t stop = nodes_[static_cast<size_t>(node_)].stop;
    if (stop < 0) continue;
    matched_ = static_cast<size_t>(stop);
    overhang_ = piece.substr(i + 1);
    // A match that began in the prompt takes all of the output so far.
    if (!include_) held_.resize(held_.size() - std::min(held_.size(), lengths_[*matched_]));
    return flush();
  }
  const size_t keep = std::min(held_.size(), static_cast<size_t>(nodes_[static_cast<size_t>(node_)].depth));
  std::string safe = held_.substr(0, held_.size() - keep);
  held_.erase(0, safe.size());
  return safe;
}

std::string StopMatcher::flush() {
  std::string rest;
  rest.swap(held_);
  return rest;
}

}  // namespace pagoda
