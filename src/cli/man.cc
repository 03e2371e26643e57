// pagoda man: the manual page, written from the verbs' own tree.
#include <fmt/format.h>

#include <string>

#include "base/error.h"
#include "cli/verb_tree.h"

namespace pagoda::cli {

namespace {

// Text for roff: backslashes and hyphens by their escapes, and no line that begins as a request.
std::string roff(const std::string& text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    line_start = c == '\n';
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

std::string option_entry(const OptionNode& option) {
  std::string names;
  if (!option.place.empty()) names = "\\fI" + roff(option.place) + "\\fR";
  for (const std::string& name : option.names) names += (names.empty() ? "" : ", ") + ("\\fB" + roff(name) + "\\fR");
  if (option.place.empty() && !option.value.empty()) names += " \\fI" + roff(option.value) + "\\fR";
  std::string text = option.description.empty() ? "" : roff(option.description) + ".";
  if (!option.default_value.empty()) text += " Default: " + roff(option.default_value) + ".";
  if (option.required) text += " Required.";
  return ".TP\n" + names + "\n" + text + "\n";
}

std::string page(const VerbNode& root) {
  std::string text = fmt::format(".TH PAGODA 1 \"\" \"pagoda {}\" \"User Commands\"\n", PAGODA_VERSION);
  text += ".SH NAME\npagoda \\- " + roff(root.description) + "\n";
  text += ".SH SYNOPSIS\n.B pagoda\n\\fIVERB\\fR [\\fIARGUMENTS\\fR]\n.br\n.B pagoda\n\\fIVERB\\fR \\fB\\-\\-help\\fR\n";
  text += ".SH DESCRIPTION\nMODEL is a folder in Hugging Face's layout, or ORG/NAME of the hub, optionally with @REVISION.\n";
  text += ".SH VERBS\n";
  for (const VerbNode* verb : all_verbs(root)) {
    if (verb->path.empty() || !verb->verbs.empty()) continue;
    text += ".SS pagoda " + roff(verb->joined(" ")) + "\n" + roff(verb->description) + ".\n";
    for (const OptionNode& option : verb->options) text += option_entry(option);
    if (!verb->footer.empty()) text += ".PP\n.nf\n" + roff(verb->footer) + ".fi\n";
  }
  text += ".SH EXIT STATUS\n.TP\n0\nDone.\n";
  const auto code = [&](int number, const char* what) { text += fmt::format(".TP\n{}\n{}\n", number, what); };
  code(exit_code(ErrorKind::kInvalidInput), "Wrong flags or input.");
  code(exit_code(ErrorKind::kNotFound), "A file, model or name that does not exist.");
  code(exit_code(ErrorKind::kUnsupported), "Valid, but this build or machine cannot do it.");
  code(exit_code(ErrorKind::kOutOfMemory), "Out of memory.");
  code(exit_code(ErrorKind::kDevice), "Disk, network or another part of the machine failed.");
  code(exit_code(ErrorKind::kInternal), "A fault of pagoda itself.");
  code(kInterruptedExit, "Interrupted.");
  text += ".SH ENVIRONMENT\n.TP\nHF_HOME, HF_HUB_CACHE\nWhere pulled models are kept.\n";
  text += ".TP\nHF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE\nThe hub's address, the access token, and whether it may be asked.\n";
  return text;
}

}  // namespace

void add_man(Program& program) {
  const Verb verb = add_verb(program, "man", "Print the manual page in roff",
                             {"pagoda man | man -l -", "pagoda man > ~/.local/share/man/man1/pagoda.1"});
  verb->callback([&program] {
    program.run = [&program] {
      const std::string text = page(verb_tree(program.app));
      if (program.json) {
        Json object = Json::object();
        object.set("page", text);
        write_json(object);
      } else {
        write_out(text);
      }
      return 0;
    };
  });
}

}  // namespace pagoda::cli
