// pagoda merge: a model with a LoRA adapter added to its weights, as a folder of its own.
#include "convert/merge.h"

#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/verbs_training.h"
#include "models/adapter.h"
#include "ops/runtime.h"

namespace pagoda::cli {

namespace {

struct Flags {
  std::string model, adapter, out;
  bool force = false;
};

int run(const Program& program, const Flags& flags) {
  if (!flags.force && (file_exists(join_path(flags.out, "config.json")) || is_adapter(flags.out))) {
    invalid(flags.out, "holds a model already: need another folder, or --force to replace it");
  }
  const std::string adapter = find_model(program, flags.adapter);
  const auto folder = ModelFolder::open(find_model(program, flags.model));
  Runtime runtime{RuntimeOptions{}};
  TaskHooks hooks;
  hooks.cancel = &interrupted();
  MergeReport report;
  try {
    report = merge_into_folder(runtime.device(), *folder, adapter, flags.out, hooks);
  } catch (const Cancelled&) {
    return kInterruptedExit;
  }
  if (program.json) {
    Json changed = Json::array(), json = Json::object();
    for (const std::string& name : report.changed) changed.push_back(name);
    write_json(json.set("out", flags.out).set("changed", std::move(changed)));
  } else {
    note(program, fmt::format("{} parameters changed", report.changed.size()));
    write_out(flags.out + "\n");
  }
  return 0;
}

}  // namespace

void add_merge(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(program, "merge", "Write a model folder with a LoRA adapter (PEFT's format) added to its weights",
                             {"pagoda merge MODEL --adapter my-adapter --out my-model"});
  add_model(verb, flags->model, "The adapter's base: folder, ORG/NAME or ORG/NAME@REVISION")->required();
  verb->add_option("--adapter", flags->adapter, "Folder or ORG/NAME with adapter_config.json")->required();
  verb->add_option("--out", flags->out, "Folder to write")->required();
  verb->add_flag("--force", flags->force, "Replace a model that is there");
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
