// A line for a terminal, and a flag for scripts.
#include "cli/reading_stdin.h"

#include <fmt/format.h>
#include <unistd.h>

namespace pagoda::cli {

void note_stdin(const Program& program, std::string_view what) {
  if (::isatty(STDIN_FILENO) != 0) note(program, fmt::format("reading {} from stdin (Ctrl-D ends it)", what));
}

void add_jsonl(Verb verb) {
  verb->add_flag("--jsonl", "JSON lines on stdin and stdout: this is so without it too (--json changes nothing here either)");
}

}  // namespace pagoda::cli
