// Suffixes are sorted by their first max_length + 1 code points only: no longer piece is asked for, and words are short.
#include "text/train/substrings.h"

#include <algorithm>

#include "base/error.h"

namespace pagoda::text_train {

namespace {

// Code points that both suffixes share, a closing 0 included, at most `most`.
uint32_t common_prefix(const std::vector<uint32_t>& text, uint32_t a, uint32_t b, uint32_t most) {
  for (uint32_t k = 0; k < most; ++k) {
    const uint32_t code = text[a + k];
    if (code != text[b + k]) return k;
    if (code == 0) return k + 1;
  }
  return most;
}

class SuffixLess {
 public:
  SuffixLess(const std::vector<uint32_t>& text, uint32_t most) : text_(text), most_(most) {}
  bool operator()(uint32_t a, uint32_t b) const {
    for (uint32_t k = 0; k < most_; ++k) {
      const uint32_t left = text_[a + k], right = text_[b + k];
      if (left != right) return left < right;
      if (left == 0) break;
    }
    return a < b;
  }

 private:
  const std::vector<uint32_t>& text_;
  uint32_t most_;
};

void sort_suffixes(const std::vector<uint32_t>& text, uint32_t most, std::vector<uint32_t>& suffixes, ThreadPool& pool,
                   const TaskHooks& hooks) {
  constexpr int64_t kParts = 64;
  const int64_t count = static_cast<int64_t>(suffixes.size());
  const SuffixLess less(text, most);
  const auto at = [&](int64_t part) { return suffixes.begin() + count * std::min(part, kParts) / kParts; };
  std::atomic<int64_t> done{0};
  pool.parallel_for(kParts, 1, [&](int64_t part, int64_t, int thread) {
    hooks.check();
    std::sort(at(part), at(part + 1), less);
    const int64_t now = done.fetch_add(1) + 1;
    if (thread == 0) hooks.at("suffixes", now, 2 * kParts);
  });
  for (int64_t width = 1, level = 1; width < kParts; width *= 2, ++level) {
    hooks.at("suffixes", kParts + level * kParts / 7, 2 * kParts);
    pool.parallel_for(kParts / (2 * width), 1, [&](int64_t pair, int64_t, int) {
      const int64_t first = pair * 2 * width;
      std::vector<uint32_t> merged(static_cast<size_t>(at(first + 2 * width) - at(first)));
      std::merge(at(first), at(first + width), at(first + width), at(first + 2 * width), merged.begin(), less);
      std::copy(merged.begin(), merged.end(), at(first));
    });
  }
}

}  // namespace

std::vector<Substring> repeated_substrings(const std::vector<uint32_t>& text, int64_t max_length, ThreadPool& pool,
                                           const TaskHooks& hooks) {
  if (text.size() >= UINT32_MAX) {
    invalid("unigram", "too many distinct words: got {} code points in all, need fewer than {}", text.size(), UINT32_MAX);
  }
  if (text.empty()) return {};
  const uint32_t most = static_cast<uint32_t>(std::clamp<int64_t>(max_length, 1, 1 << 20)) + 1;
  std::vector<uint32_t> suffixes;
  suffixes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != 0) suffixes.push_back(static_cast<uint32_t>(i));
  }
  sort_suffixes(text, most, suffixes, pool, hooks);

  struct Open {
    uint32_t depth;
    size_t first;
  };
  std::vector<Open> open{{0, 0}};
  std::vector<Substring> found;
  for (size_t i = 1; i <= suffixes.size(); ++i) {
    const uint32_t shared = i < suffixes.size() ? common_prefix(text, suffixes[i - 1], suffixes[i], most) : 0;
    size_t first = i - 1;
    while (open.back().depth > shared) {
      const Open node = open.back();
      open.pop_back();
      first = node.first;
      const uint32_t begin = suffixes[i - 1];
      if (node.depth >= 2 && node.depth < most && text[begin + node.depth - 1] != 0) {
        found.push_back({begin, node.depth, static_cast<int64_t>(i - node.first)});
      }
    }
    if (open.back().depth < shared) open.push_back({shared, first});
  }
  return found;
}

}  // namespace pagoda::text_train
