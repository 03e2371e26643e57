// Shards are told from rows of text by name and by their first row.
#include "train/data/files.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "train/data/fingerprint.h"
#include "train/data/shards.h"

namespace pagoda::train {

bool are_shards(const std::vector<std::string>& files, const RowOptions& options) {
  return !files.empty() && std::all_of(files.begin(), files.end(), [&](const std::string& file) {
    if (directory_exists(file)) return true;
    if (!is_shard_file(file)) return false;
    if (file.size() > 12 && file.compare(file.size() - 12, 12, ".safetensors") == 0) return true;
    Row row;  // a TFRecord may hold text
    return RowReader({file}, options).next(row) && row.tokenised;
  });
}

namespace {

// Of all that the shards depend on.
std::string fingerprint_of(const PrepareOptions& options) {
  constexpr int kFormat = 3;  // raised where the same rows become other shards
  Fingerprint all;
  all.add(fmt::format("{} {} {} {} {} {} {} {} {} {} {}", kFormat, options.split, options.mode, options.block_size,
                      options.group_size, options.add_special_tokens, options.append_token, options.shard_size,
                      options.validation_split_percentage, options.validation_every, options.files.size()));
  all.add(options.rows.text_column)
      .add(options.rows.format)
      .add(options.rows.sample_by)
      .add(options.rows.keep_linebreaks ? "1" : "0");
  all.add(options.fingerprint);
  for (const auto* files : {&options.files, &options.validation_files}) {
    for (const std::string& file : *files) {
      // The name's end says how a file is read.
      all.add(file.substr(std::min(file.size(), file.rfind('.')))).add_file(file);
    }
  }
  return all.text();
}

}  // namespace

SplitFiles open_splits(const std::vector<std::string>& train, const std::vector<std::string>& validation,
                       const PrepareOptions& options, const Tokenizer* tokenizer, ThreadPool& pool, const TaskHooks& hooks) {
  for (const auto* files : {&train, &validation}) {
    for (const std::string& file : *files) {
      if (!file_exists(file) && !directory_exists(file)) not_found(file, "no such file or folder");
    }
  }
  SplitFiles split{train, validation};
  const bool train_is_ready = are_shards(train, options.rows), validation_is_ready = are_shards(validation, options.rows);
  if (validation_is_ready && options.validation_split_percentage > 0) {
    invalid("--validation-split-percentage", "has no effect beside shards of validation: need one of the two");
  }
  PrepareOptions prepare = options;
  prepare.native = true;
  prepare.overwrite = true;
  prepare.files = train;
  prepare.validation_files = validation_is_ready ? std::vector<std::string>{} : validation;
  if (train_is_ready) {
    if (options.validation_split_percentage > 0) {
      invalid("--validation-split-percentage", "got shards, need files of rows: pagoda data prepare makes both splits");
    }
    if (prepare.validation_files.empty()) return split;
    prepare.files = validation;
    prepare.validation_files.clear();
    prepare.split = "validation";
  }
  const std::string note = options.output_dir + ".json";
  // A pipe is read once only.
  const auto regular = [](const std::vector<std::string>& files) {
    return std::all_of(files.begin(), files.end(), file_exists);
  };
  const bool comparable = !options.fingerprint.empty() && regular(prepare.files) && regular(prepare.validation_files);
  const std::string fingerprint = comparable ? fingerprint_of(prepare) : "";
  split.prepared = true;
  split.reused = !fingerprint.empty() && is_prepared(note, options.output_dir, fingerprint);
  if (!split.reused) {
    std::error_code ignored;
    std::filesystem::remove(note, ignored);
    prepare_data(prepare, tokenizer, pool, hooks);
    if (!fingerprint.empty()) note_prepared(note, options.output_dir, fingerprint);
  }
  if (!train_is_ready) split.train = {join_path(options.output_dir, options.split)};
  if (!validation_is_ready && (!validation.empty() || options.validation_split_percentage > 0)) {
    split.validation = {join_path(options.output_dir, "validation")};
  }
  return split;
}

}  // namespace pagoda::train
