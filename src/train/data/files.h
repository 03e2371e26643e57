// The files of a split as shards: those that are shards already as they are, others tokenised first.
#pragma once

#include <string>
#include <vector>

#include "base/task_hooks.h"
#include "base/thread_pool.h"
#include "text/tokenizer.h"
#include "train/data/prepare.h"

namespace pagoda::train {

struct SplitFiles {
  std::vector<std::string> train, validation;  // for DatasetReader; validation may be empty
  std::string name = {};                       // of what the shards were made of, for errors; empty: the shards' own
  bool prepared = false, reused = false;       // shards were made here, or found from an earlier call
};

// train, validation: folders of shards, shards, or files of rows (prepare.h). What is no shard is tokenised into folders
// below `options.output_dir`, which replace those of an earlier run unless they are the same (options.fingerprint);
// options.files and validation_files are not looked at. A share for validation (options.validation_split_percentage) needs
// files of rows.
SplitFiles open_splits(const std::vector<std::string>& train, const std::vector<std::string>& validation,
                       const PrepareOptions& options, const Tokenizer* tokenizer, ThreadPool& pool, const TaskHooks& hooks);

// All of them are folders or files of token ids that DatasetReader takes.
bool are_shards(const std::vector<std::string>& files, const RowOptions& options);

}  // namespace pagoda::train
