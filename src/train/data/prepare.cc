// Rows in batches: read, encoded side by side, written in order.
#include "train/data/prepare.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "text/vocab.h"
#include "train/data/blocks.h"
#include "train/data/dataset_info.h"
#include "train/data/shards.h"

namespace pagoda::train {

namespace {

constexpr const char* kValidation = "validation";
constexpr size_t kBatchBytes = size_t{1} << 20;
constexpr size_t kRowBytes = 512;  // what a row costs beside its text, so that short and empty rows fill a batch too

uint64_t row_hash(const Row& row) {
  if (!row.tokenised) return hash_bytes(row.text);
  const auto of = [](const std::vector<int32_t>& values) {
    return hash_bytes({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int32_t)});
  };
  uint64_t hash = of(row.example.input_ids);
  for (const ExampleColumn& column : example_columns()) hash = hash * 0x9E3779B97F4A7C15ull + of(row.example.*column.values);
  return hash;
}

// Rows of white space alone repeat without being duplicates.
bool is_blank(const Row& row) { return !row.tokenised && row.text.find_first_not_of(" \t\r\n\f\v") == std::string::npos; }

std::string column_names(const Example& example) {
  std::string names = "input_ids";
  for (const ExampleColumn& column : example_columns()) {
    if (!(example.*column.values).empty()) names += fmt::format(", {}", column.name);
  }
  return names;
}

// One split: its rows become examples, its examples shards.
class Split {
 public:
  Split(const PrepareOptions& options, const std::string& name, const Tokenizer* tokenizer, ThreadPool& pool)
      : options_(options), tokenizer_(tokenizer), pool_(pool), folder_(join_path(options.output_dir, name)), name_(name) {
    old_ = shards_in(folder_);
    if (!old_.empty() && !options_.overwrite)
      invalid(folder_, "there are shards in it already ({}): need an empty folder, or overwrite", old_.front());
    // Old shards, of this split and of others, stay until all new ones are complete.
    written_to_ = options_.overwrite ? folder_ + ".new" : folder_;
    if (options_.overwrite) remove_shards(written_to_, shards_in(written_to_));
    ShardWriterOptions shards;
    shards.folder = written_to_;
    shards.native = options.native;
    shards.shard_size = options.shard_size;
    writer_ = std::make_unique<ShardWriter>(std::move(shards));
    builder_ = make_block_builder(options.mode, options.block_size, options.group_size, options.cut_left,
                                  [this](const Example& example) { writer_->add(example); });
  }

  // `where`: of the row.
  void add(Row&& row, const std::string& where) {
    ++report_.rows;
    if (row.tokenised) {
      check_columns(row.example, where);
      writer_->add(row.example);
      return;
    }
    check_columns({}, where);
    if (tokenizer_ == nullptr) invalid(where, "got text, need a tokenizer to make token ids of it");
    bytes_ += row.text.size() + kRowBytes;
    texts_.push_back(std::move(row.text));
    places_.push_back(where);
    if (bytes_ >= kBatchBytes * static_cast<size_t>(pool_.num_threads())) flush();
  }
  void count_duplicate() { ++report_.duplicates; }

  SplitReport finish() {
    flush();
    builder_->finish();
    writer_->finish();
    report_.examples = writer_->examples();
    report_.tokens = writer_->tokens();
    report_.dropped_tokens = builder_->dropped_tokens();
    report_.files = writer_->files();
    return report_;
  }

  // After finish(), once every split is complete: the new shards take the place of the old ones.
  void publish() {
    if (written_to_ != folder_) {
      make_directories(folder_);
      remove_shards(folder_, old_);
      for (const std::string& file : report_.files) {
        const std::string from = join_path(written_to_, file);
        if (::rename(from.c_str(), join_path(folder_, file).c_str()) != 0) fail_errno(from, "cannot rename", errno);
      }
      ::rmdir(written_to_.c_str());
    }
    write_file_atomic(join_path(options_.output_dir, fmt::format("split-{}-records-count.txt", name_)),
                      fmt::format("Total {} records: {}\n", name_, report_.examples));
  }

