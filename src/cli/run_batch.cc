// pagoda run-batch: a file of requests in OpenAI's batch format, answered without a server.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/byte_size.h"
#include "cli/cli.h"
#include "server/app.h"
#include "server/batch.h"
#include "server/embeddings.h"
#include "server/served_generator.h"

namespace pagoda::cli {

namespace {

struct Flags {
  MachineFlags machine;
  std::string input, output, model, kv_cache_memory, chat_template, pooler_config, generation_config = "auto",
                                                                                   kv_cache_dtype = "auto";
  int64_t max_model_len = 0, max_num_seqs = 256, max_num_batched_tokens = 0;
  std::vector<std::string> names;
};

server::AppOptions app_options(const Flags& flags) {
  server::AppOptions options;
  options.model = flags.model;
  options.served_model_names = served_model_names(flags.model, flags.names);
  options.pooling = server::parse_pooler_config(flags.pooler_config);
  options.max_open = 0;  // the batch bounds what is under way
  // Who gives the file gives the templates too.
  options.trust_request_chat_template = true;
  return options;
}

server::GenerationOptions generation_options(const Flags& flags) {
  server::GenerationOptions options;
  options.plain_defaults = flags.generation_config == "vllm";
  if (!flags.chat_template.empty()) options.chat_template = read_text(flags.chat_template, Limits().max_string_bytes);
  return options;
}

int run(const Program& program, const Flags& flags) {
  if (!file_exists(flags.input)) {
    if (::access(flags.input.c_str(), F_OK) != 0) not_found(flags.input, "no such file");
    invalid(flags.input, "a folder or a pipe: need a file, which is read a second time where a run that was ended goes on");
  }
  EngineOptions engine;
  engine.max_model_len = flags.max_model_len;
  engine.max_num_seqs = flags.max_num_seqs;
  engine.max_num_batched_tokens = batched_tokens(flags.max_num_batched_tokens, flags.max_num_seqs);
  engine.kv_cache_dtype = parse_kv_cache_dtype(flags.kv_cache_dtype);
  if (!flags.kv_cache_memory.empty()) engine.kv_cache_bytes = parse_bytes(flags.kv_cache_memory, "--kv-cache-memory");
  server::AppOptions options = app_options(flags);
  const server::GenerationOptions served_as = generation_options(flags);
  const auto generation = TextGeneration::open(find_model(program, flags.model), flags.machine.load_options(), engine);
  server::App app(std::move(options));
  auto model = std::make_unique<server::ServedGenerator>(app.serving(), served_as, *generation);
  AsyncEngine& served_engine = model->engine();
  app.serve(std::move(model));

  TerminalProgress progress(stderr, false, "requests");
  server::BatchOptions batch;
  batch.concurrency = 2 * flags.max_num_seqs;
  batch.interrupted = [] { return interrupted().load(); };
  batch.progress = [&](int64_t done, int64_t total) {
    if (!program.quiet) progress.update("batch", done, total);
  };
  const double begun = steady_seconds();
  const server::BatchResult result = server::run_batch(
      flags.input, flags.output,
      [&app](server::HttpRequest request, std::shared_ptr<server::HttpResponse> response) {
        app.handle(std::move(request), std::move(response));
      },
      batch);
  progress.clear();
  served_engine.drain();
  const double seconds = steady_seconds() - begun;
  const EngineStats stats = served_engine.stats();
  if (result.interrupted) {
    note(program, fmt::format("{} of {} requests are answered, in {}: the same command goes on from there",
                              result.resumed + result.done, result.total, server::batch_part_path(flags.output)));
  } else {
    note(program, fmt::format("{} requests in {:.1f} s ({:.2f}/s, {:.0f} generated tokens/s){}{}", result.done, seconds,
                              static_cast<double>(result.done) / std::max(seconds, 1e-9),
                              static_cast<double>(stats.num_generated_tokens) / std::max(seconds, 1e-9),
                              result.resumed > 0 ? fmt::format(", {} answered before", result.resumed) : "",
                              result.failed > 0 ? fmt::format(", {} failed", result.failed) : ""));
  }
  if (program.json) {
    Json report = Json::object();
    report.set("requests", result.done)
        .set("failed", result.failed)
        .set("resumed", result.resumed)
        .set("total", result.total)
        .set("seconds", seconds)
        .set("generated_tokens", stats.num_generated_tokens)
        .set("output", result.interrupted ? server::batch_part_path(flags.output) : flags.output);
    write_json(report);
  }
  if (result.interrupted) return kInterruptedExit;
  if (result.failed > 0 && result.failed == result.total) {
    invalid(flags.input, "no request was answered: {} of {} failed, see {}", result.failed, result.total, flags.output);
  }
  return 0;
}

}  // namespace

void add_run_batch(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(
      program, "run-batch", "Answer a file of requests in OpenAI's batch format",
      {"pagoda run-batch -i in.jsonl -o out.jsonl --model MODEL",
       "pagoda run-batch -i in.jsonl -o out.jsonl --model MODEL --served-model-name small --max-num-seqs 64",
       R"(echo '{"custom_id": "1", "method": "POST", "url": "/v1/completions", "body": {"prompt": "Hi"}}' > in.jsonl)"});
  verb->add_option("-i,--input-file", flags->input, "Requests, a JSON object a line")->required();
  verb->add_option(
          "-o,--output-file", flags->output,
          "Answers in the same order. Until all are there they gather in FILE.part, from which a run that was ended goes on")
      ->required();
  verb->add_option("--model", flags->model, kModelHelp)->required();
  add_revision(verb, flags->model);
  verb->add_option("--served-model-name", flags->names, "Name of the model in requests and answers; the first answers");
  add_max_model_len(verb, flags->max_model_len);
  verb->add_option("--kv-cache-memory", flags->kv_cache_memory, "Memory for the cache: 4194304, 512MiB, 2GB");
  add_kv_cache_dtype(verb, flags->kv_cache_dtype);
  verb->add_option("--max-num-seqs", flags->max_num_seqs, "Sequences that run at once")
      ->capture_default_str()
      ->check(in_range(1, 65536));
  verb->add_option("--max-num-batched-tokens", flags->max_num_batched_tokens, "Tokens of one step (default 2048)")
      ->check(positive());
  verb->add_option("--chat-template", flags->chat_template, "File of a chat template that stands for the model's own");
  verb->add_option(
      "--pooler-config", flags->pooler_config,
      "Embeddings, as JSON: {\"pooling_type\": \"LAST\" (MEAN, CLS), \"use_activation\": true, \"dimensions\": N}");
  verb->add_option("--generation-config", flags->generation_config,
                   "auto: the model's defaults; vllm: temperature 1 and no cuts")
      ->check(one_of({"auto", "vllm"}))
      ->capture_default_str();
  add_machine_flags(verb, flags->machine);
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
