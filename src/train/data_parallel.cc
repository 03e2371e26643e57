// Buckets from the last parameter to the first, as a backward pass meets them; a thread that talks to the other ranks.
#include "train/data_parallel.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "base/error.h"
#include "base/json.h"
#include "base/stable_sort.h"
#include "tensor/dtype.h"

namespace pagoda::train {

namespace {

constexpr int64_t kRun = 1024;  // elements that are summed at a time

// own = the sum over the ranks in their order; parts[r]: what came from rank r (null: this rank, whose part is `own`).
template <class T>
void add_in_order(float* own, const std::vector<const T*>& parts, int64_t count) {
  std::array<float, kRun> sums;
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t run = std::min(kRun, count - begin);
    for (size_t r = 0; r < parts.size(); ++r) {
      const auto add = [&](const auto* values) {
        for (int64_t i = 0; i < run; ++i) {
          const auto value = static_cast<float>(values[i]);
          sums[static_cast<size_t>(i)] = r == 0 ? value : sums[static_cast<size_t>(i)] + value;
        }
      };
      if (parts[r] == nullptr) {
        add(own + begin);
      } else {
        add(parts[r] + begin);
      }
    }
    std::copy_n(sums.data(), run, own + begin);
  }
}

void move_to_cores(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(core, &set);
  ::sched_setaffinity(0, sizeof set, &set);  // of this thread; refused (container): it stays where it is
}

}  // namespace

DataParallel::DataParallel(Communicator& ranks, std::vector<Parameter*> parameters, const DataParallelOptions& options)
    : ranks_(ranks),
      parameters_(std::move(parameters)),
      options_(options),
      expected_(parameters_.size(), 0),
      seen_(parameters_.size(), 0) {
  for (size_t i = 0; i < parameters_.size(); ++i) numbers_[parameters_[i]->value.id()] = i;
  choose_owners();
  make_buckets();
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
  const int64_t most = std::max<int64_t>(1, options_.bucket_bytes / static_cast<int64_t>(sizeof(float)));
  int64_t room = 0;
  for (size_t i = parameters_.size(); i-- > 0;) {
    const int64_t all = parameters_[i]->value.numel();
    // A new bucket where the rest of the last one is too small, unless the parameter has to be cut anyway.
    if (buckets_.empty() || (all > room && all <= most)) room = 0;
    for (int64_t begin = 0; begin < all;) {
      if (room == 0) {
        buckets_.emplace_back();
        room = most;
      }
      const int64_t count = std::min(room, all - begin);
      buckets_.back().pieces.push_back({i, begin, count});
      begin += count;
      room -= count;
    }
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
  for (Bucket& bucket : buckets_) bucket.missing = bucket.pieces.size();
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
  for (size_t b = submitted_; b < buckets_.size(); ++b) {
    for (const Piece& piece : buckets_[b].pieces) buckets_[b].missing -= piece.parameter == parameter ? 1 : 0;
  }
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
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!owns(i)) parameters_[i]->value.set_grad(Tensor());
  }
}

void DataParallel::reduce(const Bucket& bucket) {
  const bool half = options_.wire == Wire::kBFloat16;
  const int64_t width = half ? 2 : 4;
  const int size = ranks_.size();
  int64_t bytes = 0;  // that leave (those that are rounded) and come
  for (const Piece& piece : bucket.pieces) {
    bytes += piece.count * width * (owns(piece.parameter) ? size - 1 : half ? 1 : 0);
  }
  if (static_cast<int64_t>(wire_.size()) < bytes) wire_.resize(static_cast<size_t>(bytes));
  uint8_t* room = wire_.data();
  std::vector<Message> sends, receives;
  for (const Piece& piece : bucket.pieces) {
    const int64_t length = piece.count * width;
    if (owns(piece.parameter)) {
      for (int r = 0; r < size; ++r) {
        if (r == ranks_.rank()) continue;
        receives.push_back({r, room, length});
        room += length;
      }
      continue;
    }
    const Tensor gradient = parameters_[piece.parameter]->value.grad();
    float* values = gradient.data<float>() + piece.begin;
    void* leaves = values;
    if (half) {
      auto* rounded = reinterpret_cast<BFloat16*>(room);
      for (int64_t i = 0; i < piece.count; ++i) rounded[i] = BFloat16(values[i]);
      leaves = rounded;
      room += length;
    }
    sends.push_back({owners_[piece.parameter], leaves, length});
  }
  ranks_.exchange(sends, receives);
  size_t next = 0;
  for (const Piece& piece : bucket.pieces) {
    if (!owns(piece.parameter)) continue;
    const Tensor gradient = parameters_[piece.parameter]->value.grad();
    float* own = gradient.data<float>() + piece.begin;
    const auto add = [&](auto tag) {
      using T = decltype(tag);
      std::vector<const T*> parts(static_cast<size_t>(size), nullptr);
      for (int r = 1; r < size; ++r, ++next)
        parts[static_cast<size_t>(receives[next].rank)] = static_cast<const T*>(receives[next].data);
      add_in_order(own, parts, piece.count);
    };
    if (half) {
      add(BFloat16());
    } else {
      add(float());
    }
  }
}

