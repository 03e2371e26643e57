// pagoda perplexity: how well a model foretells a text.
#include "convert/perplexity.h"

#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "formats/tokenizer_loader.h"
#include "pipelines/loaded_model.h"

namespace pagoda::cli {

namespace {

struct Flags {
  MachineFlags machine;
  std::string model, text;
  int64_t stride = 0, max_length = 0;
};

int run(const Program& program, const Flags& flags) {
  const LoadOptions load_options = flags.machine.load_options();
  const std::string model = find_model(program, flags.model);
  const std::string text = read_text(flags.text);
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::open(model, load_options);
  if (loaded->model().head_kind() != Head::kCausalLm) {
    unsupported(model, "{} is an encoder and predicts no next token: need a causal model", loaded->model().architecture());
  }
  EncodeOptions encode;
  encode.truncate_and_pad = false;
  const std::vector<int32_t> ids = load_tokenizer(loaded->tokenizer_path())->encode(text, encode).ids;
  TerminalProgress line(stderr, false, "tokens");
  PerplexityOptions options;
  options.stride = flags.stride;
  options.max_length = flags.max_length;
  options.cancel = &interrupted();
  if (!program.quiet) options.progress = [&](int64_t done, int64_t total) { line.update("perplexity", done, total); };
  if (interrupted()) return kInterruptedExit;
  const Perplexity result = perplexity(loaded->runtime().device(), loaded->model(), ids, options);
  line.clear();
  if (interrupted()) return kInterruptedExit;
  if (program.json) {
    Json json = Json::object();
    json.set("perplexity", result.perplexity).set("nll", result.nll).set("tokens", result.tokens);
    json.set("text_tokens", static_cast<int64_t>(ids.size())).set("windows", result.windows);
    json.set("stride", result.stride).set("max_length", result.max_length);
    json.set("dtype", dtype_name(loaded->model().compute_dtype())).set("isa", isa_name(loaded->runtime().isa()));
    write_json(json);
  } else {
    write_out(fmt::format("perplexity {:.4f} (nll {:.6f}) over {} tokens: windows of {}, stride {}, {}\n", result.perplexity,
                          result.nll, result.tokens, result.max_length, result.stride,
                          dtype_name(loaded->model().compute_dtype())));
  }
  return 0;
}

}  // namespace

void add_perplexity(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(program, "perplexity", "Perplexity of a text under a model, by Hugging Face's strided method",
                             {"pagoda perplexity MODEL wiki.test.txt", "head -c 100000 stories.txt | pagoda perplexity MODEL -",
                              "pagoda perplexity MODEL.gguf text.txt --stride 256 --max-length 1024 --json"});
  add_model(verb, flags->model)->required();
  verb->add_option("TEXT", flags->text, "Text file (UTF-8); - reads stdin")->required();
  verb->add_option("--stride", flags->stride, "Tokens from one window to the next (default: 512, or the max length if less)")
      ->check(positive());
  verb->add_option("--max-length", flags->max_length, "Tokens of a window (default: the model's context, at most 2048)")
      ->check(positive());
  add_machine_flags(verb, flags->machine);
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
