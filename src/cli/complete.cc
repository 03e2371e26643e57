// pagoda complete: a text continued by a server.
#include <unistd.h>

#include <memory>

#include "base/error.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/reading_stdin.h"
#include "cli/remote.h"
#include "cli/sampling_flags.h"

namespace pagoda::cli {

namespace {

struct Flags {
  RemoteFlags remote;
  SamplingFlags sampling;
  std::string prompt, model;
  Verb verb;
  Flag prompt_option;
};

// Several answers are a list, as in pagoda generate.
Json to_json(const RemoteAnswer& answer, const std::string& model) {
  const auto told = [&](const RemoteChoice& choice, Json into) {
    const bool cut = answer.interrupted && choice.finish_reason.empty();
    return into.set("text", choice.text).set("finish_reason", cut ? "interrupted" : choice.finish_reason);
  };
  Json result = Json::object();
  result.set("model", model);
  if (answer.choices.size() == 1) {
    result = told(answer.choices[0], std::move(result));
  } else {
    Json outputs = Json::array();
    for (size_t i = 0; i < answer.choices.size(); ++i) {
      Json output = Json::object();
      output.set("index", static_cast<int64_t>(i));
      outputs.push_back(told(answer.choices[i], std::move(output)));
    }
    result.set("outputs", std::move(outputs));
  }
  return result.set("prompt_tokens", answer.prompt_tokens).set("completion_tokens", answer.completion_tokens);
}

int run_complete(const Program& program, const Flags& flags) {
  flags.sampling.check();
  Json body = sampling_fields(flags.verb);
  std::string prompt = flags.prompt;
  if (flags.prompt_option->count() == 0) {
    note_stdin(program, "the prompt");
    prompt = read_text("-");
  }
  if (const size_t bad = utf8_invalid_at(prompt); bad != std::string::npos) {
    invalid("prompt", "not UTF-8: byte {} cannot be read", bad);
  }
  body.set("prompt", prompt);
  Remote remote(flags.remote, flags.model);
  const RemoteAnswer answer = remote.ask("/v1/completions", std::move(body), [&](const std::string& text) {
    if (!program.json) write_out(text);
  });
  if (program.json) {
    write_json(to_json(answer, remote.model()));
    return answer.interrupted ? kInterruptedExit : 0;
  }
  for (size_t i = 0; i < answer.choices.size() && answer.choices.size() > 1; ++i) {
    write_out((i > 0 ? "\n---\n" : "") + answer.choices[i].text);
  }
  if (::isatty(STDOUT_FILENO) != 0) {
    write_out("\n");
  }
  return answer.interrupted ? kInterruptedExit : 0;
}

}  // namespace

void add_complete(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(
      program, "complete", "Continue a text on a running server, streamed (pagoda serve, vLLM, any other of OpenAI's API)",
      {"pagoda complete --url http://127.0.0.1:8000 --prompt 'Once upon a time' --max-new-tokens 64",
       "pagoda complete --url http://127.0.0.1:8000 --prompt 'Once' --n 3 --temperature 0.8",
       "echo 'Hello' | pagoda complete --url https://api.example/v1 --api-key $KEY --model NAME --json"});
  add_remote_flags(verb, flags->remote);
  verb->get_option("--url")->required();
  flags->prompt_option = verb->add_option("--prompt", flags->prompt, "Prompt; without it: stdin");
  verb->add_option("--model", flags->model, "Name of the model (default: the first that the server lists)");
  add_sampling_flags(verb, flags->sampling);
  flags->sampling.keep(verb, has_field);
  verb->get_option("--num-return-sequences")->check(in_range(1, 16384));
  verb->get_option("--max-new-tokens")->description("Most tokens to generate (default: the server's)");
  flags->verb = verb;
  verb->callback([&program, flags] { program.run = [&program, flags] { return run_complete(program, *flags); }; });
}

}  // namespace pagoda::cli
