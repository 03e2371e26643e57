// dataset_info.json: what shards each split beside it has, by which one that was cut short is told from a whole one.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace pagoda::train {

// Before shards of these splits are written, or replaced, in `output_dir`: the file, if there was one, says from now on that
// they have none.
void begin_splits(const std::string& output_dir, const std::vector<std::string>& names);
// `info`: {"splits": {NAME: {"shards": [...], ...}}, ...}. Splits that only the file knows stay in it.
void write_dataset_info(const std::string& output_dir, Json info);

// `folder`: of a split; shards: the names of those in it. kInvalidInput where dataset_info.json beside the folder lists others;
// a folder that it says nothing of is as its files are.
void check_shards(const std::string& folder, const std::vector<std::string>& shards);

}  // namespace pagoda::train
