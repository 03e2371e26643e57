// Shards are told from rows of text by name and by their first row.
#include "train/data/files.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
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

SplitFiles open_splits(const std::vector<std::string>& train, const std::vector<std::string>& validation,
                       const PrepareOptions& options, const Tokenizer* tokenizer, ThreadPool& pool, const TaskHooks& hooks) {
  for (const auto* files : {&train, &validation}) {
    for (const std::string& file : *files) {
      if (!file_exists(file) && !directory_exists(file)) not_found(file, "no such file or folder");
    }
  }
  SplitFiles split{train, validation};
  const bool train_is_ready = are_shards(train, options.rows), validation_is_ready = are_shards(validation, options.rows);
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
  prepare_data(prepare, tokenizer, pool, hooks);
  if (!train_is_ready) split.train = {join_path(options.output_dir, "train")};
  if (!validation_is_ready && (!validation.empty() || options.validation_split_percentage > 0)) {
    split.validation = {join_path(options.output_dir, "validation")};
  }
  return split;
}

}  // namespace pagoda::train
