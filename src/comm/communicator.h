// Ranks of one job that exchange values: what data-parallel training needs, whoever carries it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pagoda {

// Bytes for another rank, or room for those that come from one.
struct Message {
  int rank = 0;
  void* data = nullptr;
  int64_t bytes = 0;
};

// All ranks call the same functions in the same order with sizes that fit; from one thread at a time. Throws kDevice where
// another rank is gone.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // All messages at once, between memory and memory: returns when those of this rank have left and come. The k-th that one rank
  // sends another is the k-th that the other receives from it, of the same size. None is for the rank itself.
  virtual void exchange(const std::vector<Message>& sends, const std::vector<Message>& receives) = 0;

  // Everybody gets what each has, in the order of ranks. sizes: bytes of each rank.
  void all_gather(const void* mine, void* all, const std::vector<int64_t>& sizes);
  void broadcast(void* data, int64_t bytes, int root);
  std::string share(std::string text);  // that of rank 0, on all
  // Nobody leaves before all have come.
  void barrier();
  // Sums over the ranks, added in their order: all get the same bits, whatever the transport does.
  double all_reduce(double value);
  int64_t all_reduce(int64_t value) { return all_reduce(std::vector<int64_t>{value}).front(); }
  std::vector<int64_t> all_reduce(const std::vector<int64_t>& values);
};

// The ranks of one process: communicator r is for thread r. Where one is destroyed while an exception passes, the others'
// calls throw instead of waiting for it for ever.
std::vector<std::unique_ptr<Communicator>> make_local_communicators(int size);

// Whether this process was started by mpirun (or another launcher of MPI).
bool started_by_mpi();
// The job's ranks over MPI; null where the job has one rank. Loads libpagoda_mpi.so, which lies beside the program; nothing
// else of Pagoda knows MPI. kUnsupported says what is missing. Call once.
std::unique_ptr<Communicator> make_mpi_communicator();

}  // namespace pagoda
