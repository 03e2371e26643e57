// Python's operators on values, with its errors.
#pragma once

#include <string>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_interp.h"

namespace pagoda::jinja {

Value add(Interp& interp, const Value& a, const Value& b);
Value subtract(Interp& interp, const Value& a, const Value& b);
Value multiply(Interp& interp, const Value& a, const Value& b);
Value divide(Interp& interp, const Value& a, const Value& b);
Value floor_divide(Interp& interp, const Value& a, const Value& b);
Value modulo(Interp& interp, const Value& a, const Value& b);  // of strings: formatting
Value power(Interp& interp, const Value& a, const Value& b);
Value negative(Interp& interp, const Value& a);
Value positive(Interp& interp, const Value& a);

bool compare(Interp& interp, CompareOp op, const Value& a, const Value& b);
bool less(Interp& interp, const Value& a, const Value& b);  // a < b
bool contains(Interp& interp, const Value& container, const Value& item);

// Stable, with Python's comparisons in Python's order for short lists (so that the error names the same operands).
void sort_values(Interp& interp, std::vector<Value>& values, const std::vector<Value>& keys, bool reverse);

// An index argument: int or bool, else TypeError "'float' object cannot be interpreted as an integer".
int64_t as_index(Interp& interp, const Value& value);

std::string escape_html(std::string_view text);
// The value as markup: markup stays, everything else is escaped.
std::string escaped(Interp& interp, const Value& value);

std::string to_json(Interp& interp, const Value& value, bool ensure_ascii, const Value& indent, const Value& separators,
                    bool sort_keys);

// "%s..." % value; "{}...".format(...); format(value, spec).
std::string format_percent(Interp& interp, const Value& format, const Value& value);
std::string format_braces(Interp& interp, const Value& format, const CallArgs& args);
std::string format_value(Interp& interp, const Value& value, const std::string& spec);
std::string format_time(Interp& interp, const DateTime& time, const std::string& format);

// int(text, base) and float(text); nothing when Python raises ValueError.
std::optional<int64_t> parse_int(Interp& interp, const std::string& text, int64_t base);
std::optional<double> parse_float(const std::string& text);
// round(number, digits) of a float.
double round_float(double value, int64_t digits);
// int(float): OverflowError and ValueError as Python has them.
int64_t float_to_int(Interp& interp, double value);

// Methods and attributes of the plain types; false: there is none of that name.
bool type_attribute(Interp& interp, const Value& owner, const std::string& name, Value& out);
// Attributes that Python has but the sandbox refuses (underscores, methods that change the object).
bool unsafe_attribute(const Value& owner, const std::string& name);
bool string_method(Interp& interp, const Value& owner, const std::string& name, Value& out);

// Text by code points.
std::string slice_text(const Str& text, size_t begin, size_t end);
size_t byte_offset(const Str& text, size_t index);

}  // namespace pagoda::jinja
