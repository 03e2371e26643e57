// Batches of what waits: one sequence of each request in turn, so that a long request does not hold up a short one.
#include "server/encoder_service.h"

#include <algorithm>

namespace pagoda::server {

EncoderService::EncoderService(std::shared_ptr<const SequenceModel> model, int64_t max_open, int64_t batch_rows)
    : model_(std::move(model)), max_open_(max_open), batch_rows_(batch_rows) {
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

std::optional<uint64_t> EncoderService::submit(std::vector<SequenceInput> sequences, Write write, Done done) {
  const auto job = std::make_shared<Job>();
  job->sequences = std::move(sequences);
  job->outputs.resize(job->sequences.size());
  job->left = job->sequences.size();
  job->write = std::move(write);
  job->done = std::move(done);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (static_cast<int64_t>(open_.size()) >= max_open_) return {};
    job->ticket = next_ticket_++;
    open_[job->ticket] = job;
    queue_.push_back(job);
    num_open_.store(static_cast<int64_t>(open_.size()), std::memory_order_relaxed);
  }
  wake_.notify_one();
  return job->ticket;
}

void EncoderService::cancel(uint64_t ticket) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = open_.find(ticket);
  if (found != open_.end()) end(*std::shared_ptr<Job>(found->second));
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

// With the lock held.
std::vector<EncoderService::Part> EncoderService::take_batch() {
  std::vector<Part> batch;
  int64_t rows = 0;
  while (!queue_.empty()) {
    std::shared_ptr<Job> job = queue_.front();
    const bool waits = !job->over && job->next < job->sequences.size();
    const int64_t more = waits ? static_cast<int64_t>(job->sequences[job->next].ids.size()) : 0;
    if (!batch.empty() && rows + more > batch_rows_) break;
    queue_.pop_front();
    if (job->over) continue;
    if (!waits) {  // a request without any sequence
      batch.emplace_back(job, 0);
      continue;
    }
    rows += more;
    batch.emplace_back(job, job->next++);
    if (job->next < job->sequences.size()) queue_.push_back(std::move(job));
  }
  if (rows > 0) ++stats_.num_steps;
  stats_.num_prompt_tokens += rows;
  return batch;
}

void EncoderService::run(const std::vector<Part>& batch) {
  try {
    std::vector<const SequenceInput*> inputs;
    std::vector<SequenceOutput*> places;
    for (const auto& [job, index] : batch) {
      if (job->sequences.empty()) continue;
      inputs.push_back(&job->sequences[index]);
      places.push_back(&job->outputs[index]);
    }
    std::vector<SequenceOutput> outputs = model_->run(inputs);
    for (size_t i = 0; i < outputs.size(); ++i) *places[i] = std::move(outputs[i]);
    failures_.store(0, std::memory_order_relaxed);
  } catch (...) {
    const Error error = current_error();
    const bool ours = error.kind() == ErrorKind::kDevice || error.kind() == ErrorKind::kInternal;
    failures_.store(ours ? failures_.load(std::memory_order_relaxed) + 1 : 0, std::memory_order_relaxed);
    for (const auto& [job, index] : batch) fail(*job, error);
    return;
  }
  for (const auto& [job, index] : batch) {
    if (job->left > 0) --job->left;
    if (job->left == 0) finish(*job);
  }
}

void EncoderService::finish(Job& job) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (job.over) return;
    end(job);
  }
  std::string body;
  std::optional<Error> error;
  try {
    body = job.write(job.outputs);
  } catch (...) {
    error = current_error();
  }
  job.done(std::move(body), error ? &*error : nullptr);
}

void EncoderService::fail(Job& job, const Error& error) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (job.over) return;
    end(job);
  }
  job.done({}, &error);
}

void EncoderService::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (stop_) break;
    const std::vector<Part> batch = take_batch();
    lock.unlock();
    run(batch);
    lock.lock();
  }
  const auto left = open_;
  lock.unlock();
  for (const auto& [ticket, job] : left) fail(*job, Error(ErrorKind::kDevice, "[server] shutting down"));
}

}  // namespace pagoda::server
