// Training on several ranks: gradients summed while the backward pass goes on, optimiser state cut among the ranks (ZeRO-1).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "nn/module.h"

namespace pagoda::train {

struct DataParallelOptions {
  Wire wire = Wire::kFloat32;
  int64_t bucket_bytes = 25 << 20;  // of gradients that travel together
  bool overlap = true;              // false: all at the end of the backward pass
};

// Every rank makes one over the same parameters, in the same order. All functions but ready() are called by all ranks.
class DataParallel {
 public:
  DataParallel(Communicator& ranks, std::vector<Parameter*> parameters, const DataParallelOptions& options = {});
  ~DataParallel();
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  int rank() const { return ranks_.rank(); }
  Communicator& ranks() { return ranks_; }

  // Round the step's last backward pass. ready(): the gradient of this leaf is complete as far as the walk over the tape knows.
  // Afterwards each gradient is the sum over the ranks, the same bits on all; a rank without one counts as zeros.
  void begin_backward();
  void ready(const Tensor& leaf);
  void finish_backward();

  // The parameters whose optimiser state this rank keeps and which it updates: about as many elements on each rank.
  bool owns(size_t parameter) const { return owners_[parameter] == ranks_.rank(); }
  std::vector<bool> owned() const;
  // After the update: everybody's parameters from their owners.
  void share_parameters();
  // Named tensors of all ranks on rank 0 (those of others come after its own); nothing on the others.
  std::vector<std::pair<std::string, Tensor>> gather(std::vector<std::pair<std::string, Tensor>> mine);
  // The text of rank 0, on all.
  std::string share(std::string text);

 private:
  struct Bucket {
    std::vector<size_t> parameters;
    size_t missing = 0;  // not ready yet
  };
  void make_buckets();
  void choose_owners();
  void submit_ready();
  void reduce(const Bucket& bucket);
  void work();

  Communicator& ranks_;
  std::vector<Parameter*> parameters_;
  DataParallelOptions options_;
  std::vector<int> owners_;
  std::vector<Bucket> buckets_;
  std::vector<size_t> bucket_of_;
  std::map<const void*, size_t> numbers_;  // of parameters, by their tensor
  std::vector<int> expected_, seen_;       // calls of ready() in a backward pass
  bool open_ = false;
  size_t submitted_ = 0;  // buckets handed to the thread, in order

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<size_t> queue_;
  size_t done_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
};

}  // namespace pagoda::train
