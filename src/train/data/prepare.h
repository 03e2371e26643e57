// From rows of text to shards of token ids: what `pagoda data prepare` does.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/task_hooks.h"
#include "base/thread_pool.h"
#include "text/tokenizer.h"
#include "train/data/rows.h"

namespace pagoda::train {

struct PrepareOptions {
  std::vector<std::string> files, validation_files;
  RowOptions rows;
  std::string output_dir;
  std::string split = "train";  // name of the folder of `files`
  // cut: rows one behind the other, cut every block_size tokens, the rest dropped. pack: whole rows, several in one example
  // (position_ids start anew at each), only longer ones cut. line_by_line: a row an example, cut off at block_size.
  std::string mode = "cut";
  bool cut_left = false;  // line_by_line: what is too long loses its begin (the tokenizer's truncation_side)
  int64_t block_size = 512;
  int64_t group_size = 0;  // cut: rest dropped after every so many rows, as the published scripts do (1000); 0: at the end only
  bool add_special_tokens = true;
  int32_t append_token = -1;  // put behind each row; -1: none
  int64_t shard_size = 1000;
  bool native = false;
  // One of these and validation_files at most. A row that is held out is never in training, and is in validation once; rows of
  // white space alone are left in training. validation_files are taken as they are, beside `files` as they are.
  double validation_split_percentage = 0;  // by a hash of the row: the same rows whatever their order
  int64_t validation_every = 0;            // every N-th row; reads the files twice
  // Of the tokenizer. Not empty: open_splits() takes shards again that an earlier call made of the same bytes in the same way.
  std::string fingerprint;
  bool overwrite = false;  // replace the shards that lie in the folder, once the new ones are complete
};

struct SplitReport {
  int64_t rows = 0, examples = 0, tokens = 0;
  int64_t dropped_tokens = 0;  // rests, and what was cut off
  int64_t duplicates = 0;      // rows left out: held out for validation as well, or there before
  std::vector<std::string> files;
  Json to_json() const;
};

struct PrepareReport {
  std::map<std::string, SplitReport> splits;
  std::string mode;  // "tokenised" where the rows were token ids
  Json to_json() const;
};

// The mode that these flags ask for. kInvalidInput where both do.
std::string block_mode(bool packing, bool line_by_line);

// Rows that are tokenised already are taken as they are, one an example; `tokenizer` may be null then. Writes
// output_dir/SPLIT/dataset-{shard}-{count}.*, output_dir/split-SPLIT-records-count.txt (as the published scripts) and
// output_dir/dataset_info.json, which lists the shards last of all: until then it says that the split has none, so that
// DatasetReader refuses what is left of a call that was killed. Nothing is held but one shard of each split, and a hash for
// each row that is held out. Inputs and tokenizer are checked before anything is written; inputs may not lie in
// output_dir/SPLIT. With overwrite the new shards are written to output_dir/SPLIT.new and take the old ones' place when all of
// them are complete. Throws Cancelled; complete shards stay where they were written, and so do old ones.
PrepareReport prepare_data(const PrepareOptions& options, const Tokenizer* tokenizer, ThreadPool& pool,
                           const TaskHooks& hooks = {});

}  // namespace pagoda::train
