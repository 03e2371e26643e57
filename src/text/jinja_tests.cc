// The tests of the template language: what may follow `is`.
#include <iterator>

#include "text/jinja_builtins.h"
#include "text/jinja_objects.h"
#include "text/jinja_ops.h"
#include "text/jinja_text.h"

namespace pagoda::jinja {

namespace {

// The value alone.
const Value& alone(Interp& interp, const char* name, const Value& value, CallArgs& args) {
  bind(interp, {name, {"value"}, 1, 0}, value, args);
  return value;
}

template <CompareOp op>
bool compares(Interp& interp, const Value& value, CallArgs& args) {
  static constexpr const char* kNames[] = {"eq", "ne", "lt", "le", "gt", "ge"};
  if (!args.keywords.empty()) {
    interp.type_error(fmt::format("{}() takes no keyword arguments", kNames[static_cast<int>(op)]));
  }
  if (args.positional.size() != 1) {
    interp.type_error(fmt::format("{} expected 2 arguments, got {}", kNames[static_cast<int>(op)], args.positional.size() + 1));
  }
  return compare(interp, op, value, args.positional[0]);
}

bool is_rest(Interp& interp, const Value& value, const Value& divisor, int64_t rest) {
  return equal(interp, modulo(interp, value, divisor), Value::integer(rest));
}

bool is_sequence(Interp& interp, const Value& value) {
  if (value.is_undefined()) return true;
  if (!interp.length(value).has_value()) return false;
  return !value.is_object() || value.object_as<Range>() != nullptr || value.object_as<Bytes>() != nullptr;
}

struct Named {
  const char* name;
  TestFunction test;
};

#define TEST(name, function, body)                                 \
  {name, +[](Interp& interp, const Value& value, CallArgs& args) { \
     alone(interp, function, value, args);                         \
     return body;                                                  \
   }}

constexpr Named kTests[] = {
    TEST("odd", "test_odd", is_rest(interp, value, Value::integer(2), 1)),
    TEST("even", "test_even", is_rest(interp, value, Value::integer(2), 0)),
    {"divisibleby",
     +[](Interp& interp, const Value& value, CallArgs& args) {
       const std::vector<Value> bound = bind(interp, {"test_divisibleby", {"value", "num"}, 2, 0}, value, args);
       return is_rest(interp, value, bound[1], 0);
     }},
    TEST("defined", "test_defined", !value.is_undefined()),
    TEST("undefined", "test_undefined", value.is_undefined()),
    TEST("filter", "test_filter", (interp.check_key(value), value.is_string() && find_filter(value.text()) != nullptr)),
    TEST("test", "test_test", (interp.check_key(value), value.is_string() && find_test(value.text()) != nullptr)),
    TEST("none", "test_none", value.is_none()),
    TEST("boolean", "test_boolean", value.is_bool()),
    TEST("false", "test_false", value.is_bool() && !value.as_bool()),
    TEST("true", "test_true", value.is_bool() && value.as_bool()),
    TEST("integer", "test_integer", value.kind() == Kind::kInt),
    TEST("float", "test_float", value.is_float()),
    TEST("lower", "test_lower", is_lower_text(interp.to_text(value))),
    TEST("upper", "test_upper", is_upper_text(interp.to_text(value))),
    TEST("string", "test_string", value.is_string()),
    TEST("mapping", "test_mapping", value.is_dict()),
    TEST("number", "test_number", value.is_number()),
    TEST("sequence", "test_sequence", is_sequence(interp, value)),
    TEST("iterable", "test_iterable", interp.iterable(value)),
    {"callable",
     +[](Interp& interp, const Value& value, CallArgs& args) {
       if (!args.keywords.empty()) interp.type_error("callable() takes no keyword arguments");
       if (!args.positional.empty()) {
         interp.type_error(fmt::format("callable() takes exactly one argument ({} given)", args.positional.size() + 1));
       }
       return interp.callable(value);
     }},
    {"sameas",
     +[](Interp& interp, const Value& value, CallArgs& args) {
       const std::vector<Value> bound = bind(interp, {"test_sameas", {"value", "other"}, 2, 0}, value, args);
       return value.identical(bound[1]);
     }},
    TEST("escaped", "test_escaped", value.is_markup()),
    {"in",
     +[](Interp& interp, const Value& value, CallArgs& args) {
       const std::vector<Value> bound = bind(interp, {"test_in", {"value", "seq"}, 2, 0}, value, args);
       return contains(interp, bound[1], value);
     }},
    {"==", compares<CompareOp::kEq>},
    {"eq", compares<CompareOp::kEq>},
    {"equalto", compares<CompareOp::kEq>},
    {"!=", compares<CompareOp::kNe>},
    {"ne", compares<CompareOp::kNe>},
    {">", compares<CompareOp::kGt>},
    {"gt", compares<CompareOp::kGt>},
    {"greaterthan", compares<CompareOp::kGt>},
    {"ge", compares<CompareOp::kGe>},
    {">=", compares<CompareOp::kGe>},
    {"<", compares<CompareOp::kLt>},
    {"lt", compares<CompareOp::kLt>},
    {"lessthan", compares<CompareOp::kLt>},
    {"<=", compares<CompareOp::kLe>},
    {"le", compares<CompareOp::kLe>},
};

#undef TEST

}  // namespace

TestFunction find_test(std::string_view name) {
  for (const Named& named : kTests) {
    if (name == named.name) return named.test;
  }
  return nullptr;
}

}  // namespace pagoda::jinja
