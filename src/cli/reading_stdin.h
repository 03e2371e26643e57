// What verbs that read stdin share.
#pragma once

#include <string_view>

#include "cli/cli.h"

namespace pagoda::cli {

// Before stdin is read: at a terminal nothing else would say that the program waits. what: "the prompt".
void note_stdin(const Program& program, std::string_view what);
// --jsonl of verbs that know nothing but JSON lines: scripts may go on giving it.
void add_jsonl(Verb verb);

}  // namespace pagoda::cli
