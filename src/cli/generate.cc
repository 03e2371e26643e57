// pagoda generate: text from a prompt.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/reading_stdin.h"
#include "cli/sampling_flags.h"
#include "pipelines/text_generation.h"

namespace pagoda::cli {

namespace {

struct Flags {
  MachineFlags machine;
  SamplingFlags sampling;
  std::string model, prompt, prompt_ids, prompt_file, kv_cache_dtype = "auto";
  Flag prompt_option, ids_option, file_option;
};

std::vector<int32_t> prompt_ids(const Program& program, const TextGeneration& generation, Model& model, const Flags& flags) {
  if (flags.ids_option->count() > 0) {
    std::vector<int32_t> ids = parse_ids(Json::parse(flags.prompt_ids, "--prompt-ids"), model.vocab_size(), "--prompt-ids");
    if (ids.empty()) invalid("--prompt-ids", "empty list: need at least one token id");
    return ids;
  }
  std::string text = flags.prompt;
  if (flags.prompt_option->count() == 0) {
    const std::string file = flags.file_option->count() > 0 ? flags.prompt_file : "-";
    if (file == "-") note_stdin(program, "the prompt");
    text = read_text(file, Limits().max_string_bytes);
  }
  if (const size_t bad = utf8_invalid_at(text); bad != std::string::npos) {
    invalid("prompt", "not UTF-8: byte {} cannot be read", bad);
  }
  return generation.encode_prompt(text);
}

int run(const Program& program, const Flags& flags) {
  const LoadOptions load_options = flags.machine.load_options();
  const SamplingParams asked = flags.sampling.apply(SamplingParams());
  EngineOptions engine_options;
  engine_options.kv_cache_dtype = parse_kv_cache_dtype(flags.kv_cache_dtype);
  // There is one request, and all of its sequences may run at once.
  engine_options.max_num_seqs = std::max({engine_options.max_num_seqs, asked.num_return_sequences, asked.num_beams});
  engine_options.max_num_batched_tokens = std::max(engine_options.max_num_batched_tokens, engine_options.max_num_seqs);
  const std::unique_ptr<TextGeneration> generation =
      TextGeneration::open(find_model(program, flags.model), load_options, engine_options);
  Request request;
  request.params = flags.sampling.apply(generation->defaults());
  request.prompt_ids = prompt_ids(program, *generation, generation->model(), flags);
  const std::vector<int32_t> prompt = request.prompt_ids;
  Engine& engine = generation->engine();
  const int64_t answers = request.params.num_return_sequences;
  const bool stream = !program.json && answers == 1;
  engine.add(std::move(request));

  struct Answer {
    std::vector<int32_t> token_ids;
    std::string text;
    FinishReason finish = FinishReason::kNone;
  };
  std::vector<Answer> results(static_cast<size_t>(answers));
  const bool has_text = generation->tokenizer() != nullptr;
  while (engine.has_work()) {
    if (interrupted()) {
      if (stream && ::isatty(STDOUT_FILENO) != 0) write_out("\n");
      return kInterruptedExit;
    }
    for (Event& event : engine.step()) {
      if (event.error) throw *event.error;
      Answer& answer = results[static_cast<size_t>(event.index)];
      answer.token_ids.insert(answer.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
      answer.text += event.text;
      answer.finish = event.finish;
      if (stream && has_text) write_out(event.text);
    }
  }
  if (program.json) {
    Json result = Json::object(), list = Json::array(), prompt_list = Json::array();
    for (const int32_t id : prompt) prompt_list.push_back(int64_t{id});
    for (size_t i = 0; i < results.size(); ++i) {
      Json ids = Json::array();
      for (const int32_t id : results[i].token_ids) ids.push_back(int64_t{id});
      Json output = Json::object();
      output.set("index", static_cast<int64_t>(i)).set("token_ids", std::move(ids));
      output.set("text", has_text ? Json(results[i].text) : Json());
      output.set("finish_reason", finish_reason_name(results[i].finish));
      list.push_back(std::move(output));
    }
    result.set("prompt_token_ids", std::move(prompt_list)).set("outputs", std::move(list));
    write_json(result);
    return 0;
  }
  for (size_t i = 0; i < results.size() && has_text && !stream; ++i) {
    if (i > 0) write_out("\n---\n");
    write_out(results[i].text);
  }
  for (size_t i = 0; i < results.size() && !has_text; ++i) {  // without a tokenizer the ids are the answer
    Json ids = Json::array();
    for (const int32_t id : results[i].token_ids) ids.push_back(int64_t{id});
    write_json(ids);
  }
  if (has_text && ::isatty(STDOUT_FILENO) != 0) write_out("\n");
  return 0;
}

}  // namespace

void add_generate(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(program, "generate", "Generate text from a prompt",
                             {"pagoda generate MODEL --prompt 'Once upon a time' --max-new-tokens 64",
                              "pagoda generate MODEL --prompt-file story.txt --temperature 0.8 --top-p 0.95 --seed 7",
                              "echo 'Hello' | pagoda generate MODEL --json",
                              "pagoda generate MODEL --prompt-ids '[1, 403]' --num-beams 4 --num-return-sequences 2"});
  add_model(verb, flags->model)->required();
  flags->prompt_option =
      verb->add_option("--prompt", flags->prompt, "Prompt; \"\" is the model's own start. Without any prompt flag: stdin");
  flags->ids_option =
      verb->add_option("--prompt-ids", flags->prompt_ids, "Prompt as a JSON list of token ids")->excludes(flags->prompt_option);
  flags->file_option = verb->add_option("--prompt-file", flags->prompt_file, "Prompt from a file")
                           ->excludes(flags->prompt_option)
                           ->excludes(flags->ids_option);
  add_sampling_flags(verb, flags->sampling);
  add_kv_cache_dtype(verb, flags->kv_cache_dtype);
  add_machine_flags(verb, flags->machine);
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
