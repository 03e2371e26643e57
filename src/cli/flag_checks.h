// What CLI11 leaves unsaid of wrong flags: the nearest name, numbers that do not fit, flags that would be of no effect.
#pragma once

#include <initializer_list>
#include <string>

#include "cli/cli.h"

namespace pagoda::cli {

// The verb that was asked for, as far as arguments were read.
const CLI::App& asked_verb(const CLI::App& app);
// Arguments that nobody took: throws kInvalidInput naming the first, and the nearest flag where there is one.
[[noreturn]] void refuse_extras(const CLI::App& app, const std::string& otherwise);
// What CLI11 says of a number out of bounds, where one of them is the largest double there is.
std::string in_plain_words(const CLI::App& verb, const std::string& what);
// Throws kInvalidInput for a number beyond 64 bits, which CLI11 would take for the largest.
void check_numbers(const CLI::App& verb);
// Throws kInvalidInput where one of these flags was given: "[--threads] why".
void refuse_given(const CLI::App& verb, std::initializer_list<const char*> flags, const std::string& why);

// Throws kInvalidInput where what is to become a folder is a file: told before the work, not after it.
void check_out_folder(const std::string& flag, const std::string& path);

}  // namespace pagoda::cli
