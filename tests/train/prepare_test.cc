// From rows to shards: what is cut, packed, held out and left out.
#include "train/data/prepare.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "formats/tokenizer_json.h"
#include "tests/folder.h"
#include "train/data/dataset.h"
#include "train/data/files.h"
#include "train/data/shards.h"

namespace pagoda::train {
namespace {

using pagoda::testing::Folder;
using pagoda::testing::message_of;

// Words "0" to "99" are their own ids; [CLS] is 100 and [SEP] 101.
std::shared_ptr<const Tokenizer> number_tokenizer() {
  std::string vocab;
  for (int i = 0; i < 100; ++i) vocab += fmt::format("\"{}\": {}, ", i, i);
  const std::string text = R"({"version": "1.0", "added_tokens": [
    {"id": 100, "content": "[CLS]", "special": true, "normalized": false},
    {"id": 101, "content": "[SEP]", "special": true, "normalized": false}],
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 100], "sep": ["[SEP]", 101]},
    "model": {"type": "WordLevel", "unk_token": "0", "vocab": {)" +
                           vocab + R"("[CLS]": 100, "[SEP]": 101}}})";
  return read_tokenizer_json(text, "tokenizer");
}

std::string rows_of_numbers(int rows) {
  std::string text;
  for (int i = 0; i < rows; ++i) {
    for (int k = 0; k <= i % 5; ++k) text += fmt::format("{}{}", k > 0 ? " " : "", (i * 7 + k) % 100);
    text += "\n";
  }
  return text;
}

std::vector<Example> read_split(const std::string& folder) {
  DatasetOptions options;
  options.shuffle = false;
  DatasetReader reader({folder}, options);
  std::vector<Example> examples;
  for (Example example; reader.next(example);) examples.push_back(example);
  return examples;
}

class Prepare : public ::testing::Test {
 protected:
  Prepare() : folder_("prepare"), tokenizer_(number_tokenizer()), pool_(2) {
    options_.files = {folder_.write("in.txt", rows_of_numbers(103))};
    options_.output_dir = folder_ / "out";
    options_.block_size = 8;
    options_.shard_size = 10;
  }
  PrepareReport run() { return prepare_data(options_, tokenizer_.get(), pool_); }
  std::vector<int32_t> all_ids(int from, int to) const {  // of rows [from, to), special tokens included
    std::vector<int32_t> ids;
    for (int i = from; i < to; ++i) {
      ids.push_back(100);
      for (int k = 0; k <= i % 5; ++k) ids.push_back((i * 7 + k) % 100);
      ids.push_back(101);
    }
    return ids;
  }
  Folder folder_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  ThreadPool pool_;
  PrepareOptions options_;
};

TEST_F(Prepare, RowsAreCutAsTheyFollow) {
  const PrepareReport report = run();
  const std::vector<int32_t> ids = all_ids(0, 103);
  const std::vector<Example> examples = read_split(folder_ / "out/train");
  ASSERT_EQ(examples.size(), ids.size() / 8);
  for (size_t i = 0; i < examples.size(); ++i) {
    EXPECT_EQ(examples[i].input_ids,
              std::vector<int32_t>(ids.begin() + static_cast<int64_t>(i) * 8, ids.begin() + static_cast<int64_t>(i + 1) * 8));
    EXPECT_EQ(examples[i].attention_mask, std::vector<int32_t>(8, 1));
  }
  const SplitReport& split = report.splits.at("train");
  EXPECT_EQ(split.rows, 103);
  EXPECT_EQ(split.examples, static_cast<int64_t>(examples.size()));
  EXPECT_EQ(split.tokens + split.dropped_tokens, static_cast<int64_t>(ids.size()));
  EXPECT_EQ(split.files.front(), "dataset-0-10.tfrecord");
  EXPECT_EQ(split.files.back(), fmt::format("dataset-{}-{}.tfrecord", examples.size() / 10, examples.size() % 10));
  EXPECT_EQ(read_file(folder_ / "out/split-train-records-count.txt", 100),
            fmt::format("Total train records: {}\n", examples.size()));
}

