// Training on several ranks: gradients summed while the backward pass goes on, optimiser state cut among the ranks (ZeRO-1).
#pragma once

#include <cmath>
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

// What gradients travel as. bfloat16 halves the traffic; sums are float32 either way.
enum class Wire : uint8_t { kFloat32, kBFloat16 };

struct DataParallelOptions {
  Wire wire = Wire::kFloat32;
  int64_t bucket_bytes = 25 << 20;  // of gradients that travel together
  bool overlap = true;              // false: all at the end of the backward pass
  std::vector<int> cores;           // of the thread that talks to the others; empty: those of the thread that makes this
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
  // Afterwards the gradients of the parameters that this rank owns are sums over the ranks, added in their order, a rank
  // without one counting as zeros; the others have none.
  void begin_backward();
  void ready(const Tensor& leaf);
  void finish_backward();

  // The parameters whose optimiser state this rank keeps and which it updates: about as many elements on each rank.
  bool owns(size_t parameter) const { return owners_[parameter] == ranks_.rank(); }
  std::vector<bool> owned() const;
  // The norm over all ranks' parameters of what is `own` over those of this rank. The same on all.
  double norm(double own) { return std::sqrt(ranks_.all_reduce(own * own)); }
  // The least of all ranks' numbers.
  size_t first_of_all(size_t own);
  // After the update: everybody's parameters from their owners.
  void share_parameters();
  // Named tensors of all ranks on rank 0, in the order of ranks; nothing on the others.
  std::vector<std::pair<std::string, Tensor>> gather(std::vector<std::pair<std::string, Tensor>> mine);

 private:
  // Of one parameter's gradient, elements.
  struct Piece {
    size_t parameter;
    int64_t begin, count;
  };
  struct Bucket {
    std::vector<Piece> pieces;
    size_t missing = 0;  // not ready yet
  };
  void choose_owners();
  void make_buckets();
  void submit_ready();
  void reduce(const Bucket& bucket);
  void work();

  Communicator& ranks_;
  std::vector<Parameter*> parameters_;
  DataParallelOptions options_;
  std::vector<int> owners_;
  std::vector<Bucket> buckets_;
  std::map<const void*, size_t> numbers_;  // of parameters, by their tensor
  std::vector<int> expected_, seen_;       // calls of ready() in a backward pass
  std::vector<uint8_t> wire_;              // the thread's: what leaves (bfloat16), and what came
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
