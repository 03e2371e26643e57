// By CLI11's types of options and the texts of its errors.
#include "cli/flag_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "cli/flag_checks.h"
#include "cli/hf_spelling.h"

namespace pagoda::cli {

namespace {

constexpr char kGuard = '\x1f';  // ASCII's unit separator, which no name or text ends with

void guard(std::string& argument, size_t value) {
  if (argument.size() > value + 1 && argument[value] == '[' && argument.back() == ']') argument += kGuard;
}

bool takes_numbers(Flag option) {
  const std::string type = type_of(option);
  return type == "INT" || type == "UINT" || type == "FLOAT";
}

}  // namespace

std::string guarded(Flag option, std::string value) {
  if (!takes_numbers(option)) guard(value, 0);
  return value;
}

void guard_brackets(Verb app, std::vector<std::string>& arguments) {
  Verb verb = app;
  Flag option;  // whose values come; none: positional ones, which are texts
  for (size_t i = 1; i < arguments.size(); ++i) {
    std::string& argument = arguments[i];
    size_t value = 0;
    if (argument.rfind("--", 0) == 0) {
      const size_t equals = argument.find('=');
      option = argument == "--" ? Flag() : verb->get_option_no_throw(argument.substr(0, equals));
      if (equals == std::string::npos) continue;
      value = equals + 1;
    } else if (const Verb below = verb_below(verb, argument)) {
      verb = below;
      continue;
    }
    if (!option || !takes_numbers(option)) guard(argument, value);
  }
}

std::string without_guards(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), kGuard), text.end());
  return text;
}

// Checks add their bounds: "INT:INT in [1 - 64]".
std::string type_of(Flag option) {
  const std::string name = option->get_type_name();
  return name.substr(0, name.find_first_of(": "));
}

void settle_options(Verb app) {
  const Check decimal([](std::string& text) {
    const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    const size_t digit = text.find_first_not_of('0', sign);
    const bool digits = text.find_first_not_of("0123456789", sign) == std::string::npos;
    if (digits && digit != sign && text.size() > sign + 1) {
      text.erase(sign, std::min(digit, text.size() - 1) - sign);
    }
    return std::string();
  });
  const Check unguard([](std::string& text) {
    if (!text.empty() && text.back() == kGuard) text.pop_back();
    return std::string();
  });
  for (const Flag option : app->get_options()) {
    const std::string type = type_of(option);
    if (type == "INT" || type == "UINT") {
      option->transform(decimal);
    } else if (!takes_numbers(option) && option->get_items_expected_max() > 0) {
      option->transform(unguard);
    }
    const bool single = option->get_items_expected_max() == 1 && !option->get_positional();
    if (single && option->refuses_repetition()) option->take_last();
  }
  for (const Verb verb : app->subcommands()) settle_options(verb);
}

std::string value_error(Verb verb, const std::string& name, const std::string& text) {
  const std::string_view list = " not in {";
  if (const size_t at = text.find(list); at != std::string::npos && text.back() == '}') {
    std::string values = text.substr(at + list.size(), text.size() - at - list.size() - 1);
    for (size_t comma = values.find(','); comma != std::string::npos; comma = values.find(',', comma + 2)) {
      values.insert(comma + 1, " ");
    }
    return fmt::format("got {}, need one of {}", text.substr(0, at), values);
  }
  const Flag option = verb->get_option_no_throw(name);
  const std::string begin = "Could not convert: " + name + " = ";
  if (!option || text.compare(0, begin.size(), begin) != 0) return text;
  const std::string type = type_of(option);
  return fmt::format("got {}, need {}", text.substr(begin.size()),
                     type == "INT"    ? "an integer"
                     : type == "UINT" ? "an integer of 0 or more"
                                      : "a number");
}

std::string see_help(Verb app) {
  std::string see = "--help";
  for (Verb at = asked_verb(app); at; at = at->get_parent()) see.insert(0, at->get_name() + " ");
  return "see " + see;
}

}  // namespace pagoda::cli
