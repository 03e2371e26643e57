// Flags about the rows of language models: which of them the files obey.
#pragma once

#include <string>
#include <vector>

#include "cli/cli.h"
#include "train/data/rows.h"

namespace pagoda::cli {

// Throws kInvalidInput for a flag that none of the files obeys: shards and rows of token ids are taken as they are, lines are
// of text, columns of all else. `files` that are not there are no shards.
void refuse_data_flags(Verb verb, const train::RowOptions& rows, const std::vector<std::string>& files);

}  // namespace pagoda::cli
