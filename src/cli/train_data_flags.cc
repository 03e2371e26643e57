// Asks the files themselves: a TFRecord may be a shard or hold text.
#include "cli/train_data_flags.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "cli/row_flags.h"
#include "train/data/files.h"

namespace pagoda::cli {

void refuse_data_flags(Verb verb, const train::RowOptions& rows, const std::vector<std::string>& files) {
  std::vector<std::string> of_rows;  // those that are read row by row
  for (const std::string& file : files) {
    if (!(file_exists(file) || directory_exists(file)) || !train::are_shards({file}, rows)) of_rows.push_back(file);
  }
  if (!of_rows.empty()) return refuse_row_flags(verb, rows, of_rows);
  if (files.empty()) return;
  for (const char* name : {"--block-size", "--text-column", "--sample-by", "--keep-linebreaks", "--append-eos-token",
                           "--packing", "--line-by-line", "--overwrite-cache"}) {
    const Flag flag = verb->get_option_no_throw(name);
    if (flag && flag->count() > 0) invalid(name, "has no effect on shards, which are taken as they are");
  }
}

}  // namespace pagoda::cli
