// A list an owner in order of age, and an index.
#include "server/response_store.h"

#include <algorithm>
#include <utility>

namespace pagoda::server {

namespace {

int64_t bytes_of(const std::string& id, const StoredResponse& stored) {
  return static_cast<int64_t>(id.size() + stored.owner.size() + stored.response.size() + stored.messages.size());
}

}  // namespace

void ResponseStore::add_locked(Entry entry) {
  Share& share = shares_[entry.stored.owner];
  share.bytes += entry.bytes;
  share.num_closed += entry.stored.cancel ? 0 : 1;
  bytes_ += entry.bytes;
  share.entries.push_front(std::move(entry));
  by_id_[share.entries.front().id] = share.entries.begin();
}

void ResponseStore::erase_locked(std::list<Entry>::iterator entry) {
  const auto share = shares_.find(entry->stored.owner);
  share->second.bytes -= entry->bytes;
  share->second.num_closed -= entry->stored.cancel ? 0 : 1;
  bytes_ -= entry->bytes;
  by_id_.erase(entry->id);
  share->second.entries.erase(entry);
  if (share->second.entries.empty()) shares_.erase(share);
}

void ResponseStore::trim_locked() {
  for (;;) {
    const bool large = bytes_ > max_bytes_;
    if (!large && by_id_.size() <= max_responses_) return;
    Share* most = nullptr;
    for (auto& [owner, share] : shares_) {
      const auto more = [&](const Share& a, const Share& b) {
        return large ? a.bytes > b.bytes : a.entries.size() > b.entries.size();
      };
      if (share.num_closed > 0 && (most == nullptr || more(share, *most))) most = &share;
    }
    if (most == nullptr) return;
    const auto closed = [](const Entry& entry) { return !entry.stored.cancel; };
    const auto oldest = std::find_if(most->entries.rbegin(), most->entries.rend(), closed);
    erase_locked(std::prev(oldest.base()));
  }
}

void ResponseStore::put(const std::string& id, StoredResponse stored) {
  const int64_t bytes = bytes_of(id, stored);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto known = by_id_.find(id); known != by_id_.end()) erase_locked(known->second);
  if (bytes > max_bytes_ && !stored.cancel) return;
  add_locked({id, std::move(stored), bytes});
  trim_locked();
}

void ResponseStore::close(const std::string& id, std::string response, std::string messages) {
  StoredResponse closed;
  closed.response = std::move(response);
  closed.messages = std::move(messages);
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto known = by_id_.find(id);
  if (known == by_id_.end() || !known->second->stored.cancel) return;
  closed.owner = known->second->stored.owner;
  const int64_t bytes = bytes_of(id, closed);
  if (bytes > max_bytes_) return erase_locked(known->second);
  Share& share = shares_.find(closed.owner)->second;
  share.bytes += bytes - known->second->bytes;
  bytes_ += bytes - known->second->bytes;
  ++share.num_closed;
  known->second->stored = std::move(closed);
  known->second->bytes = bytes;
  trim_locked();
}

std::optional<StoredResponse> ResponseStore::get(const std::string& id, const std::string& owner) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto known = by_id_.find(id);
  if (known == by_id_.end() || known->second->stored.owner != owner) return std::nullopt;
  return known->second->stored;
}

bool ResponseStore::erase(const std::string& id, const std::string& owner) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto known = by_id_.find(id);
  if (known == by_id_.end() || known->second->stored.owner != owner) return false;
  erase_locked(known->second);
  return true;
}

size_t ResponseStore::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return by_id_.size();
}

size_t ResponseStore::num_open() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  size_t count = by_id_.size();
  for (const auto& [owner, share] : shares_) count -= share.num_closed;
  return count;
}

}  // namespace pagoda::server
