// Buckets from the last parameter to the first, as a backward pass meets them; a thread that talks to the other ranks.
#include "train/data_parallel.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/json.h"
#include "base/stable_sort.h"

namespace pagoda::train {

DataParallel::DataParallel(Communicator& ranks, std::vector<Parameter*> parameters, const DataParallelOptions& options)
    : ranks_(ranks),
      parameters_(std::move(parameters)),
      options_(options),
      expected_(parameters_.size(), 0),
      seen_(parameters_.size(), 0) {
  for (size_t i = 0; i < parameters_.size(); ++i) numbers_[parameters_[i]->value.id()] = i;
  make_buckets();
  choose_owners();
  thread_ = std::thread([this] { work(); });
}

DataParallel::~DataParallel() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void DataParallel::make_buckets() {
  bucket_of_.resize(parameters_.size());
  int64_t bytes = options_.bucket_bytes;  // the first one begins a bucket
  for (size_t i = parameters_.size(); i-- > 0;) {
    const int64_t own = parameters_[i]->value.numel() * static_cast<int64_t>(sizeof(float));
    if (buckets_.empty() || bytes + own > options_.bucket_bytes) {
      buckets_.emplace_back();
      bytes = 0;
    }
    bytes += own;
    buckets_.back().parameters.push_back(i);
    bucket_of_[i] = buckets_.size() - 1;
  }
}

void DataParallel::choose_owners() {
  std::vector<size_t> order(parameters_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  stable_sort(order, [&](size_t a, size_t b) { return parameters_[a]->value.numel() > parameters_[b]->value.numel(); });
  std::vector<int64_t> load(static_cast<size_t>(ranks_.size()), 0);
  owners_.resize(parameters_.size());
  for (const size_t i : order) {
    const auto least = std::min_element(load.begin(), load.end());
    owners_[i] = static_cast<int>(least - load.begin());
    *least += parameters_[i]->value.numel();
  }
}

std::vector<bool> DataParallel::owned() const {
  std::vector<bool> mine(parameters_.size());
  for (size_t i = 0; i < mine.size(); ++i) mine[i] = owns(i);
  return mine;
}

void DataParallel::begin_backward() {
  std::fill(seen_.begin(), seen_.end(), 0);
  for (Bucket& bucket : buckets_) bucket.missing = bucket.parameters.size();
  submitted_ = 0;
  const std::lock_guard<std::mutex> lock(mutex_);
  done_ = 0;
  open_ = true;
}

void DataParallel::ready(const Tensor& leaf) {
  if (!open_) return;
  const auto found = numbers_.find(leaf.id());
  if (found == numbers_.end()) return;
  const size_t parameter = found->second;
  // How often a parameter is met (shared layers, tied embeddings) is learned in the first pass, in which nothing travels early.
  const int count = ++seen_[parameter];
  if (!options_.overlap || expected_[parameter] == 0 || count < expected_[parameter]) return;
  if (count > expected_[parameter]) {
    fail(ErrorKind::kInternal, "data parallel", "{}: used {} times in a backward pass, {} times before",
         parameters_[parameter]->name, count, expected_[parameter]);
  }
  --buckets_[bucket_of_[parameter]].missing;
  submit_ready();
}

void DataParallel::submit_ready() {
  while (submitted_ < buckets_.size() && buckets_[submitted_].missing == 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(submitted_++);
    changed_.notify_all();
  }
}

void DataParallel::finish_backward() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    expected_[i] = std::max(expected_[i], seen_[i]);
    Tensor& value = parameters_[i]->value;
    if (!value.grad()) value.set_grad(Tensor::zeros(value.device(), DType::kFloat32, value.dims()));
  }
  for (Bucket& bucket : buckets_) bucket.missing = 0;
  submit_ready();
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return done_ == buckets_.size() || error_; });
  open_ = false;
  if (error_) std::rethrow_exception(error_);
}

void DataParallel::reduce(const Bucket& bucket) {
  int64_t count = 0;
  for (const size_t i : bucket.parameters) count += parameters_[i]->value.numel();
  std::vector<float> values(static_cast<size_t>(count));
  float* at = values.data();
  for (const size_t i : bucket.parameters) {
    const Tensor gradient = parameters_[i]->value.grad();
    at = std::copy_n(gradient.data<float>(), gradient.numel(), at);
  }
  ranks_.all_reduce(values.data(), count, options_.wire);
  const float* from = values.data();
  for (const size_t i : bucket.parameters) {
    const Tensor gradient = parameters_[i]->value.grad();
    std::copy_n(from, gradient.numel(), gradient.data<float>());
    from += gradient.numel();
  }
}

void DataParallel::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const size_t bucket = queue_.front();
    queue_.pop_front();
    lock.unlock();
    std::exception_ptr error;
    try {
      reduce(buckets_[bucket]);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    ++done_;
    if (error) error_ = error;
    changed_.notify_all();
  }
}

void DataParallel::share_parameters() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Tensor& value = parameters_[i]->value;
    ranks_.broadcast(value.data<float>(), value.bytes(), owners_[i]);
    if (!owns(i)) ++parameters_[i]->version;
  }
}

std::string DataParallel::share(std::string text) {
  auto size = static_cast<int64_t>(text.size());
  ranks_.broadcast(&size, sizeof(size), 0);
  text.resize(static_cast<size_t>(size));
  ranks_.broadcast(text.data(), size, 0);
  return text;
}

std::vector<std::pair<std::string, Tensor>> DataParallel::gather(std::vector<std::pair<std::string, Tensor>> mine) {
  std::vector<std::pair<std::string, Tensor>> all;
  for (int root = 0; root < ranks_.size(); ++root) {
    auto count = static_cast<int64_t>(mine.size());
    ranks_.broadcast(&count, sizeof(count), root);
    for (int64_t i = 0; i < count; ++i) {
      const bool ours = root == ranks_.rank();
      std::string head;
      if (ours) {
        Json json = Json::object(), dims = Json::array();
        for (const int64_t dim : mine[static_cast<size_t>(i)].second.dims()) dims.push_back(dim);
        json.set("name", mine[static_cast<size_t>(i)].first).set("dims", std::move(dims));
        head = json.set("dtype", static_cast<int64_t>(mine[static_cast<size_t>(i)].second.dtype())).dump();
      }
      auto length = static_cast<int64_t>(head.size());
      ranks_.broadcast(&length, sizeof(length), root);
      head.resize(static_cast<size_t>(length));
      ranks_.broadcast(head.data(), length, root);
      Tensor tensor;
      if (ours) {
        tensor = mine[static_cast<size_t>(i)].second;
      } else {
        const Json json = Json::parse(head, "rank");
        std::vector<int64_t> dims;
        for (const Json& dim : json.at("dims", "rank").as_array("rank")) dims.push_back(dim.as_int("rank"));
        const auto dtype = static_cast<DType>(json.at("dtype", "rank").as_int("rank"));
        tensor = Tensor::empty(parameters_.front()->value.device(), dtype, dims);
        if (ranks_.rank() == 0) all.emplace_back(json.at("name", "rank").as_string("rank"), tensor);
      }
      ranks_.broadcast(tensor.view().data, tensor.bytes(), root);
      if (ours && ranks_.rank() == 0) all.emplace_back(mine[static_cast<size_t>(i)]);
    }
  }
  return all;
}

}  // namespace pagoda::train
