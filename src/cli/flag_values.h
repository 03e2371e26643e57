// How values of flags are read, and what is said of those that are wrong, where CLI11 does otherwise than argparse.
#pragma once

#include <string>
#include <vector>

#include "cli/cli.h"

namespace pagoda::cli {

std::string type_of(Flag option);  // "INT", "FLOAT", "TEXT", without the bounds of its checks

// What holds for every flag, once all are there: numbers with leading zeros are decimal (CLI11: octal), of a flag that is given
// twice the last counts, and marks of guard_brackets() are taken away.
void settle_options(Verb app);

// CLI11 reads "[a,b]" as two values and "[CLS]" as "CLS". Values that are so and are no numbers get a mark: those of the
// arguments (in plain_spelling()), and one that comes from elsewhere.
void guard_brackets(Verb app, std::vector<std::string>& arguments);
std::string guarded(Flag option, std::string value);
std::string without_guards(std::string text);  // of CLI11's errors, which quote arguments

// "got X, need Y" of CLI11's errors: of values that do not convert, and of those that are none of a list.
std::string value_error(Verb verb, const std::string& name, const std::string& text);

std::string see_help(Verb app);  // "see pagoda bench latency --help", by the verb that was asked for

}  // namespace pagoda::cli
