// Writing and mapping of shards.
#include "train/data/shards.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/safetensors.h"
#include "formats/tfrecord.h"

namespace pagoda::train {

namespace {

constexpr int64_t kMostShardBytes = int64_t{256} << 20;

template <class T>
void append_values(std::string& out, const std::vector<T>& values) {
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

}  // namespace

ShardWriter::ShardWriter(ShardWriterOptions options) : options_(std::move(options)) {
  if (options_.shard_size < 1) invalid("shard_size", "got {}, need at least 1", options_.shard_size);
  make_directories(options_.folder);
}

void ShardWriter::add(const Example& example) {
  const int64_t tokens = static_cast<int64_t>(example.input_ids.size());
  int64_t bytes = tokens * 4;
  for (const ExampleColumn& column : example_columns()) bytes += static_cast<int64_t>((example.*column.values).size()) * 4;
  if (count_ > 0 && bytes_ + bytes > kMostShardBytes) flush();
  if (options_.native) {
    columns_.input_ids.insert(columns_.input_ids.end(), example.input_ids.begin(), example.input_ids.end());
    for (const ExampleColumn& column : example_columns()) {
      const std::vector<int32_t>& values = example.*column.values;
      (columns_.*column.values).insert((columns_.*column.values).end(), values.begin(), values.end());
    }
    offsets_.push_back(static_cast<int64_t>(columns_.input_ids.size()));
  } else {
    append_tfrecord(records_, format_example(example));
  }
  bytes_ += bytes;
  tokens_ += tokens;
  if (++count_ == options_.shard_size) flush();
}

void ShardWriter::finish() {
  if (count_ > 0) flush();
}

// The format has no time of writing and no order of its own: equal examples give equal bytes.
std::string ShardWriter::native_bytes() const {
  std::string data;
  Json header = Json::object();
  header.set("__metadata__", Json::object().set("format", "pagoda-dataset"));
  const auto tensor = [&](const char* name, const char* dtype, size_t count, const auto& values) {
    const size_t begin = data.size();
    append_values(data, values);
    Json shape = Json::array(), span = Json::array();
    shape.push_back(static_cast<int64_t>(count));
    span.push_back(static_cast<int64_t>(begin));
    span.push_back(static_cast<int64_t>(data.size()));
    header.set(name, Json::object().set("dtype", dtype).set("shape", std::move(shape)).set("data_offsets", std::move(span)));
  };
  tensor("offsets", "I64", offsets_.size(), offsets_);
  tensor("input_ids", "I32", columns_.input_ids.size(), columns_.input_ids);
  for (const ExampleColumn& column : example_columns()) {
    const std::vector<int32_t>& values = columns_.*column.values;
    if (values.empty()) continue;
    // Where every token of the shard counts it needs no mask.
    const bool says_nothing = column.values == &Example::attention_mask &&
                              std::all_of(values.begin(), values.end(), [](int32_t value) { return value == 1; });
    if (!says_nothing) tensor(column.name, "I32", values.size(), values);
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the tensors begin aligned
  std::string out;
  const uint64_t size = text.size();
  out.append(reinterpret_cast<const char*>(&size), 8);
  return out + text + data;
}

void ShardWriter::flush() {
  const std::string name = fmt::format("dataset-{}-{}.{}", files_.size(), count_, options_.native ? "safetensors" : "tfrecord");
  try {
    write_file_atomic(join_path(options_.folder, name), options_.native ? native_bytes() : records_);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}; {} complete shards of {} examples are kept in {}", error.message(),
                                          files_.size(), written_, options_.folder));
  }
  files_.push_back(name);
  written_ += count_;
  count_ = bytes_ = 0;
  records_.clear();
  columns_ = {};
  offsets_.assign(1, 0);
}

// ---- reading

namespace {

class TfRecordShard final : public Shard {
 public:
  TfRecordShard(const std::string& path, const Limits& limits)
      : file_(MappedFile::open(path)), limits_(limits), offsets_(index_tfrecords(file_->bytes(), path, limits)) {}
  int64_t size() const override { return static_cast<int64_t>(offsets_.size()) - 1; }
  Example read(int64_t row) const override {
    int64_t offset = offsets_[static_cast<size_t>(row)];
    const std::string where = fmt::format("{}: record {} at offset {}", file_->path(), row, offset);
    const std::string_view data = read_tfrecord(file_->bytes(), offset, row, file_->path(), limits_);
    Example example;
    if (!parse_example(data, where, limits_, example)) invalid(where, "no feature 'input_ids': need one of int64 values");
    return example;
  }

