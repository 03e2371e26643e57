// What CLI11 leaves unsaid of wrong flags: the nearest name, numbers that do not fit, flags that would be of no effect.
#pragma once

#include <initializer_list>
#include <string>

#include "cli/cli.h"

namespace pagoda::cli {

// The verb that was asked for, as far as arguments were read.
Verb asked_verb(Verb app);
// Arguments that nobody took: throws kInvalidInput naming the first, and the nearest flag where there is one.
[[noreturn]] void refuse_extras(Verb app, const std::string& otherwise);
// Throws kInvalidInput for a number beyond 64 bits, which CLI11 would take for the largest.
void check_numbers(Verb verb);
// Throws kInvalidInput where one of these flags was given: "[--threads] why".
void refuse_given(Verb verb, std::initializer_list<const char*> flags, const std::string& why);

// Throws kInvalidInput where what is to become a folder is a file: told before the work, not after it.
void check_out_folder(const std::string& flag, const std::string& path);

}  // namespace pagoda::cli
