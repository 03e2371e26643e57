// Orders are numbers; rows are read from mapped shards when their turn comes.
#include "train/data/dataset.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "train/data/dataset_info.h"

namespace pagoda::train {

namespace {

// Mapped at once. A buffer rarely reaches over more shards, and one that was closed is opened again.
constexpr size_t kOpenShards = 1024;

uint64_t stream_of(int64_t epoch) { return 0x6461746173657400ull ^ static_cast<uint64_t>(epoch); }

std::vector<std::string> shard_files(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    if (!directory_exists(path)) {
      if (!file_exists(path)) not_found(path, "no such file or folder");
      files.push_back(path);
      continue;
    }
    std::vector<std::pair<int64_t, std::string>> found;  // numbered ones in their order, then by name
    for (const std::string& name : list_directory(path)) {
      if (!is_shard_file(name)) continue;
      int64_t shard = INT64_MAX, count = 0;
      if (!parse_shard_name(name, shard, count)) shard = INT64_MAX;
      found.emplace_back(shard, name);
    }
    if (found.empty()) not_found(path, "no shards in it: need files *.tfrecord or *.safetensors");
    std::vector<std::string> names;
    for (const auto& [shard, name] : found) names.push_back(name);
    check_shards(path, names);
    std::sort(found.begin(), found.end());
    for (const auto& [shard, name] : found) files.push_back(join_path(path, name));
  }
  if (files.empty()) invalid("data", "got no shards, need at least one");
  return files;
}

}  // namespace

RowOrder::RowOrder(const std::vector<int64_t>& shard_sizes, bool shuffle, int64_t buffer, uint64_t seed, int64_t epoch)
    : sizes_(shard_sizes),
      shards_(shard_sizes.size()),
      buffer_size_(shuffle ? static_cast<size_t>(std::max<int64_t>(1, buffer)) : 1),
      random_(seed, stream_of(epoch)) {
  std::iota(shards_.begin(), shards_.end(), size_t{0});
  if (!shuffle) return;
  for (size_t i = shards_.size(); i > 1; --i) std::swap(shards_[i - 1], shards_[random_.bits(drawn_++) % i]);
}

bool RowOrder::source(Place& place) {
  while (shard_ < shards_.size()) {
    if (row_ < sizes_[shards_[shard_]]) {
      place = {shards_[shard_], row_++};
      return true;
    }
    ++shard_;
    row_ = 0;
  }
  return false;
}

bool RowOrder::next(Place& place) {
  Place fresh{};
  while (buffer_.size() < buffer_size_ && source(fresh)) buffer_.push_back(fresh);
  if (buffer_.empty()) return false;
  const size_t drawn = buffer_size_ == 1 ? 0 : random_.bits(drawn_++) % buffer_.size();
  place = buffer_[drawn];
  if (source(fresh)) {
    buffer_[drawn] = fresh;
  } else {
    buffer_[drawn] = buffer_.back();
    buffer_.pop_back();
  }
  return true;
}

DatasetReader::DatasetReader(const std::vector<std::string>& paths, const DatasetOptions& options)
    : options_(options), files_(shard_files(paths)) {
  if (options_.world < 1 || options_.rank < 0 || options_.rank >= options_.world) {
    invalid("rank", "got rank {} of {}, need 0 to below the number of ranks", options_.rank, options_.world);
  }
  for (const std::string& file : files_) {
    int64_t shard = 0, count = 0;
    sizes_.push_back(parse_shard_name(file, shard, count) ? count : Shard::open(file, options_.limits)->size());
    if (options_.max_rows > 0) sizes_.back() = std::min(sizes_.back(), options_.max_rows - num_rows_);
    num_rows_ += sizes_.back();
  }
  if (num_rows_ < options_.world)
    invalid(files_[0], "got {} rows in all, need one for each of {} ranks", num_rows_, options_.world);
  start();
}

DatasetReader::~DatasetReader() { stop(); }

void DatasetReader::start() {
  reading_epoch_ = epoch_;
  reading_position_ = 0;
  order_ = std::make_unique<RowOrder>(sizes_, options_.shuffle, options_.shuffle_buffer, options_.seed, epoch_);
  RowOrder::Place place{};
  while (reading_position_ < position_ && order_->next(place)) ++reading_position_;
  ahead_.clear();
  stopping_ = false;
  if (options_.prefetch > 0) thread_ = std::thread([this] { read_ahead(); });
}

void DatasetReader::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Shard& DatasetReader::shard(size_t index) {
  OpenShard& open = open_[index];
  if (open.shard == nullptr) open.shard = Shard::open(files_[index], options_.limits);
  open.used = ++reads_;
  if (open_.size() > kOpenShards) {
    const auto oldest = std::min_element(open_.begin(), open_.end(),
                                         [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
    open_.erase(oldest);
  }
  return *open_.at(index).shard;
}

DatasetReader::Item DatasetReader::produce() {
  Item item;
  try {
    if (reading_position_ + options_.world > num_rows_) {
      item.end = true;
      ++reading_epoch_;
      reading_position_ = 0;
      order_ = std::make_unique<RowOrder>(sizes_, options_.shuffle, options_.shuffle_buffer, options_.seed, reading_epoch_);
      return item;
    }
    RowOrder::Place mine{}, place{};
    for (int rank = 0; rank < options_.world; ++rank) {
      order_->next(place);
      if (rank == options_.rank) mine = place;
    }
    reading_position_ += options_.world;
    item.example = shard(mine.shard).read(mine.row);
  } catch (...) {
    item.error = std::current_exception();
  }
  return item;
}

void DatasetReader::read_ahead() {
  for (;;) {
    Item item = produce();
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return stopping_ || static_cast<int64_t>(ahead_.size()) < options_.prefetch; });
    if (stopping_) return;
    ahead_.push_back(std::move(item));
    lock.unlock();
    changed_.notify_all();
  }
}

bool DatasetReader::next(Example& example) {
  Item item;
  if (options_.prefetch > 0) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return !ahead_.empty(); });
    item = std::move(ahead_.front());
    ahead_.pop_front();
    lock.unlock();
    changed_.notify_all();
  } else {
    item = produce();
  }
  if (item.end) {
    ++epoch_;
    position_ = 0;
    return false;
  }
  position_ += options_.world;
  if (item.error) std::rethrow_exception(item.error);
  example = std::move(item.example);
  return true;
}

Json DatasetReader::state() const {
  return Json::object()
      .set("epoch", epoch_)
      .set("position", position_)
      .set("num_rows", num_rows_)
      .set("num_shards", static_cast<int64_t>(files_.size()))
      .set("shuffle", options_.shuffle)
      .set("shuffle_buffer", options_.shuffle_buffer)
      .set("seed", static_cast<int64_t>(options_.seed));
}

void DatasetReader::restore(const Json& state) {
  const Json mine = this->state();
  for (const char* field : {"num_rows", "num_shards", "shuffle", "shuffle_buffer", "seed"}) {
    const Json& saved = state.at(field, "data position");
    const Json& have = mine.at(field, "data position");
    if (!(saved == have))
      invalid("data position", "{} is another than when it was saved: got {}, need {}", field, have.dump(), saved.dump());
  }
  const int64_t epoch = state.at("epoch", "data position").as_int("data position: epoch");
  const int64_t position = state.at("position", "data position").as_int("data position: position");
  if (epoch < 0 || position < 0 || position > num_rows_) {
    invalid("data position", "got epoch {} and position {}, need positions up to {}", epoch, position, num_rows_);
  }
  stop();
  epoch_ = epoch;
  position_ = position;
  start();
}

}  // namespace pagoda::train
