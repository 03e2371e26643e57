// Copy on write, prefixes found and published, windows trimmed.
#include "engine/block_manager.h"

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "ops/attention.h"

namespace pagoda {

bool BlockManager::reserve(BlockTable& table, int64_t length, std::vector<BlockCopy>& copies) {
  const auto have = static_cast<int64_t>(table.blocks.size());
  const int64_t need = div_up(length, kPageTokens);
  const int64_t first_written = table.num_tokens / kPageTokens;
  int64_t missing = std::max<int64_t>(0, need - have);
  for (int64_t i = first_written; i < have; ++i) missing += pool_.references(table.blocks[static_cast<size_t>(i)]) > 1 ? 1 : 0;
  if (missing > pool_.num_free()) return false;
  for (int64_t i = first_written; i < have; ++i) {
    int32_t& block = table.blocks[static_cast<size_t>(i)];
    if (pool_.references(block) == 1) continue;
    const int32_t own = *pool_.allocate();
    copies.push_back({block, own});
    pool_.release(block);
    block = own;
  }
  for (int64_t i = have; i < need; ++i) table.blocks.push_back(*pool_.allocate());
  return true;
}

BlockTable BlockManager::fork(const BlockTable& table) {
  for (const int32_t block : table.blocks) {
    if (block >= 0) pool_.retain(block);
  }
  return table;
}

void BlockManager::release(BlockTable& table, bool forget) {
  // Tail first: what is handed out first is what is least likely to be shared.
  for (auto block = table.blocks.rbegin(); block != table.blocks.rend(); ++block) {
    if (*block < 0) continue;
    if (forget && pool_.references(*block) == 1) pool_.unpublish(*block);
    pool_.release(*block);
  }
  table = BlockTable();
}

int64_t BlockManager::find_prefix(BlockTable& table, const BlockHash& root, const std::vector<int32_t>& ids, int64_t most) {
  DCHECK(table.blocks.empty());
  BlockHash hash = root;
  for (int64_t end = kPageTokens; end <= std::min<int64_t>(most, static_cast<int64_t>(ids.size())); end += kPageTokens) {
    hash = hasher_.next(hash, ids.data() + end - kPageTokens);
    const std::optional<int32_t> block = pool_.find(hash);
    if (!block) break;
    table.blocks.push_back(*block);
    table.hashes.push_back(hash);
    table.num_tokens = end;
  }
  return table.num_tokens;
}

void BlockManager::publish(BlockTable& table, const BlockHash& root, const std::vector<int32_t>& ids, int64_t length) {
  while (static_cast<int64_t>(table.hashes.size() + 1) * kPageTokens <= length) {
    const size_t i = table.hashes.size();
    const BlockHash hash = hasher_.next(i == 0 ? root : table.hashes.back(), ids.data() + i * kPageTokens);
    table.hashes.push_back(hash);
    if (table.blocks[i] >= 0) pool_.publish(table.blocks[i], hash);
  }
}

void BlockManager::retract(BlockTable& table) {
  const auto kept = std::min(static_cast<size_t>(table.num_tokens / kPageTokens), table.hashes.size());
  for (size_t i = kept; i < table.hashes.size(); ++i) pool_.unpublish(table.blocks[i]);
  table.hashes.resize(kept);
}

void BlockManager::trim(BlockTable& table) {
  if (window_ <= 0) return;
  // Kernels read whole blocks of kKeyBlock keys and mask what the window leaves out: only blocks with no visible key go.
  const int64_t visible = std::max<int64_t>(0, table.num_tokens + 1 - window_) / kKeyBlock * kKeyBlock;
  for (int64_t i = visible / kPageTokens - 1; i >= 0 && table.blocks[static_cast<size_t>(i)] >= 0; --i) {
    pool_.release(table.blocks[static_cast<size_t>(i)]);
    table.blocks[static_cast<size_t>(i)] = -1;
  }
}

}  // namespace pagoda
