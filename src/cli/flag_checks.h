// What CLI11 leaves unsaid of wrong flags: the nearest name, numbers that do not fit, flags that would be of no effect.
#pragma once

#include <fmt/format.h>

#include <initializer_list>
#include <string>

#include "cli/cli.h"

namespace pagoda::cli {

// Bounds of a number, as CLI11's checks of the same names, whose messages print the largest double in full: "got -1, need 0 or
// more".
class Range : public CLI::Validator {
 public:
  template <typename T>
  Range(T least, T most) : Validator(fmt::format("{} in [{} - {}]", CLI::detail::type_name<T>(), least, most)) {
    func_ = [least, most](std::string& text) {
      T value{};
      if (CLI::detail::lexical_cast(text, value) && value >= least && value <= most) return std::string();
      return fmt::format("got {}, need {} to {}", text, least, most);
    };
  }
};
const CLI::Validator& positive();      // more than 0
const CLI::Validator& non_negative();  // 0 or more

// The verb that was asked for, as far as arguments were read.
const CLI::App& asked_verb(const CLI::App& app);
// Arguments that nobody took: throws kInvalidInput naming the first, and the nearest flag where there is one.
[[noreturn]] void refuse_extras(const CLI::App& app, const std::string& otherwise);
// Throws kInvalidInput for a number beyond 64 bits, which CLI11 would take for the largest.
void check_numbers(const CLI::App& verb);
// Throws kInvalidInput where one of these flags was given: "[--threads] why".
void refuse_given(const CLI::App& verb, std::initializer_list<const char*> flags, const std::string& why);

// Throws kInvalidInput where what is to become a folder is a file: told before the work, not after it.
void check_out_folder(const std::string& flag, const std::string& path);

}  // namespace pagoda::cli
