// One pass over the arguments, down the tree of verbs.
#include "cli/hf_spelling.h"

#include <algorithm>
#include <cctype>

namespace pagoda::cli {

namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

Verb verb_below(Verb verb, const std::string& name) {
  for (const Verb each : verb->subcommands()) {
    if (each->get_name() == name) return each;
  }
  return {};
}

std::vector<std::string> plain_spelling(Verb app, int argc, char** argv) {
  std::vector<std::string> given(argv, argv + argc), plain;
  Verb verb = app;
  for (size_t i = 0; i < given.size(); ++i) {
    std::string argument = given[i];
    if (i > 0 && argument == "--") {  // none of what follows is a flag
      plain.insert(plain.end(), given.begin() + static_cast<std::ptrdiff_t>(i), given.end());
      break;
    }
    if (i == 0 || argument.rfind("--", 0) != 0) {
      if (const Verb below = i == 0 ? Verb() : verb_below(verb, argument)) verb = below;
      plain.push_back(std::move(argument));
      continue;
    }
    const size_t equals = std::min(argument.find('='), argument.size());
    std::string name = argument.substr(0, equals);
    std::replace(name.begin() + 2, name.end(), '_', '-');
    if (!verb->get_option_no_throw(argument.substr(0, equals)) && verb->get_option_no_throw(name)) {
      argument.replace(0, equals, name);
    }
    const Flag option = verb->get_option_no_throw(argument.substr(0, equals));
    const bool takes_none = option && option->get_items_expected_max() == 0 && option != verb->get_help_ptr();
    if (takes_none && equals == argument.size() && i + 1 < given.size()) {
      const std::string next = lower(given[i + 1]);
      if (next == "true" || next == "false") {
        argument += "=" + next;
        ++i;
      }
    }
    plain.push_back(std::move(argument));
  }
  return plain;
}

}  // namespace pagoda::cli
