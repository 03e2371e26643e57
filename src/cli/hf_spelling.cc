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

const CLI::App* verb_below(const CLI::App& verb, const std::string& name) {
  const auto named = verb.get_subcommands([&](const CLI::App* each) { return each->get_name() == name; });
  return named.empty() ? nullptr : named.front();
}

std::vector<std::string> plain_spelling(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> given(argv, argv + argc), plain;
  const CLI::App* verb = &app;
  for (size_t i = 0; i < given.size(); ++i) {
    std::string argument = given[i];
    if (i > 0 && argument == "--") {  // none of what follows is a flag
      plain.insert(plain.end(), given.begin() + static_cast<std::ptrdiff_t>(i), given.end());
      break;
    }
    if (i == 0 || argument.rfind("--", 0) != 0) {
      if (const CLI::App* below = i == 0 ? nullptr : verb_below(*verb, argument)) verb = below;
      plain.push_back(std::move(argument));
      continue;
    }
    const size_t equals = std::min(argument.find('='), argument.size());
    std::string name = argument.substr(0, equals);
    std::replace(name.begin() + 2, name.end(), '_', '-');
    if (verb->get_option_no_throw(argument.substr(0, equals)) == nullptr && verb->get_option_no_throw(name) != nullptr) {
      argument.replace(0, equals, name);
    }
    const CLI::Option* option = verb->get_option_no_throw(argument.substr(0, equals));
    const bool takes_none = option != nullptr && option->get_items_expected_max() == 0 && option != verb->get_help_ptr();
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
