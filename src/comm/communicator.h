// Ranks of one job that exchange values: what data-parallel training needs, whoever carries it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace pagoda {

// What float32 values travel as. bfloat16 halves the traffic; sums are float32 either way.
enum class Wire : uint8_t { kFloat32, kBFloat16 };

// All ranks call the same functions in the same order with sizes that fit; from one thread at a time. Throws kDevice where
// another rank is gone.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Part r of `parts` (bytes, one a rank) goes to rank r, which gets one of each rank, in their order, one behind the other.
  // Sizes are those that this rank sends and gets.
  virtual void all_to_all(const void* from, const std::vector<int64_t>& sizes_out, void* into,
                          const std::vector<int64_t>& sizes_in) = 0;
  // Everybody gets what each has, in the order of ranks. sizes: bytes of each rank.
  virtual void all_gather(const void* mine, void* all, const std::vector<int64_t>& sizes) = 0;
  virtual void broadcast(void* data, int64_t bytes, int root) = 0;
  virtual void barrier() = 0;

  // Sums over the ranks in place, added in the order of ranks: all get the same bits, whatever the transport does.
  void all_reduce(float* values, int64_t count, Wire wire = Wire::kFloat32);
  double all_reduce(double value);
  int64_t all_reduce(int64_t value);
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