 private:
  static std::vector<std::string> shards_in(const std::string& folder) {
    std::vector<std::string> shards;
    if (!directory_exists(folder)) return shards;
    for (const std::string& file : list_directory(folder)) {
      int64_t shard = 0, count = 0;
      if (parse_shard_name(file, shard, count)) shards.push_back(file);
    }
    return shards;
  }
  static void remove_shards(const std::string& folder, const std::vector<std::string>& shards) {
    for (const std::string& file : shards) {
      const std::string path = join_path(folder, file);
      if (::unlink(path.c_str()) != 0) fail_errno(path, "cannot remove", errno);
    }
  }

  void check_columns(const Example& example, const std::string& where) {
    const std::string names = example.input_ids.empty() ? "text" : column_names(example);
    if (columns_.empty()) columns_ = names;
    if (columns_ != names) invalid(where, "other columns than in the rows before: got {}, need {}", names, columns_);
  }

  void flush() {
    std::vector<Encoding> encodings(texts_.size());
    EncodeOptions encode;
    encode.add_special_tokens = options_.add_special_tokens;
    encode.truncate_and_pad = false;
    pool_.parallel_for(static_cast<int64_t>(texts_.size()), 8, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const size_t at = static_cast<size_t>(i);
        try {
          encodings[at] = tokenizer_->encode(texts_[at], encode);
        } catch (const Error& error) {
          throw Error(error.kind(), fmt::format("[{}] {}", places_[at], error.message()));
        }
        if (options_.append_token >= 0) {
          encodings[at].ids.push_back(options_.append_token);
          encodings[at].special_tokens_mask.push_back(1);
        }
      }
    });
    texts_.clear();
    places_.clear();
    bytes_ = 0;
    for (const Encoding& encoding : encodings) builder_->add(encoding);
  }

  const PrepareOptions& options_;
  const Tokenizer* tokenizer_;
  ThreadPool& pool_;
  std::string folder_, name_, written_to_;
  std::vector<std::string> old_;  // shards that the new ones replace
  std::unique_ptr<ShardWriter> writer_;
  std::unique_ptr<BlockBuilder> builder_;
  std::vector<std::string> texts_, places_;
  size_t bytes_ = 0;
  std::string columns_;  // of the rows so far
  SplitReport report_;
};

class Preparation {
 public:
  Preparation(const PrepareOptions& options, const Tokenizer* tokenizer, ThreadPool& pool, const TaskHooks& hooks)
      : options_(options), tokenizer_(tokenizer), pool_(pool), hooks_(hooks) {
    check();
  }

  PrepareReport run() {
    const bool validates =
        options_.validation_every > 0 || options_.validation_split_percentage > 0 || !options_.validation_files.empty();
    check_inputs(validates);
    if (options_.validation_every > 0) find_held_out();
    std::unique_ptr<Split> validation;
    if (validates) validation = std::make_unique<Split>(options_, kValidation, tokenizer_, pool_);
    Split split(options_, options_.split, tokenizer_, pool_);
    std::vector<std::string> names{options_.split};
    if (validates) names.emplace_back(kValidation);
    if (!options_.overwrite) begin_splits(options_.output_dir, names);
    if (!options_.validation_files.empty()) {
      for_each_row(options_.validation_files, "reading validation",
                   [&](Row&& row, int64_t, const std::string& where) { validation->add(std::move(row), where); });
    }
    for_each_row(options_.files, "reading", [&](Row&& row, int64_t number, const std::string& where) {
      if (is_held_out(row, number)) {
        if (seen_before(row)) return validation->count_duplicate();
        return validation->add(std::move(row), where);
      }
      if (is_in_validation(row)) return split.count_duplicate();
      split.add(std::move(row), where);
    });
    PrepareReport report;
    if (validates) report.splits[kValidation] = validation->finish();
    report.splits[options_.split] = split.finish();
    report.mode = tokenised_ ? "tokenised" : options_.mode;
    for (const auto& [name, part] : report.splits) check_examples(name, part);
    if (options_.overwrite) begin_splits(options_.output_dir, names);  // the old ones are whole until now
    if (validates) validation->publish();
    split.publish();
    write_info(report);
    return report;
  }

