// References, the free list, and pages known by their content.
#include "engine/block_pool.h"

#include "base/error.h"

namespace pagoda {

BlockPool::BlockPool(int64_t num_blocks) : pages_(static_cast<size_t>(num_blocks) + 1) {
  const auto end = static_cast<int32_t>(num_blocks);
  page(end).next = page(end).previous = end;
  for (int32_t block = 0; block < end; ++block) insert_free(block, end);
}

void BlockPool::insert_free(int32_t block, int32_t before) {
  Page& entry = page(block);
  entry.next = before;
  entry.previous = page(before).previous;
  page(entry.previous).next = block;
  page(before).previous = block;
  ++num_free_;
}

void BlockPool::remove_free(int32_t block) {
  const Page& entry = page(block);
  page(entry.previous).next = entry.next;
  page(entry.next).previous = entry.previous;
  --num_free_;
}

std::optional<int32_t> BlockPool::allocate() {
  const auto end = static_cast<int32_t>(num_blocks());
  const int32_t block = page(end).next;
  if (block == end) return std::nullopt;
  remove_free(block);
  page(block).references = 1;
  unpublish(block);
  return block;
}

void BlockPool::retain(int32_t block) {
  DCHECK(references(block) > 0);
  ++page(block).references;
}

void BlockPool::release(int32_t block) {
  DCHECK(references(block) > 0);
  if (--page(block).references > 0) return;
  const auto end = static_cast<int32_t>(num_blocks());
  insert_free(block, published(block) ? end : page(end).next);
}

std::optional<int32_t> BlockPool::find(const BlockHash& hash) {
  const auto known = known_.find(hash);
  if (known == known_.end()) return std::nullopt;
  const int32_t block = known->second;
  if (page(block).references++ == 0) remove_free(block);
  return block;
}

bool BlockPool::publish(int32_t block, const BlockHash& hash) {
  DCHECK(references(block) > 0 && !published(block));
  if (!known_.emplace(hash, block).second) return false;
  page(block).published = true;
  page(block).hash = hash;
  return true;
}

void BlockPool::unpublish(int32_t block) {
  Page& entry = page(block);
  if (!entry.published) return;
  known_.erase(entry.hash);
  entry.published = false;
  if (entry.references > 0) return;
  remove_free(block);
  insert_free(block, page(static_cast<int32_t>(num_blocks())).next);
}

}  // namespace pagoda
