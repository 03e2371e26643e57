// pagoda push: a folder to the hub.
#include "hub/push.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/checked.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "cli/verbs_training.h"
#include "formats/model_folder.h"
#include "hub/model_card.h"
#include "tensor/shape.h"

namespace pagoda::cli {

namespace {

struct Flags {
  std::string folder, name, token, endpoint;
  hub::PushOptions options;
  bool no_model_card = false;
  Flag token_option;
};

hub::CardWeights count(const WeightSource& source) {
  hub::CardWeights weights;
  std::map<std::string, int64_t> by_coding;
  for (const std::string& name : source.names()) {
    const TensorEntry* entry = source.find(name);
    const int64_t count = element_count(entry->shape, name);
    weights.parameters = checked_add(weights.parameters, count, name);
    by_coding[entry->encoded ? entry->encoded->coding() : dtype_name(entry->dtype)] += count;
  }
  const auto fewer = [](const auto& a, const auto& b) { return a.second < b.second; };
  if (!by_coding.empty()) weights.dtype = std::max_element(by_coding.begin(), by_coding.end(), fewer)->first;
  return weights;
}

// Of quantised weights, whose files hold words of several; of others the headers say it.
std::optional<hub::CardWeights> packed_weights(const std::string& path) {
  std::shared_ptr<ModelFolder> folder;
  try {
    folder = ModelFolder::open(path);
    if (folder->quantization() == nullptr) return {};
    return count(folder->weights());
  } catch (const Error&) {
    // Better no number than that of the words of a format that is not read here.
    return folder == nullptr ? std::nullopt : std::optional(hub::CardWeights{});
  }
}

int run(const Program& program, const Flags& flags) {
  hub::PushOptions options = flags.options;
  if (!flags.endpoint.empty()) options.endpoint = flags.endpoint;
  if (flags.token_option->count() > 0) options.token = flags.token;
  options.cancel = &interrupted();
  if (!flags.no_model_card) options.model_card = hub::make_model_card(flags.folder, flags.name, packed_weights(flags.folder));
  TerminalProgress line(stderr);
  if (!program.quiet && line.active()) {
    options.progress = [&](const hub::PushProgress& now) {
      line.update(fmt::format("{}/{} {}", now.files, now.total_files, now.file), now.bytes, now.total);
    };
  }
  hub::PushResult result;
  try {
    result = hub::push(flags.folder, flags.name, options);
  } catch (const Error&) {
    if (!interrupted()) throw;
    line.clear();
    note(program, "interrupted: the same command goes on where this one stopped");
    return kInterruptedExit;
  }
  line.clear();
  if (program.json) {
    Json files = Json::array(), object = Json::object();
    for (const std::string& file : result.files) files.push_back(file);
    object.set("url", result.url).set("commit", result.commit);
    object.set("pull_request", result.pull_request.empty() ? Json() : Json(result.pull_request));
    object.set("files", std::move(files)).set("unchanged", result.unchanged).set("uploaded_bytes", result.uploaded_bytes);
    write_json(object);
    return 0;
  }
  note(program, fmt::format("{} files committed, {} unchanged, {} uploaded", result.files.size(), result.unchanged,
                            format_bytes(result.uploaded_bytes)));
  write_out((result.pull_request.empty() ? result.url : result.pull_request) + "\n");
  return 0;
}

}  // namespace

void add_push(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb =
      add_verb(program, "push",
               "Upload a folder to the hub in one commit and print its address; what the hub has is not sent again. "
               "A folder without README.md gets a model card",
               {"pagoda push my-model ORG/NAME --private", "pagoda push my-model ORG/NAME --exclude '*.bin' --create-pr",
                "HF_ENDPOINT=http://127.0.0.1:8080 pagoda push my-model ORG/NAME"});
  const auto several = [&](const char* name, std::vector<std::string>& values, const char* help) {
    verb->add_option(name, values, help)->expected(1)->allow_extra_args(false)->take_all()->type_name("GLOB");
  };
  verb->add_option("FOLDER", flags->folder, "What to upload; .git/, .cache/, checkpoint-N/ and *.pagoda stay here")->required();
  verb->add_option("NAME", flags->name, "ORG/NAME or ORG/NAME@BRANCH; made where there is none")->required();
  verb->add_option("--revision", flags->options.revision, "Branch; made where there is none (default: main)");
  verb->add_option("--commit-message", flags->options.commit_message, "First line of the commit (default: Upload with pagoda)");
  verb->add_option("--commit-description", flags->options.commit_description, "What follows it");
  verb->add_flag("--private", flags->options.private_repo, "Nobody else sees a repository that this makes");
  verb->add_flag("--create-pr", flags->options.create_pr, "Make the commit a pull request");
  several("--include", flags->options.include, "Only files that match, such as '*.json' (may be given several times)");
  several("--exclude", flags->options.exclude, "Not files that match (may be given several times)");
  verb->add_flag("--no-model-card", flags->no_model_card, "Write no README.md where there is none");
  flags->token_option = verb->add_option("--token", flags->token, "Access token (default: HF_TOKEN, or the saved one)");
  verb->add_option("--endpoint", flags->endpoint, "Address of the hub (default: HF_ENDPOINT, https://huggingface.co)");
  verb->add_option("--max-workers", flags->options.parallel, "Large files at a time")
      ->check(in_range(1, 64))
      ->capture_default_str();
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
