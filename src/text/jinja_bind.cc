// Binding of arguments to parameters with Python's errors; functions as values; filters and tests called by name.
#include <string>

#include "text/jinja_builtins.h"
#include "text/jinja_objects.h"

namespace pagoda::jinja {

namespace {

std::string list_names(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i != 0) out += names.size() == 2 ? " and " : i + 1 == names.size() ? ", and " : ", ";
    out += "'" + names[i] + "'";
  }
  return out;
}

std::vector<Value> bind_all(Interp& interp, const Signature& signature, std::vector<Value> given, CallArgs& args) {
  const size_t count = signature.parameters.size();
  const size_t positional = given.size();
  if (positional > count) {
    const int hidden = signature.hidden;
    const auto most = static_cast<int>(count) + hidden;
    const int least = signature.required + hidden;
    interp.type_error(fmt::format("{}() takes {}{} positional argument{} but {} {} given", signature.name,
                                  least == most ? "" : fmt::format("from {} to ", least), most, most == 1 ? "" : "s",
                                  static_cast<int>(positional) + hidden,
                                  static_cast<int>(positional) + hidden == 1 ? "was" : "were"));
  }
  given.resize(count, Value::missing());
  for (auto& [name, value] : args.keywords) {
    size_t at = 0;
    while (at < count && name != signature.parameters[at]) ++at;
    if (at == count) interp.type_error(fmt::format("{}() got an unexpected keyword argument '{}'", signature.name, name));
    if (at < positional) interp.type_error(fmt::format("{}() got multiple values for argument '{}'", signature.name, name));
    given[at] = std::move(value);
  }
  std::vector<std::string> absent;
  for (size_t i = 0; i < static_cast<size_t>(signature.required); ++i) {
    if (given[i].is_missing()) absent.emplace_back(signature.parameters[i]);
  }
  if (!absent.empty()) {
    interp.type_error(fmt::format("{}() missing {} required positional argument{}: {}", signature.name, absent.size(),
                                  absent.size() == 1 ? "" : "s", list_names(absent)));
  }
  return given;
}

}  // namespace

std::vector<Value> bind(Interp& interp, const Signature& signature, CallArgs& args) {
  std::vector<Value> given = std::move(args.positional);
  return bind_all(interp, signature, std::move(given), args);
}

std::vector<Value> bind(Interp& interp, const Signature& signature, const Value& first, CallArgs& args) {
  std::vector<Value> given;
  given.reserve(signature.parameters.size());
  given.push_back(first);
  for (Value& value : args.positional) given.push_back(std::move(value));
  return bind_all(interp, signature, std::move(given), args);
}

Value make_function(Interp& interp, std::string name, NativeFunction function, Value self, std::string type) {
  return interp.object<Function>(std::move(name), function, std::move(self), std::move(type));
}

namespace {

[[noreturn]] void no_such(Interp& interp, const char* what, const Value& name) {
  std::string text = fmt::format("No {} named {}.", what, interp.repr(name));
  if (name.is_undefined()) {
    text += " (" + name.undefined_info()->message(interp) + "; did you forget to quote the callable name?)";
  }
  interp.error("TemplateRuntimeError", text);
}

}  // namespace

Value call_filter(Interp& interp, const Value& name, const Value& value, CallArgs& args) {
  const FilterFunction filter = name.is_string() ? find_filter(name.text()) : nullptr;
  if (filter == nullptr) {
    interp.check_key(name);
    no_such(interp, "filter", name);
  }
  return filter(interp, value, args);
}

bool call_test(Interp& interp, const Value& name, const Value& value, CallArgs& args) {
  const TestFunction test = name.is_string() ? find_test(name.text()) : nullptr;
  if (test == nullptr) {
    interp.check_key(name);
    no_such(interp, "test", name);
  }
  return test(interp, value, args);
}

}  // namespace pagoda::jinja
