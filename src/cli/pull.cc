// pagoda pull: a model of the hub into the cache.
#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "hub/pull.h"

namespace pagoda::cli {

namespace {

struct Flags {
  std::string model, revision, cache_dir, token, endpoint;
  std::vector<std::string> include, exclude;
  bool offline = false, force = false;
  int max_workers = 4;
  Flag token_option;
};

int run(const Program& program, const Flags& flags) {
  hub::PullOptions options;
  options.revision = flags.revision;
  options.include = flags.include;
  options.exclude = flags.exclude;
  options.force = flags.force;
  options.parallel = flags.max_workers;
  if (!flags.cache_dir.empty()) options.cache_folder = flags.cache_dir;
  if (!flags.endpoint.empty()) options.endpoint = flags.endpoint;
  if (flags.token_option->count() > 0) options.token = flags.token;
  if (flags.offline) options.offline = true;
  options.cancel = &interrupted();
  TerminalProgress line(stderr);
  if (!program.quiet && line.active()) {
    options.progress = [&](const hub::PullProgress& now) {
      line.update(fmt::format("{}/{} {}", now.files, now.total_files, now.file), now.bytes, now.total);
    };
  }
  hub::PullResult result;
  try {
    result = hub::pull(flags.model, options);
  } catch (const Error&) {
    if (!interrupted()) throw;
    line.clear();
    note(program, "interrupted: the same command goes on where this one stopped");
    return kInterruptedExit;
  }
  line.clear();
  if (!result.stale_reason.empty()) {
    note(program, fmt::format("warning: the hub could not be reached, the cache's copy is used: {}", result.stale_reason));
  }
  if (program.json) {
    Json files = Json::array(), object = Json::object();
    for (const std::string& file : result.files) files.push_back(file);
    object.set("folder", result.folder).set("commit", result.commit).set("files", std::move(files));
    object.set("downloaded_bytes", result.downloaded_bytes);
    object.set("stale_reason", result.stale_reason.empty() ? Json() : Json(result.stale_reason));
    write_json(object);
    return 0;
  }
  note(program, fmt::format("{} files, {} downloaded", result.files.size(), format_bytes(result.downloaded_bytes)));
  write_out(result.folder + "\n");
  return 0;
}

}  // namespace

void add_pull(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(
      program, "pull",
      "Download a model into huggingface_hub's cache and print its folder; what is there is kept, what broke off goes on",
      {"pagoda pull HuggingFaceTB/SmolLM2-135M", "pagoda pull ORG/NAME --revision v1.0 --include '*.json'",
       "pagoda generate \"$(pagoda pull ORG/NAME --quiet)\" --prompt Hello"});
  const auto several = [&](const char* name, std::vector<std::string>& values, const char* help) {
    verb->add_option(name, values, help)->expected(1)->allow_extra_args(false)->take_all()->type_name("GLOB");
  };
  verb->add_option("MODEL", flags->model, "ORG/NAME or ORG/NAME@REVISION")->required();
  verb->add_option("--revision", flags->revision, "Branch, tag or commit (default: main)");
  several("--include", flags->include,
          "Only files that match, such as '*.json' (may be given several times; default: what is needed)");
  several("--exclude", flags->exclude, "Not files that match (may be given several times)");
  verb->add_option("--cache-dir", flags->cache_dir,
                   "Cache folder (default: HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub)");
  flags->token_option =
      verb->add_option("--token", flags->token, "Access token (default: HF_TOKEN, or the saved one); \"\": none");
  verb->add_option("--endpoint", flags->endpoint, "Address of the hub (default: HF_ENDPOINT, https://huggingface.co)");
  verb->add_flag("--offline", flags->offline, "Only look into the cache (default: HF_HUB_OFFLINE)");
  verb->add_flag("--force", flags->force, "Download again what the cache has");
  verb->add_option("--max-workers", flags->max_workers, "Files at a time")->check(in_range(1, 64))->capture_default_str();
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
