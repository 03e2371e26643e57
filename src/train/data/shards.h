// Shards of examples: files named dataset-{shard}-{count}.tfrecord, as the published scripts name them, or the same in
// safetensors, which are mapped and read without parsing (tensors input_ids and offsets, and a tensor a further column).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/limits.h"
#include "train/data/rows.h"

namespace pagoda::train {

struct ShardWriterOptions {
  std::string folder;
  bool native = false;        // safetensors
  int64_t shard_size = 1000;  // examples of one file
};

// One shard at a time is held in memory and written whole, then renamed into place: a file under its final name is complete.
// A shard ends early where it would grow over 256 MiB.
class ShardWriter {
 public:
  explicit ShardWriter(ShardWriterOptions options);  // makes the folder
  // Every example of a data set has the same columns. Throws kDevice where the disk is full, saying what is kept.
  void add(const Example& example);
  void finish();
  int64_t examples() const { return written_ + count_; }
  int64_t tokens() const { return tokens_; }
  const std::vector<std::string>& files() const { return files_; }  // names in the folder, complete ones

 private:
  void flush();
  std::string native_bytes() const;
  ShardWriterOptions options_;
  std::string records_;              // of a TFRecord shard
  Example columns_;                  // of a native shard: the examples' columns, one behind the other
  std::vector<int64_t> offsets_{0};  // of its examples
  int64_t count_ = 0, written_ = 0, tokens_ = 0, bytes_ = 0;
  std::vector<std::string> files_;
};

// One file, mapped; examples by number. Safe to use from one thread at a time.
class Shard {
 public:
  virtual ~Shard() = default;
  virtual int64_t size() const = 0;
  // Errors name the file, the record and its offset.
  virtual Example read(int64_t row) const = 0;
  // Checks the whole frame of the file, and that it holds as many examples as its name says.
  static std::unique_ptr<Shard> open(const std::string& path, const Limits& limits = {});
};

// {shard}, {count} of dataset-{shard}-{count}.EXT; false where the name is another.
bool parse_shard_name(const std::string& path, int64_t& shard, int64_t& count);
bool is_shard_file(const std::string& name);  // .tfrecord or .safetensors

}  // namespace pagoda::train
