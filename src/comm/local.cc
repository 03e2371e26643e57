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
  explicit Group(int count) : size(count), sends(static_cast<size_t>(count)) {}
  const int size;
  std::mutex mutex;
  std::condition_variable changed;
  int waiting = 0;
  uint64_t round = 0;
  int gone = -1;                                   // a rank that left by an exception
  std::vector<const std::vector<Message>*> sends;  // of each rank, between two meetings
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

  void exchange(const std::vector<Message>& sends, const std::vector<Message>& receives) override {
    group_->sends[static_cast<size_t>(rank_)] = &sends;
    meet();
    std::vector<size_t> next(group_->sends.size(), 0);  // of each rank's messages
    bool differ = false;
    for (const Message& message : receives) {
      const auto from = static_cast<size_t>(message.rank);
      const std::vector<Message>& theirs = *group_->sends[from];
      while (next[from] < theirs.size() && theirs[next[from]].rank != rank_) ++next[from];
      if (next[from] == theirs.size() || theirs[next[from]].bytes != message.bytes) {
        differ = true;
        break;
      }
      std::memcpy(message.data, theirs[next[from]++].data, static_cast<size_t>(message.bytes));
    }
    meet();  // the others still read this rank's messages
    if (differ) fail(ErrorKind::kInternal, "comm", "ranks differ in what they exchange");
  }

 private:
  void meet() {
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
