// The communicator over MPI: a shared object, so that the program itself needs no MPI.
#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <string>
#include <thread>
#include <vector>

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

constexpr int64_t kPiece = int64_t{1} << 30;  // a count of MPI is an int

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
  void exchange(const std::vector<Message>& sends, const std::vector<Message>& receives) override {
    std::vector<MPI_Request> requests;
    const auto begin = [&](const std::vector<Message>& messages, const auto& each, const char* what) {
      for (const Message& message : messages) {
        for (int64_t at = 0; at < message.bytes; at += kPiece) {
          const int bytes = static_cast<int>(std::min(kPiece, message.bytes - at));
          check(each(static_cast<char*>(message.data) + at, bytes, message.rank, &requests.emplace_back()), what);
        }
      }
    };
    begin(
        receives,
        [](void* data, int bytes, int rank, MPI_Request* request) {
          return MPI_Irecv(data, bytes, MPI_BYTE, rank, 0, MPI_COMM_WORLD, request);
        },
        "MPI_Irecv");
    begin(
        sends,
        [](void* data, int bytes, int rank, MPI_Request* request) {
          return MPI_Isend(data, bytes, MPI_BYTE, rank, 0, MPI_COMM_WORLD, request);
        },
        "MPI_Isend");
    wait(requests);
  }

 private:
  // MPI's own waiting keeps a core busy, which may be the one that computes meanwhile. Here it is asked now and then, more
  // seldom the longer it takes.
  static void wait(std::vector<MPI_Request>& requests) {
    using namespace std::chrono_literals;
    constexpr int kBusyTries = 20;
    std::chrono::microseconds pause = 10us;
    for (int tries = 0;; ++tries) {
      int done = 0;
      check(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
      if (done != 0) return;
      if (tries < kBusyTries) continue;
      std::this_thread::sleep_for(pause);
      pause = std::min<std::chrono::microseconds>(2 * pause, 200us);
    }
  }

  int exceptions_, rank_ = 0, size_ = 1;
};

}  // namespace
}  // namespace pagoda

extern "C" __attribute__((visibility("default"))) pagoda::Communicator* pagoda_make_mpi_communicator() {
  return new pagoda::MpiCommunicator();
}
