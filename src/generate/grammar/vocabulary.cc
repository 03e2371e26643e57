// The tree is read off the sorted tokens: each shares a prefix with the one before.
#include "generate/grammar/vocabulary.h"

#include <algorithm>
#include <numeric>

namespace pagoda {

namespace {

constexpr size_t kMostBytes = 4096;  // longer tokens are never offered

}  // namespace

TokenVocabulary::TokenVocabulary(const Tokenizer& tokenizer) {
  bytes_.resize(static_cast<size_t>(tokenizer.id_limit()));
  for (size_t id = 0; id < bytes_.size(); ++id) {
    if (tokenizer.is_special(static_cast<int32_t>(id))) continue;
    if (std::optional<std::string> bytes = tokenizer.token_bytes(static_cast<int32_t>(id))) bytes_[id] = std::move(*bytes);
  }
  build();
}

TokenVocabulary::TokenVocabulary(const std::vector<std::string>& bytes_by_id) : bytes_(bytes_by_id) { build(); }

void TokenVocabulary::build() {
  size_ = static_cast<int64_t>(bytes_.size());
  std::vector<int32_t> order;
  for (size_t id = 0; id < bytes_.size(); ++id) {
    if (bytes_[id].empty() || bytes_[id].size() > kMostBytes) continue;
    order.push_back(static_cast<int32_t>(id));
    longest_ = std::max(longest_, static_cast<int64_t>(bytes_[id].size()));
  }
  // Lowest id first among equals, so that the tree does not depend on the sort.
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const int compared = bytes(a).compare(bytes(b));
    return compared != 0 ? compared < 0 : a < b;
  });
  nodes_.push_back({0, 0, 0, 0});
  std::vector<int32_t> path = {0};  // nodes of the last token's prefixes
  const std::string* last = nullptr;
  for (const int32_t id : order) {
    const std::string& text = bytes(id);
    size_t shared = 0;
    while (last != nullptr && shared < text.size() && shared < last->size() && text[shared] == (*last)[shared]) ++shared;
    while (path.size() > shared + 1) {
      nodes_[static_cast<size_t>(path.back())].end = static_cast<int32_t>(nodes_.size());
      path.pop_back();
    }
    for (size_t i = shared; i < text.size(); ++i) {
      path.push_back(static_cast<int32_t>(nodes_.size()));
      nodes_.push_back({0, static_cast<int32_t>(tokens_.size()), static_cast<uint16_t>(i + 1), static_cast<uint8_t>(text[i])});
    }
    tokens_.push_back(id);
    last = &text;
  }
  for (const int32_t node : path) nodes_[static_cast<size_t>(node)].end = static_cast<int32_t>(nodes_.size());
  nodes_.push_back({static_cast<int32_t>(nodes_.size()), static_cast<int32_t>(tokens_.size()), 0, 0});
  nodes_.shrink_to_fit();
}

int64_t TokenVocabulary::memory_bytes() const {
  size_t total =
      nodes_.capacity() * sizeof(Node) + tokens_.capacity() * sizeof(int32_t) + bytes_.capacity() * sizeof(std::string);
  for (const std::string& text : bytes_) total += text.capacity() > 15 ? text.capacity() : 0;
  return static_cast<int64_t>(total);
}

}  // namespace pagoda
