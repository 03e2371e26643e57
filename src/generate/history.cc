// Counts of a sequence's tokens.
#include "generate/history.h"

#include <algorithm>
#include <utility>

namespace pagoda {

TokenHistory::TokenHistory(std::vector<int32_t> prompt)
    : ids_(std::move(prompt)), prompt_length_(static_cast<int64_t>(ids_.size())) {
  std::vector<int32_t> tokens = ids_;
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  prompt_tokens_ = std::make_shared<const std::vector<int32_t>>(std::move(tokens));
}

void TokenHistory::append(int32_t id) {
  ids_.push_back(id);
  const auto [entry, is_new] = position_.try_emplace(id, static_cast<int32_t>(counts_.size()));
  if (is_new) {
    counts_.push_back({id, 1, std::binary_search(prompt_tokens_->begin(), prompt_tokens_->end(), id)});
  } else {
    ++counts_[static_cast<size_t>(entry->second)].count;
  }
}

}  // namespace pagoda