void DataParallel::work() {
  if (!options_.cores.empty()) move_to_cores(options_.cores);
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

size_t DataParallel::first_of_all(size_t own) {
  std::vector<size_t> all(static_cast<size_t>(ranks_.size()));
  ranks_.all_gather(&own, all.data(), std::vector<int64_t>(all.size(), sizeof(size_t)));
  return *std::min_element(all.begin(), all.end());
}

void DataParallel::share_parameters() {
  std::vector<Message> sends, receives;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Tensor& value = parameters_[i]->value;
    if (!owns(i)) {
      receives.push_back({owners_[i], value.data<float>(), value.bytes()});
      ++parameters_[i]->version;
      continue;
    }
    for (int r = 0; r < ranks_.size(); ++r) {
      if (r != ranks_.rank()) sends.push_back({r, value.data<float>(), value.bytes()});
    }
  }
  ranks_.exchange(sends, receives);
}

std::vector<std::pair<std::string, Tensor>> DataParallel::gather(std::vector<std::pair<std::string, Tensor>> mine) {
  Json list = Json::array();
  for (const auto& [name, tensor] : mine) {
    Json dims = Json::array();
    for (const int64_t dim : tensor.dims()) dims.push_back(dim);
    list.push_back(Json::object().set("name", name).set("dims", dims).set("dtype", static_cast<int64_t>(tensor.dtype())));
  }
  const std::string head = list.dump();
  const auto size = static_cast<size_t>(ranks_.size());
  std::vector<int64_t> lengths(size);
  const auto length = static_cast<int64_t>(head.size());
  ranks_.all_gather(&length, lengths.data(), std::vector<int64_t>(size, sizeof(int64_t)));
  std::string heads(static_cast<size_t>(std::accumulate(lengths.begin(), lengths.end(), int64_t{0})), ' ');
  ranks_.all_gather(head.data(), heads.data(), lengths);
  std::vector<Message> sends, receives;
  if (ranks_.rank() > 0) {
    for (const auto& each : mine) sends.push_back({0, each.second.view().data, each.second.bytes()});
    ranks_.exchange(sends, receives);
    return {};
  }
  std::vector<std::pair<std::string, Tensor>> all = std::move(mine);
  size_t at = head.size();
  for (size_t r = 1; r < size; at += static_cast<size_t>(lengths[r]), ++r) {
    const Json theirs = Json::parse(heads.substr(at, static_cast<size_t>(lengths[r])), "rank");
    for (const Json& one : theirs.as_array("rank")) {
      std::vector<int64_t> dims;
      for (const Json& dim : one.at("dims", "rank").as_array("rank")) dims.push_back(dim.as_int("rank"));
      const auto dtype = static_cast<DType>(one.at("dtype", "rank").as_int("rank"));
      const Tensor tensor = Tensor::empty(parameters_.front()->value.device(), dtype, dims);
      receives.push_back({static_cast<int>(r), tensor.view().data, tensor.bytes()});
      all.emplace_back(one.at("name", "rank").as_string("rank"), tensor);
    }
  }
  ranks_.exchange(sends, receives);
  return all;
}

}  // namespace pagoda::train
