// Batches of what waits: one sequence of each request in turn, so that a long request does not hold up a short one.
#include "server/encoder_service.h"

#include <algorithm>

namespace pagoda::server {

namespace {

constexpr size_t kMostParts = 4096;  // sequences of one batch

// A vector that is not finite is an error; of logits some may well be infinite.
void check_vectors(const std::vector<SequenceInput>& inputs, const std::vector<SequenceOutput>& outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!inputs[i].pooling.empty()) check_finite(outputs[i]);
  }
}

}  // namespace

EncoderService::EncoderService(std::shared_ptr<const SequenceModel> model, int64_t max_open, int64_t batch_rows)
    : model_(std::move(model)), max_open_(max_open), batch_rows_(batch_rows) {
  batch_.reserve(kMostParts);
  thread_ = std::thread([this] { work(); });
}

EncoderService::~EncoderService() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

const Pipeline& EncoderService::pipeline(const std::string& task) {
  const std::string name = find_task(task).name;
  const std::lock_guard<std::mutex> lock(pipelines_mutex_);
  std::unique_ptr<Pipeline>& pipeline = pipelines_[name];
  if (!pipeline) pipeline = Pipeline::make(name, model_);
  return *pipeline;
}

std::optional<uint64_t> EncoderService::submit(std::vector<SequenceInput> sequences, Done done) {
  const auto job = std::make_shared<Job>();
  job->sequences = std::move(sequences);
  job->outputs.resize(job->sequences.size());
  job->left = job->sequences.size();
  job->done = std::move(done);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (static_cast<int64_t>(open_.size()) >= max_open_) return {};
    job->ticket = next_ticket_++;
    std::list<std::shared_ptr<Job>> entry{job};
    open_.emplace(job->ticket, job);
    queue_.splice(queue_.end(), entry);  // does not throw: it is in both or in none
    num_open_.store(static_cast<int64_t>(open_.size()), std::memory_order_relaxed);
  }
  wake_.notify_one();
  return job->ticket;
}

void EncoderService::cancel(uint64_t ticket) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = open_.find(ticket);
  if (found == open_.end()) return;
  const std::shared_ptr<Job> job = found->second;
  end(*job);
}

EngineStats EncoderService::stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  EngineStats stats = stats_;
  const auto waits = [](const auto& entry) { return entry.second->next == 0; };
  stats.num_waiting = std::count_if(open_.begin(), open_.end(), waits);
  stats.num_running = static_cast<int64_t>(open_.size()) - stats.num_waiting;
  return stats;
}

// With the lock held: nothing of it counts any more.
void EncoderService::end(Job& job) {
  job.over = true;
  open_.erase(job.ticket);
  num_open_.store(static_cast<int64_t>(open_.size()), std::memory_order_relaxed);
}

// With the lock held. Allocates nothing: what it took is in batch_.
void EncoderService::take_batch() noexcept {
  batch_.clear();
  int64_t rows = 0;
  while (!queue_.empty() && batch_.size() < batch_.capacity()) {
    const std::shared_ptr<Job> job = queue_.front();
    const bool waits = !job->over && job->next < job->sequences.size();
    const int64_t more = waits ? static_cast<int64_t>(job->sequences[job->next].ids.size()) : 0;
    if (!batch_.empty() && rows + more > batch_rows_) break;
    if (!job->over) batch_.emplace_back(job, job->next);
    rows += more;
    if (waits && ++job->next < job->sequences.size()) {
      queue_.splice(queue_.end(), queue_, queue_.begin());  // the others first
    } else {
      queue_.pop_front();
    }
  }
  if (rows > 0) {
    ++stats_.num_steps;
    stats_.step_sizes.add(rows);
  }
  stats_.num_prompt_tokens += rows;
}

void EncoderService::run() {
  try {
    if (batch_.size() > 1) compute(batch_.data(), batch_.size());
    if (batch_.size() == 1) compute_alone(batch_[0]);
  } catch (...) {
    // Whose fault it is shows when each runs alone.
    for (const Part& part : batch_) compute_alone(part);
  }
  for (const auto& [job, index] : batch_) {
    if (job->left > 0) --job->left;
    if (job->left == 0) finish(*job);
  }
}

void EncoderService::compute(const Part* parts, size_t count) {
  std::vector<const SequenceInput*> inputs;
  std::vector<SequenceOutput*> places;
  for (size_t i = 0; i < count; ++i) {
    const auto& [job, index] = parts[i];
    if (job->sequences.empty()) continue;
    inputs.push_back(&job->sequences[index]);
    places.push_back(&job->outputs[index]);
  }
  std::vector<SequenceOutput> outputs = model_->run(inputs);
  for (size_t i = 0; i < outputs.size(); ++i) *places[i] = std::move(outputs[i]);
  failures_.store(0, std::memory_order_relaxed);
}

void EncoderService::compute_alone(const Part& part) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (part.first->over) return;
  }
  try {
    compute(&part, 1);
  } catch (...) {
    const Error error = current_error();
    const bool ours = error.kind() == ErrorKind::kDevice || error.kind() == ErrorKind::kInternal;
    failures_.store(ours ? failures_.load(std::memory_order_relaxed) + 1 : 0, std::memory_order_relaxed);
    fail(*part.first, error);
  }
}

void EncoderService::finish(Job& job) noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (job.over) return;
    end(job);
  }
  try {
    check_vectors(job.sequences, job.outputs);
    job.done(std::move(job.outputs), nullptr);
  } catch (...) {
    try {
      const Error error = current_error();
      job.done({}, &error);
    } catch (...) {  // no memory even for that: the connection's time-outs end it
    }
  }
}

void EncoderService::fail(Job& job, const Error& error) noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (job.over) return;
    end(job);
  }
  try {
    job.done({}, &error);
  } catch (...) {  // see above
  }
}

void EncoderService::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (stop_) break;
    take_batch();
    lock.unlock();
    try {
      run();
    } catch (...) {
      for (const Part& part : batch_) fail(*part.first, out_of_memory_);
    }
    batch_.clear();
    lock.lock();
  }
  while (!open_.empty()) {
    const std::shared_ptr<Job> job = open_.begin()->second;
    lock.unlock();
    fail(*job, shutting_down_);
    lock.lock();
  }
}

}  // namespace pagoda::server
