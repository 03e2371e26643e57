// Token strings and their ids, both ways.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pagoda {

// A number of this process. Files and texts choose the keys of the tables below: they shall not know where keys fall.
uint64_t hash_seed();

// A 64-bit hash of bytes; for one seed the same on every machine.
inline uint64_t hash_bytes(std::string_view bytes, uint64_t seed = 0) {
  constexpr uint64_t kMul = 0x9E3779B97F4A7C15ull;
  uint64_t h = (bytes.size() * kMul) ^ seed;
  const char* p = bytes.data();
  size_t left = bytes.size();
  while (left >= 8) {
    uint64_t word;
    __builtin_memcpy(&word, p, 8);
    h = (h ^ word) * kMul;
    h ^= h >> 32;
    p += 8;
    left -= 8;
  }
  if (left > 0) {
    uint64_t word = 0;
    __builtin_memcpy(&word, p, left);
    h = (h ^ word) * kMul;
    h ^= h >> 32;
  }
  return (h ^ (h >> 29)) * 0xBF58476D1CE4E5B9ull;
}

// Open-addressed map from 64-bit keys (never kEmpty) to values; built once, then only read.
template <class Value>
class FlatMap {
 public:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  void reserve(size_t count) {
    size_t size = 16;
    while (size < count * 2) size *= 2;
    if (size > slots_.size()) rehash(size);
  }
  Value& operator[](uint64_t key) {
    if ((count_ + 1) * 2 > slots_.size()) rehash(slots_.empty() ? 16 : slots_.size() * 2);
    Slot& slot = slots_[place(key)];
    if (slot.key == kEmpty) {
      slot.key = key;
      ++count_;
    }
    return slot.value;
  }
  const Value* find(uint64_t key) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[place(key)];
    return slot.key == kEmpty ? nullptr : &slot.value;
  }
  size_t size() const { return count_; }

 private:
  struct Slot {
    uint64_t key = kEmpty;
    Value value{};
  };
  size_t place(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    uint64_t h = (key ^ seed_) * 0x9E3779B97F4A7C15ull;
    size_t at = (h ^ (h >> 32)) & mask;
    while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & mask;
    return at;
  }
  void rehash(size_t size) {
    std::vector<Slot> old(size);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.key != kEmpty) slots_[place(slot.key)] = slot;
    }
  }
  std::vector<Slot> slots_;
  uint64_t seed_ = hash_seed();
  size_t count_ = 0;
};

class Vocab {
 public:
  static constexpr int32_t kMaxId = (1 << 24) - 1;

  // The last id given for a string, and the last string given for an id, win. Ids are 0 to kMaxId: else kInvalidInput.
  void add(std::string_view token, int64_t id, std::string_view where);
  void reserve(size_t count);
  int32_t find(std::string_view token) const;                                // -1: none
  const std::string* token(int64_t id) const;                                // null: none
  int64_t size() const { return count_; }                                    // distinct strings
  int64_t id_limit() const { return static_cast<int64_t>(tokens_.size()); }  // largest id + 1
  size_t longest() const { return longest_; }                                // bytes of the longest token

 private:
  struct Slot {
    int32_t entry = -1;  // into strings_
    uint32_t hash = 0;
  };
  size_t place(std::string_view token, uint64_t hash) const;
  void rehash(size_t size);
  std::vector<Slot> slots_;
  uint64_t seed_ = hash_seed();
  std::vector<std::string> strings_;
  std::vector<int32_t> ids_;     // of strings_
  std::vector<int32_t> tokens_;  // by id: entry in strings_, or -1
  int64_t count_ = 0;
  size_t longest_ = 0;
};

}  // namespace pagoda
