// Reading shards in training: shuffled, dealt out to ranks, read ahead, and resumed at any place.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"
#include "base/limits.h"
#include "base/random.h"
#include "train/data/rows.h"
#include "train/data/shards.h"

namespace pagoda::train {

struct DatasetOptions {
  bool shuffle = true;               // the order of shards, and of rows within a buffer
  int64_t shuffle_buffer = 1 << 18;  // rows among which the next one is drawn
  uint64_t seed = 0;
  int rank = 0, world = 1;
  int64_t max_rows = 0;   // of all, the first in the files' order; 0: all
  int64_t prefetch = 64;  // examples read ahead by a thread; 0: none
  Limits limits;
};

// The order of the rows of one epoch, as numbers: the same for every rank and every number of ranks. Drawn like a shuffle
// buffer over the shards in a random order, but the buffer holds numbers, not rows: so it costs next to nothing to go on from
// any place.
class RowOrder {
 public:
  RowOrder(const std::vector<int64_t>& shard_sizes, bool shuffle, int64_t buffer, uint64_t seed, int64_t epoch);
  struct Place {
    size_t shard;
    int64_t row;
  };
  bool next(Place& place);  // false: the epoch has ended

 private:
  bool source(Place& place);
  std::vector<int64_t> sizes_;
  std::vector<size_t> shards_;  // in the epoch's order
  size_t shard_ = 0;
  int64_t row_ = 0;
  size_t buffer_size_;
  std::vector<Place> buffer_;
  RandomStream random_;
  uint64_t drawn_ = 0;
};

// Rows k, k + world, ... of that order, for rank k. All ranks get equally many: what does not fill a round is left out of the
// epoch. Not thread-safe. Errors of a shard (kInvalidInput, naming file, record and offset) are thrown by next() in their
// place.
class DatasetReader {
 public:
  // `paths`: shards, or folders of them, whole by dataset_info.json beside them where there is one. Row counts are taken from
  // the names, without opening the files; files of other names are opened.
  DatasetReader(const std::vector<std::string>& paths, const DatasetOptions& options);
  ~DatasetReader();
  DatasetReader(const DatasetReader&) = delete;
  DatasetReader& operator=(const DatasetReader&) = delete;

  // The next example of this rank; false at the end of an epoch, after which the next epoch begins.
  bool next(Example& example);
  int64_t epoch() const { return epoch_; }
  int64_t position() const { return position_; }                       // rows of all ranks taken in this epoch
  int64_t num_rows() const { return num_rows_; }                       // of an epoch, all ranks
  int64_t rows_of_rank() const { return num_rows_ / options_.world; }  // of a whole epoch

  // Where the next example lies: {"epoch", "position" (rows of all ranks in it), and what must be equal to go on}. The same for
  // all ranks that have taken equally many.
  Json state() const;
  // Goes on from there, also with another number of ranks. kInvalidInput where data, seed or buffer differ.
  void restore(const Json& state);

 private:
  struct Item {
    Example example;
    bool end = false;  // of the epoch
    std::exception_ptr error;
  };
  struct OpenShard {
    std::unique_ptr<Shard> shard;
    int64_t used = 0;
  };
  void start();  // reading from epoch_ and position_
  void stop();
  Item produce();  // by the reading thread, or by next() where nothing is read ahead
  Shard& shard(size_t index);
  void read_ahead();

  DatasetOptions options_;
  std::vector<std::string> files_;
  std::vector<int64_t> sizes_;
  int64_t num_rows_ = 0;
  int64_t epoch_ = 0, position_ = 0;  // of what was taken

  // What is being read.
  std::unique_ptr<RowOrder> order_;
  int64_t reading_epoch_ = 0, reading_position_ = 0;
  std::map<size_t, OpenShard> open_;
  int64_t reads_ = 0;

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> ahead_;
  bool stopping_ = false;
};

}  // namespace pagoda::train
