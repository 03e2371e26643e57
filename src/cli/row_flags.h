// Flags about how rows of training files are read.
#pragma once

#include <string>
#include <vector>

#include "cli/cli.h"
#include "train/data/rows.h"

namespace pagoda::cli {

// Throws kInvalidInput for a flag that none of the files obeys: lines and paragraphs are of text, columns of all else.
void refuse_row_flags(Verb verb, const train::RowOptions& rows, const std::vector<std::string>& files);

// All files begin with a row of token ids. One that is not there, or a pipe, does not.
bool are_token_ids(const train::RowOptions& rows, const std::vector<std::string>& files);
constexpr const char* kTokenIdsAreTaken = "has no effect on rows of token ids, which are taken as they are";

}  // namespace pagoda::cli
