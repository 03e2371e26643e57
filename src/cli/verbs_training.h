// Verbs about training that verbs.cc lists beside those of cli.h.
#pragma once

#include "cli/cli.h"

namespace pagoda::cli {

void add_evaluate(Program& program);
void add_merge(Program& program);
void add_push(Program& program);

}  // namespace pagoda::cli