 private:
  std::shared_ptr<MappedFile> file_;
  Limits limits_;
  std::vector<int64_t> offsets_;
};

class NativeShard final : public Shard {
 public:
  NativeShard(const std::string& path, const Limits& limits) : path_(path), file_(SafetensorsFile::open(path, limits)) {
    const TensorEntry& offsets = tensor("offsets", DType::kInt64);
    ids_ = tensor("input_ids", DType::kInt32);
    offsets_.resize(static_cast<size_t>(offsets.bytes) / 8);
    std::memcpy(offsets_.data(), offsets.data(), static_cast<size_t>(offsets.bytes));
    const int64_t tokens = ids_.bytes / 4;
    bool good = !offsets_.empty() && offsets_.front() == 0 && offsets_.back() == tokens;
    for (size_t i = 1; i < offsets_.size(); ++i) good = good && offsets_[i] >= offsets_[i - 1];
    if (!good) invalid(path_, "offsets: need numbers that rise from 0 to the {} tokens", tokens);
    for (const ExampleColumn& column : example_columns()) {
      if (file_->find(column.name) == nullptr) continue;
      columns_.emplace_back(column, tensor(column.name, DType::kInt32));
      if (columns_.back().second.bytes != ids_.bytes) invalid(path_, "{}: need as many values as input_ids", column.name);
    }
  }
  int64_t size() const override { return static_cast<int64_t>(offsets_.size()) - 1; }
  Example read(int64_t row) const override {
    Example example;
    example.input_ids = values(ids_, row);
    for (const auto& [column, entry] : columns_) example.*column.values = values(entry, row);
    return example;
  }

 private:
  TensorEntry tensor(const char* name, DType dtype) const {
    const TensorEntry* const entry = file_->find(name);
    if (entry == nullptr || entry->dtype != dtype || entry->shape.size() != 1) {
      invalid(path_, "no shard of a data set: need a tensor '{}' of {} and one dimension", name, dtype_name(dtype));
    }
    return *entry;
  }
  std::vector<int32_t> values(const TensorEntry& entry, int64_t row) const {
    const int64_t begin = offsets_[static_cast<size_t>(row)], end = offsets_[static_cast<size_t>(row) + 1];
    std::vector<int32_t> out(static_cast<size_t>(end - begin));
    if (begin < end) std::memcpy(out.data(), entry.data() + begin * 4, static_cast<size_t>(end - begin) * 4);
    return out;
  }
  std::string path_;
  std::shared_ptr<SafetensorsFile> file_;
  TensorEntry ids_;
  std::vector<std::pair<ExampleColumn, TensorEntry>> columns_;
  std::vector<int64_t> offsets_;
};

}  // namespace

std::unique_ptr<Shard> Shard::open(const std::string& path, const Limits& limits) {
  std::unique_ptr<Shard> shard;
  if (path.ends_with(".safetensors")) {
    shard = std::make_unique<NativeShard>(path, limits);
  } else {
    shard = std::make_unique<TfRecordShard>(path, limits);
  }
  int64_t number = 0, count = 0;
  if (parse_shard_name(path, number, count) && count != shard->size()) {
    invalid(path, "wrong number of examples: got {}, need {} as the name says", shard->size(), count);
  }
  return shard;
}

bool parse_shard_name(const std::string& path, int64_t& shard, int64_t& count) {
  const std::string name = file_name(path);
  constexpr std::string_view kBegin = "dataset-";
  if (name.compare(0, kBegin.size(), kBegin) != 0 || !is_shard_file(name)) return false;
  size_t pos = kBegin.size();
  const auto number = [&](char end, int64_t& value) {
    const size_t begin = pos;
    for (value = 0; pos < name.size() && name[pos] >= '0' && name[pos] <= '9' && pos - begin < 18; ++pos) {
      value = value * 10 + (name[pos] - '0');
    }
    return pos > begin && pos < name.size() && name[pos++] == end;
  };
  return number('-', shard) && number('.', count);
}

bool is_shard_file(const std::string& name) { return name.ends_with(".tfrecord") || name.ends_with(".safetensors"); }

}  // namespace pagoda::train
