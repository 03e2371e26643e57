// pagoda template: chat templates rendered over JSON lines.
#include <iostream>
#include <memory>

#include "base/error.h"
#include "cli/cli.h"
#include "cli/reading_stdin.h"
#include "cli/stdout_stream.h"
#include "pipelines/chat_templates.h"

namespace pagoda::cli {

namespace {

struct Flags {
  std::string model, file, now;
};

int run(const Program& program, const Flags& flags) {
  if (flags.model.empty() == flags.file.empty()) {
    invalid("template", "got {}, need MODEL or --file", flags.model.empty() ? "neither" : "both");
  }
  jinja::RenderOptions options;
  if (!flags.now.empty()) options.now = jinja::DateTime::parse(flags.now);
  const chat::TemplateSet templates = flags.file.empty() ? load_chat_templates(find_model(program, flags.model))
                                                         : chat::TemplateSet::from_text(read_text(flags.file));
  if (templates.empty())
    not_found(flags.model, "no chat template: need chat_template.jinja or chat_template in tokenizer_config.json");
  for (const std::string& name : templates.names()) jinja::Template::parse(templates.pick(name, false), options.limits);
  const EndAtOnce reading;
  note_stdin(program, "variables, a JSON object a line,");
  StdoutStream out;
  chat::template_jsonl(std::cin, out, templates, options);
  out.finish();
  return 0;
}

}  // namespace

void add_template(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb =
      add_verb(program, "template", "Render a chat template: an object of variables a line in, a JSON string a line out",
               {"echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | pagoda template MODEL",
                "pagoda template --file chat_template.jinja --now 2024-07-26T12:00:00 < contexts.jsonl"});
  add_model(verb, flags->model,
            std::string(kModelHelp) + "; tools, documents and add_generation_prompt are none and false unless given");
  verb->add_option("--file", flags->file, "A template file instead: it sees only what is given");
  add_jsonl(verb);
  verb->add_option("--now", flags->now, "What strftime_now sees, such as 2024-07-26T12:00:00 (default: the local time)");
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
