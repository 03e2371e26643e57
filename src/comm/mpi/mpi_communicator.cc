// The communicator over MPI: a shared object, so that the program itself needs no MPI.
#include <mpi.h>

#include <array>
#include <climits>
#include <exception>
#include <string>

#include "base/error.h"
#include "comm/communicator.h"
#include "comm/mpi/plugin.h"

namespace pagoda {

namespace {

void check(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  fail(ErrorKind::kDevice, "mpi", "{}: {}: another rank may be gone", what,
       std::string(text.data(), static_cast<size_t>(length)));
}

int to_int(int64_t bytes) {
  if (bytes > INT_MAX) fail(ErrorKind::kInternal, "mpi", "message too large: got {} bytes, need at most {}", bytes, INT_MAX);
  return static_cast<int>(bytes);
}

struct Places {
  explicit Places(const std::vector<int64_t>& bytes) {
    int64_t at = 0;
    for (const int64_t size : bytes) {
      counts.push_back(to_int(size));
      offsets.push_back(to_int(at));
      at += size;
    }
  }
  std::vector<int> counts, offsets;
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator() : exceptions_(std::uncaught_exceptions()) {
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
    if (provided < MPI_THREAD_SERIALIZED)
      unsupported("mpi", "this MPI takes calls from one thread alone: need MPI_THREAD_SERIALIZED");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
  }
  ~MpiCommunicator() override {
    // A rank that fails goes without MPI_Finalize, which would wait for the others: the launcher then ends them.
    if (std::uncaught_exceptions() <= exceptions_) MPI_Finalize();
  }
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void all_to_all(const void* from, const std::vector<int64_t>& sizes_out, void* into,
                  const std::vector<int64_t>& sizes_in) override {
    const Places out(sizes_out), in(sizes_in);
    check(MPI_Alltoallv(from, out.counts.data(), out.offsets.data(), MPI_BYTE, into, in.counts.data(), in.offsets.data(),
                        MPI_BYTE, MPI_COMM_WORLD),
          "MPI_Alltoallv");
  }
  void all_gather(const void* mine, void* all, const std::vector<int64_t>& sizes) override {
    const Places places(sizes);
    check(MPI_Allgatherv(mine, places.counts[static_cast<size_t>(rank_)], MPI_BYTE, all, places.counts.data(),
                         places.offsets.data(), MPI_BYTE, MPI_COMM_WORLD),
          "MPI_Allgatherv");
  }
  void broadcast(void* data, int64_t bytes, int root) override {
    constexpr int64_t kPiece = int64_t{1} << 30;
    for (int64_t at = 0; at < bytes; at += kPiece) {
      check(MPI_Bcast(static_cast<char*>(data) + at, to_int(std::min(kPiece, bytes - at)), MPI_BYTE, root, MPI_COMM_WORLD),
            "MPI_Bcast");
    }
  }
  void barrier() override { check(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier"); }

 private:
  int exceptions_, rank_ = 0, size_ = 1;
};

}  // namespace
}  // namespace pagoda

extern "C" __attribute__((visibility("default"))) pagoda::Communicator* pagoda_make_mpi_communicator() {
  return new pagoda::MpiCommunicator();
}
