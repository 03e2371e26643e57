// The program: verbs, one error form, exit codes by kind of error.
#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/suggest.h"
#include "base/task_hooks.h"
#include "cli/cli.h"
#include "cli/flag_checks.h"
#include "cli/flag_values.h"
#include "cli/hf_spelling.h"
#include "cli/model_below.h"

namespace pagoda::cli {

namespace {

// CLI11 would say only that an argument was not expected. `of`: the verb that this one stands below; the one found is returned.
Verb check_verb(Verb app, std::string_view verb, const std::string& of = "") {
  std::string all, nearest;
  for (const Verb each : app->subcommands()) {
    const std::string& name = each->get_name();
    if (name == verb) return each;
    all += (all.empty() ? "" : ", ") + name;
    if (nearest.empty() || edit_distance(verb, name) < edit_distance(verb, nearest)) nearest = name;
  }
  const bool close = edit_distance(verb, nearest) <= std::max<size_t>(1, nearest.size() / 3);
  invalid("flags", "unknown verb{}: got {}, need one of {}{}", of.empty() ? "" : " after " + of,
          verb.empty() ? "none" : fmt::format("'{}'", verb), all, close ? "; did you mean '" + nearest + "'?" : "");
}

// Names that come from files may hold control characters: a terminal must not obey them.
std::string printable(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F) {
      shown += fmt::format("\\x{:02x}", byte);
    } else {
      shown += c;
    }
  }
  return shown;
}

// of: the program that it ended.
int report_current_error(const Program& of) {
  const Error error = current_error();
  const std::string hint = error.kind() == ErrorKind::kNotFound ? model_below(*of.found_models) : "";
  fmt::print(stderr, "error: {}\n", printable(error.message() + hint));
  return exit_code(error.kind());
}

// The house's words for what is wrong with the arguments.
[[noreturn]] void refuse(Verb app, const CommandLine::Outcome& outcome) {
  using Kind = CommandLine::Outcome::Kind;
  const std::string text = without_guards(outcome.text);
  if (outcome.kind == Kind::kExtras) refuse_extras(app, text);
  if (outcome.kind == Kind::kBadValue) {  // "--seed: got -1, need 0 or more"
    const std::string name = text.substr(0, text.find(": "));
    const std::string what = name == text ? text : text.substr(name.size() + 2);
    invalid(name, "{} ({})", value_error(asked_verb(app), name, what), see_help(app));
  }
  if (outcome.kind == Kind::kNoConversion) {  // "Could not convert: --temperature = 1,5"
    const std::string begin = "Could not convert: ";
    const size_t from = text.compare(0, begin.size(), begin) == 0 ? begin.size() : 0, to = text.find(" = ", from);
    const std::string name = to == std::string::npos ? "flags" : text.substr(from, to - from);
    invalid(name, "{} ({})", value_error(asked_verb(app), name, text), see_help(app));
  }
  invalid("flags", "{} ({})", text, see_help(app));
}

int parse_and_run(Program& program, int argc, char** argv) {
  const CommandLine command_line("pagoda",
                                 "Pagoda: trains, serves, embeds and ships Hugging Face style models from one native engine.");
  const Verb app = command_line.root();
  program.app = app;
  app->set_version_flag("--version", std::string("pagoda ") + PAGODA_VERSION);
  app->require_subcommand(1);
  app->footer("Each verb explains itself: pagoda VERB --help\n");
  add_all(program);
  settle_options(app);
  install_signal_handlers();
  if (argc < 2) {
    fmt::print(stderr, "{}", app->help());
    return exit_code(ErrorKind::kInvalidInput);
  }
  if (argv[1][0] != '-') {
    const Verb verb = check_verb(app, argv[1]);
    const bool has_more = !verb->subcommands().empty();
    const std::string_view next = argc > 2 ? argv[2] : "";
    if (has_more && (next.empty() || next[0] != '-')) check_verb(verb, next, argv[1]);
  }
  std::vector<std::string> plain = plain_spelling(app, argc, argv);
  guard_brackets(app, plain);
  const CommandLine::Outcome outcome = command_line.parse(plain);
  if (outcome.kind == CommandLine::Outcome::Kind::kShow) {
    write_out(outcome.text);
    return 0;
  }
  if (outcome.kind != CommandLine::Outcome::Kind::kRead) refuse(app, outcome);
  check_numbers(asked_verb(app));
  warn_of_threads(program, asked_verb(app));
  return program.run ? program.run() : 0;
}

}  // namespace

}  // namespace pagoda::cli

int main(int argc, char** argv) {
  pagoda::cli::Program program;
  try {
    return pagoda::cli::parse_and_run(program, argc, argv);
  } catch (const pagoda::cli::Interrupted&) {
    return pagoda::cli::kInterruptedExit;
  } catch (const pagoda::Cancelled&) {
    return pagoda::cli::kInterruptedExit;
  } catch (...) {
    return pagoda::cli::report_current_error(program);
  }
}
