// The explicit list of verbs.
#include "cli/cli.h"

namespace pagoda::cli {

void add_all(Program& program) {
  add_generate(program);
  add_tokenize(program);
  add_detokenize(program);
  add_template(program);
  add_logits(program);
  add_gradients(program);
  add_init(program);
}

}  // namespace pagoda::cli
