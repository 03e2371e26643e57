// Flags about how rows of training files are read.
#pragma once

#include <string>
#include <vector>

#include "cli/cli.h"
#include "train/data/rows.h"

namespace pagoda::cli {

// Throws kInvalidInput for a flag that none of the files obeys: lines and paragraphs are of text, columns of all else.
void refuse_row_flags(Verb verb, const train::RowOptions& rows, const std::vector<std::string>& files);

}  // namespace pagoda::cli
