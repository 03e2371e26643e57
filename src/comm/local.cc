// Ranks that are threads of one process: they look into each other's memory between barriers.
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>

#include "base/error.h"
#include "comm/communicator.h"

namespace pagoda {

namespace {

struct Group {
  explicit Group(int count) : size(count), data(static_cast<size_t>(count)), sizes(static_cast<size_t>(count)) {}
  const int size;
  std::mutex mutex;
  std::condition_variable changed;
  int waiting = 0;
  uint64_t round = 0;
  int gone = -1;  // a rank that left by an exception
  std::vector<const void*> data;
  std::vector<const std::vector<int64_t>*> sizes;
};

class LocalCommunicator final : public Communicator {
 public:
  LocalCommunicator(std::shared_ptr<Group> group, int rank)
      : group_(std::move(group)), rank_(rank), exceptions_(std::uncaught_exceptions()) {}
  ~LocalCommunicator() override {
    if (std::uncaught_exceptions() <= exceptions_) return;
    const std::lock_guard<std::mutex> lock(group_->mutex);
    if (group_->gone < 0) group_->gone = rank_;
    group_->changed.notify_all();
  }
  LocalCommunicator(const LocalCommunicator&) = delete;
  LocalCommunicator& operator=(const LocalCommunicator&) = delete;
  int rank() const override { return rank_; }
  int size() const override { return group_->size; }

  void all_to_all(const void* from, const std::vector<int64_t>& sizes_out, void* into,
                  const std::vector<int64_t>& sizes_in) override {
    publish(from, &sizes_out);
    auto* to = static_cast<uint8_t*>(into);
    for (size_t r = 0; r < sizes_in.size(); ++r) {
      const std::vector<int64_t>& theirs = *group_->sizes[r];
      int64_t offset = 0;
      for (int before = 0; before < rank_; ++before) offset += theirs[static_cast<size_t>(before)];
      if (theirs[static_cast<size_t>(rank_)] != sizes_in[r]) fail(ErrorKind::kInternal, "comm", "ranks differ in sizes");
      std::memcpy(to, static_cast<const uint8_t*>(group_->data[r]) + offset, static_cast<size_t>(sizes_in[r]));
      to += sizes_in[r];
    }
    barrier();
  }
  void all_gather(const void* mine, void* all, const std::vector<int64_t>& sizes) override {
    publish(mine, nullptr);
    auto* to = static_cast<uint8_t*>(all);
    for (size_t r = 0; r < sizes.size(); ++r) {
      std::memcpy(to, group_->data[r], static_cast<size_t>(sizes[r]));
      to += sizes[r];
    }
    barrier();
  }
  void broadcast(void* data, int64_t bytes, int root) override {
    publish(data, nullptr);
    if (rank_ != root) std::memcpy(data, group_->data[static_cast<size_t>(root)], static_cast<size_t>(bytes));
    barrier();
  }
  void barrier() override {
    std::unique_lock<std::mutex> lock(group_->mutex);
    const uint64_t round = group_->round;
    if (++group_->waiting == group_->size) {
      group_->waiting = 0;
      ++group_->round;
      group_->changed.notify_all();
      return;
    }
    group_->changed.wait(lock, [&] { return group_->round != round || group_->gone >= 0; });
    if (group_->round == round) fail(ErrorKind::kDevice, "comm", "rank {} is gone: the job cannot go on", group_->gone);
  }

 private:
  void publish(const void* data, const std::vector<int64_t>* sizes) {
    group_->data[static_cast<size_t>(rank_)] = data;
    group_->sizes[static_cast<size_t>(rank_)] = sizes;
    barrier();
  }
  std::shared_ptr<Group> group_;
  int rank_, exceptions_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_local_communicators(int size) {
  const auto group = std::make_shared<Group>(size);
  std::vector<std::unique_ptr<Communicator>> all;
  for (int rank = 0; rank < size; ++rank) all.push_back(std::make_unique<LocalCommunicator>(group, rank));
  return all;
}

}  // namespace pagoda
