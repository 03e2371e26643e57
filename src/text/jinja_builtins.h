// The filters, tests and global functions of the template language.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_ast.h"

namespace pagoda::jinja {

FilterFunction find_filter(std::string_view name);  // null: no such filter
TestFunction find_test(std::string_view name);
bool find_global(Interp& interp, std::string_view name, Value& out);

// Parameters of a function of jinja2 or Python, for binding and for the text of its errors.
struct Signature {
  const char* name;                     // as in "do_indent() got an unexpected keyword argument"
  std::vector<const char*> parameters;  // without those that jinja2 passes itself
  int required = 0;                     // the first so many must be given
  int hidden = 0;                       // arguments that jinja2 passes itself, counted in messages
};
// One value a parameter; kMissing where the call gives none. Throws TypeError as Python does.
std::vector<Value> bind(Interp& interp, const Signature& signature, CallArgs& args);
// For filters and tests, whose first parameter is the value before the | or `is`.
std::vector<Value> bind(Interp& interp, const Signature& signature, const Value& first, CallArgs& args);

// A function as a value; `self` is what a method belongs to.
using NativeFunction = Value (*)(Interp& interp, const Value& self, CallArgs& args);
Value make_function(Interp& interp, std::string name, NativeFunction function, Value self = Value::none(),
                    std::string type = "builtin_function_or_method");

Value call_filter(Interp& interp, const Value& name, const Value& value, CallArgs& args);
bool call_test(Interp& interp, const Value& name, const Value& value, CallArgs& args);

}  // namespace pagoda::jinja
