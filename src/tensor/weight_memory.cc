// Stretches of huge pages, cut from the front.
#include "tensor/weight_memory.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"

namespace pagoda {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kSmallPage = 4096;
constexpr int64_t kStretch = int64_t{32} << 20;

}  // namespace

class WeightMemory::Stretch {
 public:
  Stretch(int64_t size, const std::string& name)
      : size_(size), mapped_bytes_(static_cast<size_t>(checked_add(size, kHugePage, "pack"))) {
    mapped_ = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped_ == MAP_FAILED) fail(ErrorKind::kOutOfMemory, "pack", "no memory for {}: need {} bytes", name, size);
    const auto begin = reinterpret_cast<uintptr_t>(mapped_), page = static_cast<uintptr_t>(kHugePage);
    data_ = static_cast<char*>(mapped_) + (page - begin % page) % page;
    ::madvise(data_, static_cast<size_t>(size), MADV_HUGEPAGE);
  }
  ~Stretch() { ::munmap(mapped_, mapped_bytes_); }
  Stretch(const Stretch&) = delete;
  Stretch& operator=(const Stretch&) = delete;

  // Null: no room.
  void* cut(int64_t bytes) {
    if (size_ - used_ < bytes) return nullptr;
    used_ += bytes;
    return data_ + (used_ - bytes);
  }

 private:
  int64_t size_, used_ = 0;
  void* mapped_ = nullptr;
  size_t mapped_bytes_;
  char* data_ = nullptr;  // the first whole huge page
};

std::shared_ptr<void> WeightMemory::allocate(int64_t bytes, const std::string& name) {
  bytes = round_up(std::max<int64_t>(bytes, 1), kSmallPage);
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Stretch> stretch = last_.lock();
  void* data = stretch ? stretch->cut(bytes) : nullptr;
  if (data == nullptr) {
    stretch = std::make_shared<Stretch>(std::max(kStretch, round_up(bytes, kHugePage)), name);
    last_ = stretch;
    data = stretch->cut(bytes);
  }
  return {std::move(stretch), data};
}

}  // namespace pagoda
