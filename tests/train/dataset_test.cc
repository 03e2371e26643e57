// Reading in training: every row once an epoch, resumed at every place, dealt out to ranks, and corrupt shards.
#include "train/data/dataset.h"

#include <algorithm>
#include <map>

#include "formats/tfrecord.h"
#include "tests/folder.h"

namespace pagoda::train {
namespace {

using pagoda::testing::Folder;
using pagoda::testing::message_of;

void write_rows(const std::string& folder, int rows, int64_t shard_size, bool native) {
  ShardWriterOptions options;
  options.folder = folder;
  options.native = native;
  options.shard_size = shard_size;
  ShardWriter writer(options);
  for (int i = 0; i < rows; ++i) {
    Example example;
    example.input_ids.assign(static_cast<size_t>(i % 4 + 1), i);
    writer.add(example);
  }
  writer.finish();
}

// The numbers of the rows of the next `epochs`, -1 at each epoch's end.
std::vector<int32_t> read(DatasetReader& reader, int epochs) {
  std::vector<int32_t> rows;
  Example example;
  while (epochs > 0) {
    const bool more = reader.next(example);
    rows.push_back(more ? example.input_ids[0] : -1);
    if (!more) --epochs;
  }
  return rows;
}

DatasetOptions some_options(int64_t prefetch = 4) {
  DatasetOptions options;
  options.shuffle_buffer = 13;
  options.seed = 5;
  options.prefetch = prefetch;
  return options;
}

TEST(Dataset, HasEveryRowOnceAnEpoch) {
  const Folder folder("dataset_once");
  for (const bool native : {false, true}) {
    const std::string shards = folder / (native ? "native" : "records");
    write_rows(shards, 47, 10, native);
    DatasetReader reader({shards}, some_options());
    EXPECT_EQ(reader.num_rows(), 47);
    std::vector<int32_t> last;
    for (int epoch = 0; epoch < 3; ++epoch) {
      EXPECT_EQ(reader.epoch(), epoch);
      std::vector<int32_t> rows = read(reader, 1);
      EXPECT_NE(rows, last);
      last = rows;
      rows.pop_back();
      EXPECT_FALSE(std::is_sorted(rows.begin(), rows.end()));
      std::sort(rows.begin(), rows.end());
      ASSERT_EQ(rows.size(), 47u);
      for (int i = 0; i < 47; ++i) EXPECT_EQ(rows[static_cast<size_t>(i)], i);
    }
  }
}

TEST(Dataset, InOrderWithoutShuffling) {
  const Folder folder("dataset_order");
  write_rows(folder.path(), 130, 10, false);  // 13 shards: dataset-10 comes behind dataset-9
  DatasetOptions options = some_options();
  options.shuffle = false;
  DatasetReader reader({folder.path()}, options);
  const std::vector<int32_t> rows = read(reader, 1);
  for (int i = 0; i < 130; ++i) EXPECT_EQ(rows[static_cast<size_t>(i)], i);
}

TEST(Dataset, GoesOnFromEveryPlace) {
  const Folder folder("dataset_resume");
  write_rows(folder.path(), 29, 6, false);
  for (const int64_t prefetch : {0, 3}) {
    for (const bool shuffle : {true, false}) {
      DatasetOptions options = some_options(prefetch);
      options.shuffle = shuffle;
      std::vector<Json> states;
      std::vector<int32_t> rows;
      DatasetReader reader({folder.path()}, options);
      for (int i = 0; i < 75; ++i) {  // two and a half epochs
        states.push_back(Json::parse(reader.state().dump(), "state"));
        Example example;
        rows.push_back(reader.next(example) ? example.input_ids[0] : -1);
      }
      DatasetReader resumed({folder.path()}, options);
      for (size_t i = 0; i < states.size(); ++i) {
        resumed.restore(states[i]);
        for (size_t k = i; k < rows.size(); ++k) {
          Example example;
          ASSERT_EQ(resumed.next(example) ? example.input_ids[0] : -1, rows[k]) << i << " " << k;
        }
      }
    }
  }
}

TEST(Dataset, RanksDealOutOneOrder) {
  const Folder folder("dataset_ranks");
  write_rows(folder.path(), 31, 7, true);
  DatasetReader whole({folder.path()}, some_options());
  std::vector<int32_t> order = read(whole, 1);
  order.pop_back();
  for (const int world : {2, 3}) {
    std::vector<std::vector<int32_t>> parts;
    for (int rank = 0; rank < world; ++rank) {
      DatasetOptions options = some_options();
      options.rank = rank;
      options.world = world;
      DatasetReader reader({folder.path()}, options);
      parts.push_back(read(reader, 1));
      EXPECT_EQ(static_cast<int64_t>(parts.back().size()) - 1, reader.rows_of_rank());
    }
    for (int i = 0; i < 31 / world * world; ++i) {
      EXPECT_EQ(parts[static_cast<size_t>(i % world)][static_cast<size_t>(i / world)], order[static_cast<size_t>(i)]);
    }
  }
  // Two ranks for 5 steps, then one alone goes on.
  DatasetOptions options = some_options();
  options.world = 2;
  DatasetReader two({folder.path()}, options);
  Example example;
  for (int i = 0; i < 5; ++i) two.next(example);
  DatasetReader one({folder.path()}, some_options());
  one.restore(two.state());
  const std::vector<int32_t> rest = read(one, 1);
  EXPECT_EQ(std::vector<int32_t>(rest.begin(), rest.end() - 1), std::vector<int32_t>(order.begin() + 10, order.end()));
}

TEST(Dataset, ABufferOfOneKeepsRowsOfAShardTogether) {
  const Folder folder("dataset_one");
  write_rows(folder.path(), 40, 10, false);
  DatasetOptions options = some_options();
  options.shuffle_buffer = 1;
  DatasetReader reader({folder.path()}, options);
  const std::vector<int32_t> rows = read(reader, 1);
  for (size_t i = 0; i < 40; ++i) EXPECT_EQ(rows[i] % 10, static_cast<int32_t>(i % 10));
}

TEST(Dataset, NamesWhatIsCorrupt) {
  const Folder folder("dataset_corrupt");
  write_rows(folder.path(), 20, 5, false);
  const std::string path = folder / "dataset-2-5.tfrecord";
  std::string bytes = read_file(path, 1 << 20);
  const std::vector<int64_t> offsets = index_tfrecords(bytes, path);
  bytes[static_cast<size_t>(offsets[3]) + 14] ^= 1;
  write_file_atomic(path, bytes);
  for (const int64_t prefetch : {0, 50}) {
    DatasetOptions options = some_options(prefetch);
    options.shuffle = false;
    DatasetReader reader({folder.path()}, options);
    Example example;
    for (int i = 0; i < 13; ++i) ASSERT_TRUE(reader.next(example));
    const std::string message = message_of([&] { reader.next(example); });
    EXPECT_NE(message.find("dataset-2-5.tfrecord] corrupt record 3 at offset " + std::to_string(offsets[3])), std::string::npos)
        << message;
    ASSERT_TRUE(reader.next(example));  // the next one is good
    EXPECT_EQ(example.input_ids[0], 14);
  }
  std::filesystem::rename(path, folder / "dataset-2-6.tfrecord");
  DatasetOptions options = some_options();
  options.shuffle = false;
  DatasetReader reader({folder.path()}, options);
  EXPECT_NE(message_of([&] { read(reader, 1); }).find("got 5, need 6"), std::string::npos);
}

TEST(Dataset, RefusesAnotherPlace) {
  const Folder folder("dataset_state");
  write_rows(folder / "a", 20, 5, false);
  write_rows(folder / "b", 25, 5, false);
  DatasetReader a({folder / "a"}, some_options()), b({folder / "b"}, some_options());
  EXPECT_NE(message_of([&] { b.restore(a.state()); }).find("num_rows"), std::string::npos);
  DatasetOptions other = some_options();
  other.seed = 6;
  DatasetReader c({folder / "a"}, other);
  EXPECT_NE(message_of([&] { c.restore(a.state()); }).find("seed"), std::string::npos);
  Json state = a.state();
  state.set("position", 21);
  EXPECT_NE(message_of([&] { a.restore(state); }).find("position 21"), std::string::npos);
  DatasetOptions ranks = some_options();
  ranks.rank = 2;
  ranks.world = 2;
  EXPECT_NE(message_of([&] { DatasetReader({folder / "a"}, ranks); }).find("rank 2 of 2"), std::string::npos);
  EXPECT_NE(message_of([&] { DatasetReader({folder / "none"}, other); }).find("no such file"), std::string::npos);
}

TEST(Dataset, ShardNames) {
  int64_t shard = 0, count = 0;
  EXPECT_TRUE(parse_shard_name("/x/dataset-12-5000.tfrecord", shard, count));
  EXPECT_EQ(shard, 12);
  EXPECT_EQ(count, 5000);
  for (const char* name :
       {"dataset-1.tfrecord", "dataset--5.tfrecord", "data-1-2.tfrecord", "dataset-1-2.txt", "dataset-1-2x.tfrecord"}) {
    EXPECT_FALSE(parse_shard_name(name, shard, count)) << name;
  }
}

}  // namespace
}  // namespace pagoda::train
