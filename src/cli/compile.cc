// pagoda compile: packed weights in a file that maps at start.
#include <fmt/format.h>

#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/bench_common.h"
#include "cli/cli.h"
#include "pipelines/compiled_model.h"

namespace pagoda::cli {

namespace {

struct Flags {
  std::string model, out, isa = "auto", dtype = "auto";
  int threads = 0;
};

int run(const Program& program, const Flags& flags) {
  LoadOptions options;
  options.runtime.threads = usable_threads(flags.threads);
  if (flags.isa != "auto") options.runtime.isa = parse_isa(flags.isa);
  options.dtype = flags.dtype;
  if (directory_exists(flags.out)) invalid("--out", "got the folder {}, need a file", flags.out);
  const std::string model = find_model(program, flags.model);
  const double begun = steady_seconds();
  TaskHooks hooks;
  hooks.cancel = &interrupted();
  CompileReport report;
  try {
    report = compile_model(model, options, flags.out, hooks);
  } catch (const Cancelled&) {
    return kInterruptedExit;
  }
  if (program.json) {
    Json json = Json::object();
    json.set("out", report.path).set("weights", report.weights).set("bytes", report.bytes);
    write_json(json.set("seconds", steady_seconds() - begun));
  } else {
    write_out(fmt::format("{}: {} weights, {}\n", report.path, report.weights, format_bytes(report.bytes)));
  }
  return 0;
}

}  // namespace

void add_compile(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(
      program, "compile",
      "Write a model's weights as this machine's kernels want them: the file beside the model is mapped at every start after "
      "that, and processes that serve one model share its memory",
      {"pagoda compile MODEL",
       "pagoda compile MODEL --out /var/cache/model.pagoda && pagoda serve MODEL --compiled /var/cache/model.pagoda",
       "pagoda compile MODEL --isa avx2 --dtype bfloat16 --json"});
  add_model(verb, flags->model)->required();
  verb->add_option("--out", flags->out,
                   "File to write (default: model.ISA.DTYPE.pagoda beside the weights, which is found by itself)");
  verb->add_option("--isa", flags->isa, "Instruction set it is for")
      ->type_name("auto|reference|portable|avx2|avx512|avx512_bf16|amx")
      ->capture_default_str();
  verb->add_option("--dtype", flags->dtype, "Arithmetic it is for")->type_name("auto|float32|bfloat16")->capture_default_str();
  add_threads(verb, flags->threads);
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