TEST_F(Prepare, GroupsDropTheirRest) {
  options_.group_size = 10;
  run();
  std::vector<int32_t> expected;
  for (int group = 0; group < 103; group += 10) {
    std::vector<int32_t> ids = all_ids(group, std::min(group + 10, 103));
    ids.resize(ids.size() / 8 * 8);
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  std::vector<int32_t> got;
  for (const Example& example : read_split(folder_ / "out/train"))
    got.insert(got.end(), example.input_ids.begin(), example.input_ids.end());
  EXPECT_EQ(got, expected);
}

TEST_F(Prepare, BothFormsHoldTheSame) {
  run();
  const std::vector<Example> records = read_split(folder_ / "out/train");
  options_.native = true;
  options_.output_dir = folder_ / "native";
  run();
  std::vector<Example> mapped = read_split(folder_ / "native/train");
  for (Example& example : mapped) {
    EXPECT_TRUE(example.attention_mask.empty());  // all ones
    example.attention_mask.assign(8, 1);
  }
  EXPECT_EQ(mapped, records);
}

TEST_F(Prepare, PacksWholeRows) {
  options_.mode = "pack";
  run();
  std::multiset<std::vector<int32_t>> expected, got;
  for (int i = 0; i < 103; ++i) expected.insert(all_ids(i, i + 1));
  size_t examples = 0;
  for (const Example& example : read_split(folder_ / "out/train")) {
    ++examples;
    EXPECT_LE(example.input_ids.size(), 8u);
    std::vector<int32_t> row;
    for (size_t i = 0; i < example.input_ids.size(); ++i) {
      if (i > 0 && example.position_ids[i] == 0) {
        got.insert(row);
        row.clear();
      }
      EXPECT_EQ(example.position_ids[i], static_cast<int32_t>(row.size()));
      row.push_back(example.input_ids[i]);
    }
    got.insert(row);
  }
  EXPECT_EQ(got, expected);
  EXPECT_LT(examples, 80u);  // 103 rows of 3 to 7 tokens: two of them often fit
}

TEST_F(Prepare, ARowAnExample) {
  options_.mode = "line_by_line";
  options_.block_size = 5;
  run();
  const std::vector<Example> examples = read_split(folder_ / "out/train");
  ASSERT_EQ(examples.size(), 103u);
  EXPECT_EQ(examples[2].input_ids, all_ids(2, 3));
  EXPECT_EQ(examples[4].input_ids, (std::vector<int32_t>{100, 28, 29, 30, 101}));  // two of five numbers cut off, [SEP] kept
  options_.cut_left = true;
  options_.overwrite = true;
  run();
  EXPECT_EQ(read_split(folder_ / "out/train")[4].input_ids, (std::vector<int32_t>{100, 30, 31, 32, 101}));
}

TEST_F(Prepare, EveryNthRowIsHeldOut) {
  options_.mode = "line_by_line";
  options_.validation_every = 20;
  // Row 3 is row 20 once more, so it may not be trained on; row 60 is row 40 once more.
  std::vector<std::string> rows;
  for (int i = 0; i < 100; ++i) rows.push_back(fmt::format("{} {}", i, (i * 3) % 100));
  rows[2] = rows[19];
  rows[59] = rows[39];
  std::string text;
  for (const std::string& row : rows) text += row + "\n";
  options_.files = {folder_.write("in.txt", text)};
  const PrepareReport report = run();
  EXPECT_EQ(report.splits.at("validation").examples, 4);
  EXPECT_EQ(report.splits.at("validation").duplicates, 1);
  EXPECT_EQ(report.splits.at("train").examples, 94);
  EXPECT_EQ(report.splits.at("train").duplicates, 1);
  std::set<std::vector<int32_t>> held;
  for (const Example& example : read_split(folder_ / "out/validation")) held.insert(example.input_ids);
  EXPECT_EQ(held.count({100, 19, 57, 101}), 1u);
  for (const Example& example : read_split(folder_ / "out/train")) EXPECT_EQ(held.count(example.input_ids), 0u);
}

TEST_F(Prepare, AShareOfRowsIsHeldOutByWhatTheyAre) {
  options_.mode = "line_by_line";
  options_.validation_split_percentage = 20;
  options_.shard_size = 1000;  // every file is synced
  std::vector<std::string> rows;
  for (int i = 0; i < 2000; ++i) rows.push_back(fmt::format("{} {}", i % 100, (i / 100) % 15));  // 1500 different ones
  const auto write = [&] {
    std::string text;
    for (const std::string& row : rows) text += row + "\n";
    options_.files = {folder_.write("in.txt", text)};
    options_.overwrite = true;
    run();
    std::set<std::vector<int32_t>> held;
    for (const Example& example : read_split(folder_ / "out/validation")) EXPECT_TRUE(held.insert(example.input_ids).second);
    for (const Example& example : read_split(folder_ / "out/train")) EXPECT_EQ(held.count(example.input_ids), 0u);
    return held;
  };
  const auto first = write();
  EXPECT_NEAR(static_cast<double>(first.size()), 300, 60);
  std::reverse(rows.begin(), rows.end());
  EXPECT_EQ(write(), first);
}

TEST_F(Prepare, WhatWouldNotBeDoneToTokenisedRowsIsRefused) {
  options_.files = {folder_.write("in.jsonl", "{\"input_ids\": [1, 2, 3]}\n")};
  const auto refused = [&](auto&& change) {
    PrepareOptions options = options_;
    change(options);
    EXPECT_THROW(prepare_data(options, nullptr, pool_), Error);
  };
  refused([](PrepareOptions& options) { options.mode = "pack"; });
  refused([](PrepareOptions& options) { options.mode = "line_by_line"; });
  refused([](PrepareOptions& options) { options.append_token = 2; });
  refused([](PrepareOptions& options) { options.group_size = 10; });
  EXPECT_EQ(prepare_data(options_, nullptr, pool_).mode, "tokenised");
}

TEST_F(Prepare, TokenisedRowsAreTakenAsTheyAre) {
  options_.files = {
      folder_.write("in.jsonl", R"({"input_ids": [1, 2, 3], "labels": [-100, 2, -100], "token_type_ids": [0, 0, 1]}
{"input_ids": [9], "labels": [9], "token_type_ids": [1]}
)")};
  for (const bool native : {false, true}) {
    options_.native = native;
    options_.output_dir = folder_ / (native ? "native" : "out");
    const PrepareReport report = prepare_data(options_, nullptr, pool_);
    EXPECT_EQ(report.mode, "tokenised");
    const std::vector<Example> examples = read_split(options_.output_dir + "/train");
    ASSERT_EQ(examples.size(), 2u);
    EXPECT_EQ(examples[0].labels, (std::vector<int32_t>{-100, 2, -100}));
    EXPECT_EQ(examples[0].token_type_ids, (std::vector<int32_t>{0, 0, 1}));
    EXPECT_EQ(examples[1].input_ids, std::vector<int32_t>{9});
  }
  // Padding in some rows and none in others, as tokenizers fill up a batch.
  options_.files = {folder_.write("in.jsonl", R"({"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1]}
{"input_ids": [5, 6, 0], "attention_mask": [1, 1, 0]}
)")};
  options_.output_dir = folder_ / "padded";
  prepare_data(options_, nullptr, pool_);
  const std::vector<Example> padded = read_split(options_.output_dir + "/train");
  ASSERT_EQ(padded.size(), 2u);
  EXPECT_EQ(padded[0].attention_mask, (std::vector<int32_t>{1, 1, 1}));
  EXPECT_EQ(padded[1].attention_mask, (std::vector<int32_t>{1, 1, 0}));
  options_.output_dir = folder_ / "other";
  options_.files = {folder_.write("in.jsonl", "{\"input_ids\": [1], \"labels\": [1]}\n{\"input_ids\": [1]}\n")};
  EXPECT_NE(message_of([&] { run(); }).find("in.jsonl:2] other columns"), std::string::npos);
}

// Shards of an earlier start are taken again where all that they were made of is the same.
TEST_F(Prepare, TheSameTextIsTokenisedOnce) {
  options_.fingerprint = "tokenizer";
  const std::string more = folder_.write("more.txt", rows_of_numbers(9));
  const auto open = [&](const PrepareOptions& options, const std::vector<std::string>& validation = {}) {
    return open_splits(options_.files, validation, options, tokenizer_.get(), pool_, {});
  };
  const SplitFiles first = open(options_, {more});
  EXPECT_TRUE(first.prepared);
  EXPECT_FALSE(first.reused);
  const auto shard = list_directory(first.train[0]).front();
  const auto written = std::filesystem::last_write_time(join_path(first.train[0], shard));
  const SplitFiles second = open(options_, {more});
  EXPECT_TRUE(second.reused);
  EXPECT_EQ(second.train, first.train);
  EXPECT_EQ(second.validation, first.validation);
  EXPECT_EQ(std::filesystem::last_write_time(join_path(first.train[0], shard)), written);
  const auto again = [&](auto&& change) {  // other options, then these again
    PrepareOptions options = options_;
    change(options);
    EXPECT_FALSE(open(options, {more}).reused);
    EXPECT_FALSE(open(options_, {more}).reused);
    EXPECT_TRUE(open(options_, {more}).reused);
  };
  again([](PrepareOptions& options) { options.block_size = 9; });
  again([](PrepareOptions& options) { options.mode = "pack"; });
  again([](PrepareOptions& options) { options.append_token = 7; });
  again([](PrepareOptions& options) { options.rows.keep_linebreaks = true; });
  again([](PrepareOptions& options) { options.fingerprint = "another"; });
  again([](PrepareOptions& options) { options.fingerprint.clear(); });
  EXPECT_FALSE(open(options_).reused);  // no validation
  EXPECT_TRUE(open(options_).reused);
  // Other bytes under the same name, and a shard that is not whole.
  folder_.write("in.txt", rows_of_numbers(102) + "1 2 3\n");
  EXPECT_FALSE(open(options_).reused);
  EXPECT_TRUE(open(options_).reused);
  const auto whole = read_split(first.train[0]);
  std::filesystem::resize_file(join_path(first.train[0], list_directory(first.train[0]).front()), 100);
  EXPECT_FALSE(open(options_).reused);
  EXPECT_EQ(read_split(first.train[0]).size(), whole.size());
}

TEST_F(Prepare, NamedValidationFilesStayAsTheyAre) {
  // What run_clm has: repeated rows, blank ones and those that are in training too.
  options_.rows.keep_linebreaks = true;
  options_.mode = "line_by_line";
  options_.files = {folder_.write("in.txt", "1 2\n\n3 4\n1 2\n")};
  options_.validation_files = {folder_.write("dev.txt", "1 2\n\n1 2\n\n5 6\n")};
  const PrepareReport report = run();
  EXPECT_EQ(report.splits.at("train").examples, 4);
  EXPECT_EQ(report.splits.at("validation").examples, 5);
  EXPECT_EQ(report.splits.at("validation").duplicates, 0);
  options_.validation_files = options_.files;
  options_.overwrite = true;
  run();
  EXPECT_EQ(read_split(folder_ / "out/validation"), read_split(folder_ / "out/train"));
}

TEST_F(Prepare, RefusesWhatCannotBe) {
  run();
  EXPECT_NE(message_of([&] { run(); }).find("shards in it already"), std::string::npos);
  options_.overwrite = true;
  EXPECT_EQ(message_of([&] { run(); }), "no error");
  EXPECT_NE(message_of([&] { prepare_data(options_, nullptr, pool_); }).find("in.txt:1] got text, need a tokenizer"),
            std::string::npos);
  options_.validation_every = 2;
  options_.validation_split_percentage = 5;
  EXPECT_NE(message_of([&] { run(); }).find("got 2 ways"), std::string::npos);
  options_.validation_every = 0;
  options_.validation_split_percentage = 0;
  options_.block_size = 5000;
  EXPECT_NE(message_of([&] { run(); }).find("[train] no examples: got 103 rows of 512 tokens"), std::string::npos);
  options_.mode = "other";
  EXPECT_NE(message_of([&] { run(); }).find("unknown: got 'other'"), std::string::npos);
}

std::vector<std::string> bytes_of(const std::string& folder) {
  std::vector<std::string> all;
  for (const std::string& name : list_directory(folder)) all.push_back(name + read_file(join_path(folder, name), 1 << 20));
  return all;
}

TEST_F(Prepare, OverwriteKeepsOldShardsUntilTheNewOnesAreComplete) {
  run();
  const std::vector<std::string> old = bytes_of(folder_ / "out/train");
  const std::vector<std::string> good = options_.files;
  options_.overwrite = true;
  options_.files = {folder_ / "no_such_file.txt"};
  EXPECT_NE(message_of([&] { run(); }).find("no_such_file.txt"), std::string::npos);
  EXPECT_NE(message_of([&] {
              options_.files = good;
              prepare_data(options_, nullptr, pool_);
            }).find("need a tokenizer"),
            std::string::npos);
  // Bad only after shards of the new set were written.
  options_.files = {folder_.write("bad.txt", rows_of_numbers(5000) + "\xff\xfe\n")};
  EXPECT_NE(message_of([&] { run(); }).find("no UTF-8 text"), std::string::npos);
  EXPECT_FALSE(list_directory(folder_ / "out/train.new").empty());
  options_.files = good;
  options_.validation_files = {folder_.write("few.txt", "1 2\n")};  // no block of 8
  EXPECT_NE(message_of([&] { run(); }).find("[validation] no examples"), std::string::npos);
  EXPECT_EQ(bytes_of(folder_ / "out/train"), old);

  options_.validation_files.clear();
  options_.files = {folder_.write("other.txt", rows_of_numbers(20))};
  const PrepareReport report = run();
  EXPECT_EQ(list_directory(folder_ / "out/train"), report.splits.at("train").files);
  EXPECT_EQ(static_cast<int64_t>(read_split(folder_ / "out/train").size()), report.splits.at("train").examples);
  EXPECT_FALSE(directory_exists(folder_ / "out/train.new"));
}

// What a call that was killed leaves is no data set: dataset_info.json lists what is whole.
TEST_F(Prepare, SplitsThatAreNotWholeAreRefused) {
  const auto refused = [&](const std::string& what) {
    EXPECT_NE(message_of([&] { read_split(folder_ / "out/train"); }).find(what), std::string::npos) << what;
  };
  options_.files = {folder_.write("bad.txt", rows_of_numbers(5000) + "\xff\xfe\n")};  // ends amid the rows
  EXPECT_NE(message_of([&] { run(); }).find("no UTF-8 text"), std::string::npos);
  refused("need the 0 that");
  options_.files = {folder_ / "in.txt"};
  options_.overwrite = true;
  const PrepareReport report = run();
  const size_t examples = read_split(folder_ / "out/train").size();
  EXPECT_EQ(static_cast<int64_t>(examples), report.splits.at("train").examples);
  // Another split of the same folder leaves this one listed.
  options_.overwrite = false;
  options_.split = "test";
  run();
  EXPECT_EQ(read_split(folder_ / "out/test").size(), examples);
  EXPECT_EQ(read_split(folder_ / "out/train/").size(), examples);
  const std::string shard = report.splits.at("train").files.front();
  std::filesystem::rename(folder_ / ("out/train/" + shard), folder_ / shard);
  refused(fmt::format("got {} shards, need the {} that", report.splits.at("train").files.size() - 1,
                      report.splits.at("train").files.size()));
  std::filesystem::copy(folder_ / shard, folder_ / ("out/train/" + shard));
  EXPECT_EQ(read_split(folder_ / "out/train").size(), examples);
  std::filesystem::copy(folder_ / shard, folder_ / "out/train/dataset-77-10.tfrecord");
  refused("need the");
  // Shards of others, beside which another program has written a file of that name.
  folder_.write("out/dataset_info.json", R"({"splits": {"train": {"name": "train", "num_examples": 1}}})");
  EXPECT_EQ(read_split(folder_ / "out/train").size(), examples + 10);
}

// Where it is killed while the new shards take the old ones' place.
TEST_F(Prepare, OverwritingThatIsCutShortLeavesNoWholeSplit) {
  run();
  options_.overwrite = true;
  options_.files = {folder_.write("other.txt", rows_of_numbers(40))};
  // A folder in a shard's place: neither removed nor replaced.
  const std::string last = list_directory(folder_ / "out/train").back();
  std::filesystem::remove(folder_ / ("out/train/" + last));
  make_directories(folder_ / ("out/train/" + last + "/in"));
  EXPECT_NE(message_of([&] { run(); }).find("cannot remove"), std::string::npos);
  std::filesystem::remove_all(folder_ / ("out/train/" + last));
  std::filesystem::copy(folder_ / ("out/train.new/" + list_directory(folder_ / "out/train.new").front()),
                        folder_ / "out/train");
  EXPECT_NE(message_of([&] { read_split(folder_ / "out/train"); }).find("did not end"), std::string::npos);
}

TEST_F(Prepare, ASplitWithoutRowsNamesTheFlag) {
  options_.files = {folder_.write("few.txt", rows_of_numbers(3))};
  options_.validation_split_percentage = 0.001;
  EXPECT_NE(message_of([&] { run(); }).find("[--validation-split-percentage] got 0.001, by which no row was held out"),
            std::string::npos);
  options_.validation_split_percentage = 0;
  options_.validation_every = 9;
  options_.output_dir = folder_ / "every";
  EXPECT_NE(message_of([&] { run(); }).find("[--validation-every] got 9, by which no row was held out"), std::string::npos);
}

// Neither of the two would be read.
TEST_F(Prepare, AShareBesideShardsOfValidationIsRefused) {
  run();
  const std::vector<std::string> shards{folder_ / "out/train"};
  options_.output_dir = folder_ / "data";
  options_.validation_split_percentage = 50;
  const std::string message = message_of([&] { open_splits(options_.files, shards, options_, tokenizer_.get(), pool_, {}); });
  EXPECT_NE(message.find("[--validation-split-percentage]"), std::string::npos) << message;
  EXPECT_FALSE(directory_exists(folder_ / "data/validation"));
}

TEST(PrepareMode, OneOfTheTwo) {
  EXPECT_EQ(block_mode(false, false), "cut");
  EXPECT_EQ(block_mode(true, false), "pack");
  EXPECT_EQ(block_mode(false, true), "line_by_line");
  EXPECT_NE(message_of([] { block_mode(true, true); }).find("[--line-by-line]"), std::string::npos);
}

TEST_F(Prepare, InputsDoNotLieWhereShardsGo) {
  run();
  const std::vector<std::string> old = bytes_of(folder_ / "out/train");
  options_.overwrite = true;
  options_.files = {folder_ / ("out/../out/train/" + list_directory(folder_ / "out/train").front())};
  EXPECT_NE(message_of([&] { run(); }).find("lies in the output folder"), std::string::npos);
  std::filesystem::create_symlink(options_.files[0], folder_ / "link.tfrecord");
  options_.files = {folder_ / "link.tfrecord"};
  EXPECT_NE(message_of([&] { run(); }).find("lies in the output folder"), std::string::npos);
  EXPECT_EQ(bytes_of(folder_ / "out/train"), old);
  // Beside it they may lie.
  std::filesystem::copy_file(folder_ / "in.txt", folder_ / "out/in.txt");
  options_.files = {folder_ / "out/in.txt"};
  EXPECT_EQ(message_of([&] { run(); }), "no error");
  EXPECT_EQ(bytes_of(folder_ / "out/train"), old);
}

// 2048 rows without text and more are no longer held until the end.
TEST_F(Prepare, EmptyRowsFillABatchToo) {
  options_.files = {folder_.write("in.txt", std::string(5000, '\n') + "1\n")};
  options_.rows.keep_linebreaks = true;
  options_.mode = "line_by_line";
  options_.shard_size = 2000;
  ThreadPool one(1);
  size_t shards = 0;
  TaskHooks hooks;
  hooks.progress = [&](std::string_view, int64_t, int64_t) { shards = list_directory(folder_ / "out/train").size(); };
  prepare_data(options_, tokenizer_.get(), one, hooks);
  EXPECT_GE(shards, 1u);
}

TEST_F(Prepare, ThreadsChangeNothing) {
  run();
  ThreadPool one(1);
  options_.output_dir = folder_ / "one";
  prepare_data(options_, tokenizer_.get(), one);
  for (const std::string& name : list_directory(folder_ / "out/train")) {
    EXPECT_EQ(read_file(folder_ / ("out/train/" + name), 1 << 20), read_file(folder_ / ("one/train/" + name), 1 << 20)) << name;
  }
}

// A device that is full at once: what was complete before stays, and the error says so.
TEST(ShardWriter, AFullDiskKeepsWhatWasComplete) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  const Folder folder("full");
  ShardWriterOptions options;
  options.folder = folder.path();
  options.shard_size = 2;
  ShardWriter writer(options);
  Example example;
  example.input_ids = {1, 2, 3};
  writer.add(example);
  writer.add(example);
  std::filesystem::create_symlink("/dev/full", folder / "dataset-1-2.tfrecord");
  writer.add(example);
  const std::string message = message_of([&] { writer.add(example); });
  EXPECT_NE(message.find("No space left"), std::string::npos) << message;
  EXPECT_NE(message.find("1 complete shards of 2 examples are kept"), std::string::npos) << message;
  EXPECT_EQ(Shard::open(folder / "dataset-0-2.tfrecord")->size(), 2);
}

}  // namespace
}  // namespace pagoda::train
