// Stop strings by an automaton over bytes (Aho and Corasick 1975): UTF-8 strings match at character borders only.
#include "generate/stop.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/stable_sort.h"
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

// Breadth first over the sorted strings: those that share a node's text are a range of them, those of its children its parts.
StopAutomaton::StopAutomaton(const std::vector<std::string>& stop_strings) : nodes_(1) {
  for (const std::string& stop : stop_strings) {
    if (stop.empty()) invalid("stop strings", "a stop string is empty: got \"\", need at least one character");
    if (!utf8_valid(stop)) {
      invalid("stop strings", "a stop string is not UTF-8: got a bad byte at {}, need UTF-8", utf8_invalid_at(stop));
    }
    lengths_.push_back(stop.size());
  }
  std::vector<int32_t> order(stop_strings.size());
  std::iota(order.begin(), order.end(), 0);
  const auto text = [&](size_t place) -> const std::string& { return stop_strings[static_cast<size_t>(order[place])]; };
  stable_sort(
      order, [&](int32_t a, int32_t b) { return stop_strings[static_cast<size_t>(a)] < stop_strings[static_cast<size_t>(b)]; });
  struct Range {
    size_t begin, end;
  };
  std::vector<Range> ranges = {{0, order.size()}};  // of nodes_
  for (size_t at = 0; at < nodes_.size(); ++at) {
    const auto depth = static_cast<size_t>(nodes_[at].depth);
    auto [begin, end] = ranges[at];
    // The shortest come first: those that end here.
    while (begin < end && text(begin).size() == depth) ++begin;
    nodes_[at].first = static_cast<int32_t>(nodes_.size());
    while (begin < end) {
      const auto byte = static_cast<uint8_t>(text(begin)[depth]);
      size_t next = begin + 1;
      while (next < end && static_cast<uint8_t>(text(next)[depth]) == byte) ++next;
      Node node;
      node.byte = byte;
      node.depth = static_cast<int32_t>(depth + 1);
      // All nodes of less depth are there, and so are the children of those of even less.
      node.fallback = at == 0 ? 0 : step(nodes_[at].fallback, byte);
      node.stop = text(begin).size() == depth + 1 ? order[begin] : nodes_[static_cast<size_t>(node.fallback)].stop;
      nodes_.push_back(node);
      ranges.push_back({begin, next});
      ++nodes_[at].children;
      begin = next;
    }
  }
}

int32_t StopAutomaton::child(int32_t node, uint8_t byte) const {
  const Node& here = nodes_[static_cast<size_t>(node)];
  const auto begin = nodes_.begin() + here.first, end = begin + here.children;
  const auto found = std::lower_bound(begin, end, byte, [](const Node& each, uint8_t wanted) { return each.byte < wanted; });
  return found != end && found->byte == byte ? static_cast<int32_t>(found - nodes_.begin()) : -1;
}

int32_t StopAutomaton::step(int32_t node, uint8_t byte) const {
  for (;;) {
    const int32_t next = child(node, byte);
    if (next >= 0) return next;
    if (node == 0) return 0;
    node = nodes_[static_cast<size_t>(node)].fallback;
  }
}

void StopMatcher::prime(std::string_view prompt) {
  for (const char c : prompt) node_ = stops_->step(node_, static_cast<uint8_t>(c));
}

std::string StopMatcher::feed(std::string_view piece, bool may_end) {
  if (matched_) return {};
  if (stops_->empty()) return std::string(piece);
  for (size_t i = 0; i < piece.size(); ++i) {
    node_ = stops_->step(node_, static_cast<uint8_t>(piece[i]));
    held_.push_back(piece[i]);
    const int32_t stop = stops_->nodes_[static_cast<size_t>(node_)].stop;
    if (stop < 0 || !may_end) continue;
    matched_ = static_cast<size_t>(stop);
    overhang_ = piece.substr(i + 1);
    // A match that began in the prompt takes all of the output so far.
    if (!include_) held_.resize(held_.size() - std::min(held_.size(), stops_->lengths_[*matched_]));
    return flush();
  }
  const size_t keep = std::min(held_.size(), static_cast<size_t>(stops_->nodes_[static_cast<size_t>(node_)].depth));
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
