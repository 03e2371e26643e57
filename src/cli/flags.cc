// Hands on to CLI11.
#include "cli/flags.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <optional>
#include <sstream>
#include <utility>

namespace pagoda::cli {

namespace {

template <class T>
Check make_in_range(T least, T most) {
  return Check(
      [least, most](std::string& text) {
        T value{};
        if (CLI::detail::lexical_cast(text, value) && value >= least && value <= most) return std::string();
        return fmt::format("got {}, need {} to {}", text, least, most);
      },
      fmt::format("{} in [{} - {}]", CLI::detail::type_name<T>(), least, most));
}

Check at_least(bool zero, std::string_view name) {
  return Check(
      [zero](std::string& text) {
        double value = 0;
        const bool good = CLI::detail::lexical_cast(text, value) && (zero ? value >= 0 : value > 0);
        return good ? std::string() : fmt::format("got {}, need {}", text, zero ? "0 or more" : "more than 0");
      },
      name);
}

template <class Handle, class Pointers>
std::vector<Handle> handles(const Pointers& pointers) {
  std::vector<Handle> all;
  for (auto* pointer : pointers) all.emplace_back(pointer);
  return all;
}

}  // namespace

Check::Check(std::function<std::string(std::string&)> fn, std::string_view name)
    : validator_(std::make_shared<const CLI::Validator>(std::move(fn), std::string(name))) {}

Check::Check(std::shared_ptr<const CLI::Validator> validator) : validator_(std::move(validator)) {}
Check::Check(const Check&) = default;
Check::~Check() = default;

Check in_range(int least, int most) { return make_in_range(least, most); }
Check in_range(int64_t least, int64_t most) { return make_in_range(least, most); }
Check in_range(double least, double most) { return make_in_range(least, most); }
Check positive() { return at_least(false, "POSITIVE"); }
Check non_negative() { return at_least(true, "NONNEGATIVE"); }

Check one_of(const std::vector<std::string>& values, Case letters) {
  return Check(std::make_shared<const CLI::Validator>(letters == Case::kIgnored ? CLI::IsMember(values, CLI::ignore_case)
                                                                                : CLI::IsMember(values)));
}
Check existing_file() { return Check(std::make_shared<const CLI::Validator>(CLI::ExistingFile)); }

Flag Flag::required() const { return Flag(option_->required()); }
Flag Flag::check(const Check& check) const { return Flag(option_->check(*check.validator_)); }
Flag Flag::transform(const Check& change) const { return Flag(option_->transform(*change.validator_)); }
Flag Flag::capture_default_str() const { return Flag(option_->capture_default_str()); }
Flag Flag::type_name(std::string_view name) const { return Flag(option_->type_name(std::string(name))); }
Flag Flag::group(std::string_view name) const { return Flag(option_->group(std::string(name))); }
Flag Flag::description(std::string_view text) const { return Flag(option_->description(std::string(text))); }
Flag Flag::excludes(Flag other) const { return Flag(option_->excludes(other.option_)); }
Flag Flag::needs(Flag other) const { return Flag(option_->needs(other.option_)); }
Flag Flag::expected(int values) const { return Flag(option_->expected(values)); }
Flag Flag::expected(int least, int most) const { return Flag(option_->expected(least, most)); }
Flag Flag::allow_extra_args(bool allow) const { return Flag(option_->allow_extra_args(allow)); }
Flag Flag::delimiter(char between) const { return Flag(option_->delimiter(between)); }
Flag Flag::take_all() const { return Flag(option_->take_all()); }
Flag Flag::take_last() const { return Flag(option_->take_last()); }
Flag Flag::join() const { return Flag(option_->join()); }

size_t Flag::count() const { return option_->count(); }
const std::vector<std::string>& Flag::results() const { return option_->results(); }
template <class T>
T Flag::as() const {
  return option_->as<T>();
}
std::string Flag::set(const std::vector<std::string>& values) const {
  try {
    for (const std::string& value : values) option_->add_result(value);
    option_->run_callback();
    return "";
  } catch (const CLI::Error& error) {
    return error.what();
  }
}

std::string Flag::get_name(bool positional) const { return option_->get_name(positional); }
bool Flag::check_name(std::string_view name) const { return option_->check_name(std::string(name)); }
const std::vector<std::string>& Flag::get_snames() const { return option_->get_snames(); }
const std::vector<std::string>& Flag::get_lnames() const { return option_->get_lnames(); }
bool Flag::get_positional() const { return option_->get_positional(); }
bool Flag::get_required() const { return option_->get_required(); }
int Flag::get_items_expected_max() const { return option_->get_items_expected_max(); }
bool Flag::refuses_repetition() const { return option_->get_multi_option_policy() == CLI::MultiOptionPolicy::Throw; }
std::string Flag::get_type_name() const { return option_->get_type_name(); }
std::string Flag::get_default_str() const { return option_->get_default_str(); }
const std::string& Flag::get_description() const { return option_->get_description(); }
const std::string& Flag::get_group() const { return option_->get_group(); }

Verb Verb::add_subcommand(std::string_view name, std::string_view description) const {
  return Verb(app_->add_subcommand(std::string(name), std::string(description)));
}
void Verb::require_subcommand(int number) const { app_->require_subcommand(number); }
void Verb::set_version_flag(std::string_view names, std::string_view version) const {
  app_->set_version_flag(std::string(names), std::string(version));
}
void Verb::footer(std::string_view text) const { app_->footer(std::string(text)); }
void Verb::callback(const std::function<void()>& fn) const { app_->callback(fn); }
void Verb::parse_complete_callback(const std::function<void()>& fn) const { app_->parse_complete_callback(fn); }

template <class T>
Flag Verb::add_option(std::string_view names, T& value, std::string_view help) const {
  return Flag(app_->add_option(std::string(names), value, std::string(help)));
}
template <class T>
Flag Verb::add_option_function(std::string_view names, const std::function<void(const T&)>& fn, std::string_view help) const {
  return Flag(app_->add_option_function<T>(std::string(names), fn, std::string(help)));
}
Flag Verb::add_option(std::string_view names, std::string_view help) const {
  const std::string description(help);  // CLI11 would write a value to one that is not const
  return Flag(app_->add_option(std::string(names), description));
}
Flag Verb::add_flag(std::string_view names, bool& value, std::string_view help) const {
  return Flag(app_->add_flag(std::string(names), value, std::string(help)));
}
Flag Verb::add_flag(std::string_view names, std::string_view help) const {
  const std::string description(help);
  return Flag(app_->add_flag(std::string(names), description));
}
Flag Verb::add_flag_function(std::string_view names, const std::function<void(int64_t)>& fn, std::string_view help) const {
  return Flag(app_->add_flag_function(std::string(names), fn, std::string(help)));
}
bool Verb::remove_option(Flag flag) const { return app_->remove_option(flag.option_); }

const std::string& Verb::get_name() const { return app_->get_name(); }
std::string Verb::get_description() const { return app_->get_description(); }
std::string Verb::get_footer() const { return app_->get_footer(); }
std::string Verb::help() const { return app_->help(); }
Verb Verb::get_parent() const { return Verb(app_->get_parent()); }
std::vector<Verb> Verb::subcommands() const {
  return handles<Verb>(app_->get_subcommands([](CLI::App*) { return true; }));
}
Verb Verb::asked_subcommand() const {
  const std::vector<CLI::App*> asked = app_->get_subcommands();
  return Verb(asked.empty() ? nullptr : asked.front());
}
std::vector<Flag> Verb::get_options() const {
  return handles<Flag>(app_->get_options([](CLI::Option*) { return true; }));
}
Flag Verb::get_option(std::string_view name) const { return Flag(app_->get_option(std::string(name))); }
Flag Verb::get_option_no_throw(std::string_view name) const { return Flag(app_->get_option_no_throw(std::string(name))); }
Flag Verb::get_help_ptr() const { return Flag(app_->get_help_ptr()); }
std::vector<std::string> Verb::remaining() const { return app_->remaining(true); }

CommandLine::CommandLine(std::string_view name, std::string_view description)
    : app_(std::make_unique<CLI::App>(std::string(description), std::string(name))) {}
CommandLine::~CommandLine() = default;

CommandLine::Outcome CommandLine::parse(const std::vector<std::string>& arguments) const {
  using Kind = Outcome::Kind;
  std::vector<const char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(argument.c_str());
  try {
    app_->parse(static_cast<int>(pointers.size()), pointers.data());
    return {};
  } catch (const CLI::Success& asked) {
    std::ostringstream text;
    app_->exit(asked, text, text);
    return {Kind::kShow, text.str()};
  } catch (const CLI::ExtrasError& error) {
    return {Kind::kExtras, error.what()};
  } catch (const CLI::ValidationError& error) {
    return {Kind::kBadValue, error.what()};
  } catch (const CLI::ConversionError& error) {
    return {Kind::kNoConversion, error.what()};
  } catch (const CLI::ParseError& error) {
    return {Kind::kOther, error.what()};
  }
}

template Flag Verb::add_option(std::string_view, std::string&, std::string_view) const;
template Flag Verb::add_option(std::string_view, bool&, std::string_view) const;
template Flag Verb::add_option(std::string_view, int&, std::string_view) const;
template Flag Verb::add_option(std::string_view, int64_t&, std::string_view) const;
template Flag Verb::add_option(std::string_view, uint64_t&, std::string_view) const;
template Flag Verb::add_option(std::string_view, double&, std::string_view) const;
template Flag Verb::add_option(std::string_view, std::optional<uint64_t>&, std::string_view) const;
template Flag Verb::add_option(std::string_view, std::vector<int64_t>&, std::string_view) const;
template Flag Verb::add_option(std::string_view, std::vector<std::string>&, std::string_view) const;
template Flag Verb::add_option_function(std::string_view, const std::function<void(const std::string&)>&,
                                        std::string_view) const;
template Flag Verb::add_option_function(std::string_view, const std::function<void(const int64_t&)>&, std::string_view) const;
template int64_t Flag::as() const;
template double Flag::as() const;
template std::string Flag::as() const;

}  // namespace pagoda::cli
