// A list in order of age, and an index.
#include "server/response_store.h"

#include <utility>

namespace pagoda::server {

namespace {

int64_t bytes_of(const std::string& id, const StoredResponse& stored) {
  return static_cast<int64_t>(id.size() + stored.owner.size() + stored.response.size() + stored.messages.size());
}

}  // namespace

void ResponseStore::erase_locked(std::list<Entry>::iterator entry) {
  bytes_ -= entry->bytes;
  by_id_.erase(entry->id);
  entries_.erase(entry);
}

void ResponseStore::trim_locked() {
  for (auto entry = entries_.end(); entry != entries_.begin() && is_full();) {
    const auto oldest = std::prev(entry);
    if (oldest->stored.cancel) {
      entry = oldest;
    } else {
      erase_locked(oldest);
    }
  }
}

void ResponseStore::put(const std::string& id, StoredResponse stored) {
  const int64_t bytes = bytes_of(id, stored);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto known = by_id_.find(id); known != by_id_.end()) erase_locked(known->second);
  if (bytes > max_bytes_ && !stored.cancel) return;
  entries_.push_front({id, std::move(stored), bytes});
  by_id_[id] = entries_.begin();
  bytes_ += bytes;
  trim_locked();
}

void ResponseStore::close(const std::string& id, std::string response, std::string messages) {
  StoredResponse closed;
  closed.response = std::move(response);
  closed.messages = std::move(messages);
  const int64_t bytes = bytes_of(id, closed);
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto known = by_id_.find(id);
  if (known == by_id_.end() || !known->second->stored.cancel) return;
  if (bytes > max_bytes_) return erase_locked(known->second);
  closed.owner = known->second->stored.owner;
  bytes_ += bytes - known->second->bytes;
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
  return entries_.size();
}

}  // namespace pagoda::server
