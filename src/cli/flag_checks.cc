// Checks on CLI11's tree once it has read the arguments.
#include "cli/flag_checks.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/suggest.h"
#include "cli/flag_values.h"

namespace pagoda::cli {

namespace {

// "" where no name is near.
std::string nearest_flag(Verb verb, const std::string& wrong) {
  std::string nearest;
  for (const Flag option : verb->get_options()) {
    for (const std::string& name : option->get_lnames()) {
      const std::string flag = "--" + name;
      if (nearest.empty() || edit_distance(wrong, flag) < edit_distance(wrong, nearest)) nearest = flag;
    }
  }
  return edit_distance(wrong, nearest) <= std::max<size_t>(1, (nearest.size() - 2) / 3) ? nearest : "";
}

bool overflows(const std::string& text, const std::string& type) {
  errno = 0;
  if (type == "INT") {
    std::strtoll(text.c_str(), nullptr, 0);
  } else if (type == "UINT") {
    std::strtoull(text.c_str(), nullptr, 0);
  } else if (type == "FLOAT") {
    return std::isinf(std::strtod(text.c_str(), nullptr)) && errno == ERANGE;  // what is too small is 0
  }
  return errno == ERANGE;
}

}  // namespace

Verb asked_verb(Verb app) {
  Verb verb = app;
  while (const Verb below = verb->asked_subcommand()) verb = below;
  return verb;
}

void refuse_extras(Verb app, const std::string& otherwise) {
  const Verb verb = asked_verb(app);
  const std::string see = see_help(app);
  for (const std::string& argument : app->remaining()) {
    if (argument.size() < 3 || argument.compare(0, 2, "--") != 0) continue;
    const std::string flag = argument.substr(0, argument.find('='));
    const std::string near = nearest_flag(verb, flag);
    invalid("flags", "unknown flag: got '{}'{} ({})", flag, near.empty() ? "" : ", did you mean '" + near + "'?", see);
  }
  invalid("flags", "{} ({})", otherwise, see);
}

void check_numbers(Verb verb) {
  for (const Flag option : verb->get_options()) {
    const std::string type = type_of(option);
    for (const std::string& text : option->results()) {
      if (overflows(text, type)) invalid(option->get_name(), "out of range: got {}, need a number of 64 bits", text);
    }
  }
}

void refuse_given(Verb verb, std::initializer_list<const char*> flags, const std::string& why) {
  for (const char* flag : flags) {
    if (verb->get_option(flag)->count() > 0) invalid(flag, "{}", why);
  }
}

void check_out_folder(const std::string& flag, const std::string& path) {
  if (file_exists(path)) invalid(flag, "got the file {}, need a folder", path);
}

}  // namespace pagoda::cli
