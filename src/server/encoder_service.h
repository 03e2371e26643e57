// An encoder behind a server: sequences of many requests gathered into ragged batches by a thread of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "engine/cache_map.h"
#include "pipelines/pipeline.h"

namespace pagoda::server {

class EncoderService {
 public:
  // Called on the service's thread: one output a sequence, or the error. Should return soon, others wait. Where it throws with
  // outputs it is called once more, with that error.
  using Done = std::function<void(std::vector<SequenceOutput> outputs, const Error* error)>;

  // max_open: requests that may wait or run. batch_rows: tokens of one pass at most (a longer sequence goes alone).
  EncoderService(std::shared_ptr<const SequenceModel> model, int64_t max_open, int64_t batch_rows = 4096);
  // Requests still open end with an error (kDevice, "shutting down").
  ~EncoderService();
  EncoderService(const EncoderService&) = delete;
  EncoderService& operator=(const EncoderService&) = delete;

  const SequenceModel& model() const { return *model_; }
  // Made at the first call; throws as Pipeline::make does.
  const Pipeline& pipeline(const std::string& task);
  // A number for cancel(); empty where max_open are open already.
  std::optional<uint64_t> submit(std::vector<SequenceInput> sequences, Done done);
  void cancel(uint64_t ticket);  // its done is not called any more, unless it is under way already
  int64_t num_open() const { return num_open_.load(std::memory_order_relaxed); }
  // False after two passes in a row that failed with a device or internal error. Vectors that are not finite are no such.
  bool healthy() const { return failures_.load(std::memory_order_relaxed) < 2; }
  EngineStats stats() const;

 private:
  struct Job {
    uint64_t ticket = 0;
    std::vector<SequenceInput> sequences;
    std::vector<SequenceOutput> outputs;
    Done done;
    size_t next = 0, left = 0;  // sequences not yet in a batch, and not yet computed
    bool over = false;
  };
  using Part = std::pair<std::shared_ptr<Job>, size_t>;  // one sequence of a job
  void work();
  void take_batch() noexcept;
  void run();
  void compute(const Part* parts, size_t count);
  void compute_alone(const Part& part);
  void finish(Job& job) noexcept;
  void fail(Job& job, const Error& error) noexcept;
  void end(Job& job);

  std::shared_ptr<const SequenceModel> model_;
  const int64_t max_open_, batch_rows_;
  // Made beforehand: they are told when there may be no memory.
  const Error out_of_memory_{ErrorKind::kOutOfMemory, "[server] out of memory"};
  const Error shutting_down_{ErrorKind::kDevice, "[server] shutting down"};
  std::atomic<int64_t> num_open_{0};
  std::atomic<int> failures_{0};
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::list<std::shared_ptr<Job>> queue_;  // with sequences that wait
  std::map<uint64_t, std::shared_ptr<Job>> open_;
  EngineStats stats_;
  uint64_t next_ticket_ = 1;
  bool stop_ = false;
  std::mutex pipelines_mutex_;
  std::map<std::string, std::unique_ptr<Pipeline>> pipelines_;
  std::vector<Part> batch_;  // of the thread alone
  std::thread thread_;
};

}  // namespace pagoda::server
