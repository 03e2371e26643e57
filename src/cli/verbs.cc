// The explicit list of verbs.
#include "cli/cli.h"
#include "cli/verbs_training.h"

namespace pagoda::cli {

void add_all(Program& program) {
  add_generate(program);
  add_chat(program);
  add_run(program);
  add_complete(program);
  add_serve(program);
  add_run_batch(program);
  add_tokenize(program);
  add_detokenize(program);
  add_train(program);
  add_evaluate(program);
  add_merge(program);
  add_data(program);
  add_tokenizer(program);
  add_template(program);
  add_perplexity(program);
  add_quantize(program);
  add_compile(program);
  add_logits(program);
  add_gradients(program);
  add_init(program);
  add_pull(program);
  add_push(program);
  add_info(program);
  add_doctor(program);
  add_bench(program);
  add_completion(program);
  add_man(program);
}

}  // namespace pagoda::cli