 private:
  void check() const {
    const int ways = (options_.validation_every > 0 ? 1 : 0) + (options_.validation_split_percentage > 0 ? 1 : 0) +
                     (options_.validation_files.empty() ? 0 : 1);
    if (ways > 1) invalid("validation", "got {} ways to choose it, need one at most", ways);
    if (ways > 0 && options_.split != "train")
      invalid("split", "got '{}' beside a validation split, need train", options_.split);
    if (options_.split != "train" && options_.split != "test" && options_.split != kValidation) {
      invalid("split", "got '{}', need train, validation or test", options_.split);
    }
    if (options_.validation_every == 1 || options_.validation_every < 0) {
      invalid("validation_every", "got {}, need at least 2", options_.validation_every);
    }
    if (!(options_.validation_split_percentage >= 0 && options_.validation_split_percentage < 100)) {
      invalid("validation_split_percentage", "got {}, need 0 to below 100", options_.validation_split_percentage);
    }
    if (options_.group_size < 0) invalid("group_size", "got {}, need 0 or more", options_.group_size);
    if (options_.output_dir.empty()) invalid("output_dir", "got none");
  }

  void check_examples(const std::string& name, const SplitReport& part) const {
    if (part.examples > 0) return;
    if (part.rows == 0 && options_.validation_split_percentage > 0) {
      const bool held_out = name == kValidation;
      invalid("--validation-split-percentage", "got {}, by which {} row was held out: need a {} share, or more rows",
              options_.validation_split_percentage, held_out ? "no" : "every", held_out ? "larger" : "smaller");
    }
    if (part.rows == 0 && options_.validation_every > 0) {
      invalid("--validation-every", "got {}, by which no row was held out: need a smaller number, or more rows",
              options_.validation_every);
    }
    invalid(name, "no examples: got {} rows of {} tokens in all, need a block of {}", part.rows, part.dropped_tokens,
            options_.block_size);
  }

  // Before anything is written: every file is there and has a first row that can be used, and none lies where shards go.
  void check_inputs(bool validates) const {
    std::vector<std::string> folders{join_path(options_.output_dir, options_.split)};
    if (validates) folders.push_back(join_path(options_.output_dir, kValidation));
    for (const auto* files : {&options_.files, &options_.validation_files}) {
      if (files == &options_.validation_files && files->empty()) continue;
      const RowReader all(*files, options_.rows);
      for (const std::string& file : *files) {
        for (const std::string& folder : folders) {
          if (lies_in(file, folder)) invalid(file, "lies in the output folder {}: need an input elsewhere", folder);
        }
        if (!file_exists(file)) continue;  // a pipe is read once only
        RowReader rows({file}, options_.rows);
        Row row;
        if (!rows.next(row)) invalid(file, "no rows in the file: need at least one");
        if (!row.tokenised && tokenizer_ == nullptr)
          invalid(rows.where(), "got text, need a tokenizer to make token ids of it");
        if (row.tokenised && (options_.append_token >= 0 || options_.mode != "cut" || options_.group_size > 0)) {
          invalid(rows.where(),
                  "got token ids, which are taken row by row as they are: a token to append, packing, rows as "
                  "lines and groups have no effect");
        }
      }
    }
  }
  // The name or what it links to.
  static bool lies_in(const std::string& file, const std::string& folder) {
    namespace fs = std::filesystem;
    std::error_code error;
    const fs::path within = fs::weakly_canonical(folder, error);
    if (error || !fs::is_directory(within, error)) return false;
    const auto inside = [&](const fs::path& path) {
      return std::mismatch(within.begin(), within.end(), path.begin(), path.end()).first == within.end();
    };
    const fs::path parent = fs::path(file).parent_path();
    return inside(fs::weakly_canonical(file, error)) || inside(fs::weakly_canonical(parent.empty() ? "." : parent, error));
  }

