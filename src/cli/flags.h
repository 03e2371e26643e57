// Verbs, their flags and checks of values: handles on CLI11's objects, whose header takes seconds to compile and is read by
// flags.cc alone. Functions that have the name of one of CLI11's do what that one does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11 calls it so
class App;
class Option;
class Validator;
}  // namespace CLI

namespace pagoda::cli {

// Of a value of a flag: says what is wrong with it, or changes it before it is converted.
class Check {
 public:
  // fn: "" if the text is good, else what is wrong with it. name: behind the type in --help.
  explicit Check(std::function<std::string(std::string& text)> fn, std::string_view name = {});
  explicit Check(std::shared_ptr<const CLI::Validator> validator);
  Check(const Check&);
  Check& operator=(const Check&) = delete;
  ~Check();

 private:
  friend class Flag;
  std::shared_ptr<const CLI::Validator> validator_;
};

// Bounds of a number, as CLI11's checks of the same meaning, whose messages print the largest double in full: "got -1, need 0
// or more".
Check in_range(int least, int most);
Check in_range(int64_t least, int64_t most);
Check in_range(double least, double most);
Check positive();      // more than 0
Check non_negative();  // 0 or more

enum class Case { kMatters, kIgnored };
Check one_of(const std::vector<std::string>& values, Case letters = Case::kMatters);
Check existing_file();

// One flag, or one argument by place. Copies name the same flag, which lives as long as the program's verbs; Flag() names none.
class Flag {
 public:
  Flag() = default;
  explicit Flag(CLI::Option* option) : option_(option) {}
  explicit operator bool() const { return option_ != nullptr; }
  bool operator==(const Flag&) const = default;
  const Flag* operator->() const { return this; }

  Flag required() const;
  Flag check(const Check& check) const;
  Flag transform(const Check& change) const;  // before the checks and changes that are there
  Flag capture_default_str() const;
  Flag type_name(std::string_view name) const;
  Flag group(std::string_view name) const;
  Flag description(std::string_view text) const;
  Flag excludes(Flag other) const;
  Flag needs(Flag other) const;

  Flag expected(int values) const;
  Flag expected(int least, int most) const;
  Flag allow_extra_args(bool allow) const;
  Flag delimiter(char between) const;
  // Of a flag that is given several times: all values, the last, or all in one text of lines.
  Flag take_all() const;
  Flag take_last() const;
  Flag join() const;

  size_t count() const;  // 0: it was not given
  const std::vector<std::string>& results() const;
  template <class T>
  T as() const;  // T: int64_t, double, std::string
  // Takes these values as if they had been given. "", or what is wrong with them.
  std::string set(const std::vector<std::string>& values) const;

  std::string get_name(bool positional = false) const;
  bool check_name(std::string_view name) const;
  const std::vector<std::string>& get_snames() const;
  const std::vector<std::string>& get_lnames() const;
  bool get_positional() const;
  bool get_required() const;
  int get_items_expected_max() const;
  bool refuses_repetition() const;  // where nothing was said of a flag that is given several times
  std::string get_type_name() const;
  std::string get_default_str() const;
  const std::string& get_description() const;
  const std::string& get_group() const;

 private:
  friend class Verb;
  CLI::Option* option_ = nullptr;
};

// One verb, or the program itself. Copies name the same one; Verb() names none.
class Verb {
 public:
  Verb() = default;
  explicit Verb(CLI::App* app) : app_(app) {}
  explicit operator bool() const { return app_ != nullptr; }
  const Verb* operator->() const { return this; }

  Verb add_subcommand(std::string_view name, std::string_view description) const;
  void require_subcommand(int number) const;
  void set_version_flag(std::string_view names, std::string_view version) const;
  void footer(std::string_view text) const;
  void callback(const std::function<void()>& fn) const;
  void parse_complete_callback(const std::function<void()>& fn) const;

  // What is given is written to `value`. T: one of those that flags.cc names at its end.
  template <class T>
  Flag add_option(std::string_view names, T& value, std::string_view help) const;
  template <class T>
  Flag add_option_function(std::string_view names, const std::function<void(const T&)>& fn, std::string_view help) const;
  Flag add_option(std::string_view names, std::string_view help) const;
  Flag add_flag(std::string_view names, bool& value, std::string_view help) const;
  Flag add_flag(std::string_view names, std::string_view help) const;
  // given: how many times, less those of "!" names.
  Flag add_flag_function(std::string_view names, const std::function<void(int64_t given)>& fn, std::string_view help) const;
  bool remove_option(Flag flag) const;

  const std::string& get_name() const;
  std::string get_description() const;
  std::string get_footer() const;
  std::string help() const;
  Verb get_parent() const;
  std::vector<Verb> subcommands() const;  // all, in the order of --help
  Verb asked_subcommand() const;          // the one that arguments named, once they are read
  std::vector<Flag> get_options() const;
  Flag get_option(std::string_view name) const;           // throws where there is none
  Flag get_option_no_throw(std::string_view name) const;  // names none where there is none
  Flag get_help_ptr() const;
  std::vector<std::string> remaining() const;  // arguments that nobody took, of the verbs below too

 private:
  CLI::App* app_ = nullptr;
};

// The program's verbs, and what reads its arguments.
class CommandLine {
 public:
  CommandLine(std::string_view name, std::string_view description);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;
  Verb root() const { return Verb(app_.get()); }

  struct Outcome {
    enum class Kind { kRead, kShow, kExtras, kBadValue, kNoConversion, kOther } kind = Kind::kRead;
    std::string text;  // kShow: --help or --version, to be printed; else what CLI11 says is wrong
  };
  // arguments: the program's name first. Throws what callbacks of the verbs throw.
  Outcome parse(const std::vector<std::string>& arguments) const;

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace pagoda::cli
