// Flags as Hugging Face's own scripts spell them: --learning_rate 1e-4, --bf16 True.
#pragma once

#include <string>
#include <vector>

#include "cli/cli.h"

namespace pagoda::cli {

// The arguments (the program's name first) in the spelling that CLI11 knows: underscores in the names of flags become dashes
// where the verb has a flag of that name, and "true" or "false" behind a flag without a value becomes its value.
std::vector<std::string> plain_spelling(Verb app, int argc, char** argv);

// The verb of this name below another; names none where there is none.
Verb verb_below(Verb verb, const std::string& name);

}  // namespace pagoda::cli