  template <class Fn>
  void for_each_row(const std::vector<std::string>& files, const char* stage, Fn&& fn) {
    RowReader rows(files, options_.rows);
    Row row;
    for (int64_t number = 1; rows.next(row); ++number) {
      if (number % 256 == 1) hooks_.at(stage, rows.bytes_read(), rows.bytes_total());
      tokenised_ = row.tokenised;
      fn(std::move(row), number, rows.where());
    }
  }

  void find_held_out() {
    for (const std::string& file : options_.files) {
      if (!file_exists(file)) unsupported(file, "no regular file: holding out every N-th row reads it twice");
    }
    for_each_row(options_.files, "finding validation", [&](Row&& row, int64_t number, const std::string&) {
      if (number % options_.validation_every == 0 && !is_blank(row)) held_out_.insert(row_hash(row));
    });
  }

  bool is_held_out(const Row& row, int64_t number) const {
    if (is_blank(row)) return false;
    if (options_.validation_every > 0) return number % options_.validation_every == 0;
    if (options_.validation_split_percentage <= 0) return false;
    // Mixed once more: the hash itself picks slots of tables elsewhere.
    const uint64_t mixed = (row_hash(row) ^ 0xD1B54A32D192ED03ull) * 0x9E3779B97F4A7C15ull;
    return static_cast<double>(mixed >> 11) * 0x1.0p-53 * 100 < options_.validation_split_percentage;
  }
  bool is_in_validation(const Row& row) const {
    return options_.validation_every > 0 && !is_blank(row) && held_out_.count(row_hash(row)) != 0;
  }
  bool seen_before(const Row& row) { return !validated_.insert(row_hash(row)).second; }

  void write_info(const PrepareReport& report) const {
    Json info = report.to_json();
    info.set("block_size", options_.block_size).set("format", options_.native ? "safetensors" : "tfrecord");
    write_dataset_info(options_.output_dir, std::move(info));
  }

  const PrepareOptions& options_;
  const Tokenizer* tokenizer_;
  ThreadPool& pool_;
  const TaskHooks& hooks_;
  bool tokenised_ = false;
  std::unordered_set<uint64_t> held_out_;   // rows that every-N will choose
  std::unordered_set<uint64_t> validated_;  // held-out rows that are in validation by now
};

}  // namespace

std::string block_mode(bool packing, bool line_by_line) {
  if (packing && line_by_line) invalid("--line-by-line", "got it beside --packing, need one of them");
  return packing ? "pack" : line_by_line ? "line_by_line" : "cut";
}

Json SplitReport::to_json() const {
  Json list = Json::array();
  for (const std::string& file : files) list.push_back(file);
  return Json::object()
      .set("num_rows", rows)
      .set("num_examples", examples)
      .set("num_tokens", tokens)
      .set("num_dropped_tokens", dropped_tokens)
      .set("num_duplicates", duplicates)
      .set("shards", std::move(list));
}

Json PrepareReport::to_json() const {
  Json json = Json::object(), parts = Json::object();
  for (const auto& [name, split] : splits) parts.set(name, split.to_json());
  json.set("mode", mode).set("splits", std::move(parts));
  return json;
}

PrepareReport prepare_data(const PrepareOptions& options, const Tokenizer* tokenizer, ThreadPool& pool,
                           const TaskHooks& hooks) {
  return Preparation(options, tokenizer, pool, hooks).run();
}

}  // namespace pagoda::train
