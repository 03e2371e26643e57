// Open addressing over one list of strings.
#include "text/vocab.h"

#include <algorithm>
#include <random>

#include "base/error.h"

namespace pagoda {

uint64_t hash_seed() {
  static const uint64_t seed = [] {
    std::random_device device;
    return static_cast<uint64_t>(device()) << 32 | device();
  }();
  return seed;
}

size_t Vocab::place(std::string_view token, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t at = hash & mask;
  while (slots_[at].entry >= 0 &&
         (slots_[at].hash != static_cast<uint32_t>(hash >> 32) || strings_[static_cast<size_t>(slots_[at].entry)] != token)) {
    at = (at + 1) & mask;
  }
  return at;
}

void Vocab::rehash(size_t size) {
  slots_.assign(size, Slot{});
  for (size_t i = 0; i < strings_.size(); ++i) {
    const uint64_t hash = hash_bytes(strings_[i], seed_);
    Slot& slot = slots_[place(strings_[i], hash)];
    slot = {static_cast<int32_t>(i), static_cast<uint32_t>(hash >> 32)};
  }
}

void Vocab::reserve(size_t count) {
  size_t size = 16;
  while (size < count * 2) size *= 2;
  strings_.reserve(count);
  ids_.reserve(count);
  if (size > slots_.size()) rehash(size);
}

void Vocab::add(std::string_view token, int64_t id, std::string_view where) {
  if (id < 0 || id > kMaxId) invalid(where, "token id out of range: got {}, need 0 to {}", id, kMaxId);
  if ((strings_.size() + 1) * 2 > slots_.size()) rehash(std::max<size_t>(16, slots_.size() * 2));
  const uint64_t hash = hash_bytes(token, seed_);
  Slot& slot = slots_[place(token, hash)];
  if (slot.entry < 0) {
    slot = {static_cast<int32_t>(strings_.size()), static_cast<uint32_t>(hash >> 32)};
    strings_.emplace_back(token);
    ids_.push_back(static_cast<int32_t>(id));
    ++count_;
    longest_ = std::max(longest_, token.size());
  } else {
    ids_[static_cast<size_t>(slot.entry)] = static_cast<int32_t>(id);
  }
  if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<size_t>(id) + 1, -1);
  tokens_[static_cast<size_t>(id)] = slot.entry;
}

int32_t Vocab::find(std::string_view token) const {
  if (slots_.empty()) return -1;
  const Slot& slot = slots_[place(token, hash_bytes(token, seed_))];
  return slot.entry < 0 ? -1 : ids_[static_cast<size_t>(slot.entry)];
}

const std::string* Vocab::token(int64_t id) const {
  if (id < 0 || id >= id_limit()) return nullptr;
  const int32_t entry = tokens_[static_cast<size_t>(id)];
  return entry < 0 ? nullptr : &strings_[static_cast<size_t>(entry)];
}

}  // namespace pagoda
