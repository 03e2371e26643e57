// A hash table over two arenas; nothing is freed one by one.
#include "text/model.h"

namespace pagoda {

bool WordCache::find(std::string_view word, uint64_t hash, Hit& hit) const {
  if (slots_.empty()) return false;
  for (size_t at = hash & (kSlots - 1); slots_[at].used; at = (at + 1) & (kSlots - 1)) {
    const Slot& slot = slots_[at];
    if (slot.hash == hash && slot.key_bytes == word.size() &&
        std::string_view(keys_).substr(slot.key, slot.key_bytes) == word) {
      hit = {entries_.data() + slot.entries, slot.count};
      return true;
    }
  }
  return false;
}

void WordCache::insert(std::string_view word, uint64_t hash, const Entry* entries, size_t count) {
  if (word.size() > kMaxWordBytes || count > 0xFFFF) return;
  if (slots_.empty()) slots_.resize(kSlots);
  if (words_ >= kMaxWords || keys_.size() + word.size() > kMaxBytes || entries_.size() + count > kMaxBytes) clear();
  size_t at = hash & (kSlots - 1);
  while (slots_[at].used) at = (at + 1) & (kSlots - 1);
  Slot& slot = slots_[at];
  slot.hash = hash;
  slot.key = static_cast<uint32_t>(keys_.size());
  slot.entries = static_cast<uint32_t>(entries_.size());
  slot.key_bytes = static_cast<uint16_t>(word.size());
  slot.count = static_cast<uint16_t>(count);
  slot.used = true;
  keys_ += word;
  entries_.insert(entries_.end(), entries, entries + count);
  ++words_;
}

void WordCache::clear() {
  for (Slot& slot : slots_) slot.used = false;
  keys_.clear();
  entries_.clear();
  words_ = 0;
}

}  // namespace pagoda
