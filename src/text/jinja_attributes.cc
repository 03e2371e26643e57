// Attributes and methods of the plain types other than str, and what the immutable sandbox refuses.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "text/jinja_builtins.h"
#include "text/jinja_objects.h"
#include "text/jinja_ops.h"

namespace pagoda::jinja {

namespace {

template <size_t N>
bool one_of(const std::string& name, const char* const (&names)[N]) {
  return std::any_of(std::begin(names), std::end(names), [&](const char* each) { return name == each; });
}

// Attributes with underscores that every object of Python has: found before items, and then refused.
constexpr const char* kObjectNames[] = {"__class__",   "__delattr__", "__dir__",           "__doc__",         "__eq__",
                                        "__format__",  "__ge__",      "__getattribute__",  "__getstate__",    "__gt__",
                                        "__hash__",    "__init__",    "__init_subclass__", "__le__",          "__lt__",
                                        "__ne__",      "__new__",     "__reduce__",        "__reduce_ex__",   "__repr__",
                                        "__setattr__", "__sizeof__",  "__str__",           "__subclasshook__"};
constexpr const char* kContainerNames[] = {"__contains__", "__getitem__", "__iter__", "__len__"};
constexpr const char* kSequenceNames[] = {"__add__", "__mul__", "__rmul__"};
constexpr const char* kListNames[] = {"__class_getitem__", "__delitem__",  "__iadd__",
                                      "__imul__",          "__reversed__", "__setitem__"};
constexpr const char* kDictNames[] = {"__class_getitem__", "__delitem__", "__ior__",    "__or__",
                                      "__reversed__",      "__ror__",     "__setitem__"};
constexpr const char* kTextNames[] = {"__getnewargs__", "__mod__", "__rmod__"};
constexpr const char* kNumberNames[] = {"__abs__",  "__add__",      "__bool__",  "__divmod__",    "__float__", "__floor__",
                                        "__ceil__", "__floordiv__", "__int__",   "__mod__",       "__mul__",   "__neg__",
                                        "__pos__",  "__pow__",      "__radd__",  "__rmul__",      "__round__", "__rsub__",
                                        "__sub__",  "__truediv__",  "__trunc__", "__getnewargs__"};
constexpr const char* kFunctionNames[] = {"__call__", "__name__",   "__qualname__",
                                          "__self__", "__module__", "__text_signature__"};
constexpr const char* kListChanges[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};
constexpr const char* kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr const char* kGeneratorNames[] = {"gi_frame", "gi_code"};

bool has_underscored(const Value& owner, const std::string& name) {
  if (owner.object_as<Namespace>() != nullptr) return name == "__class__";
  if (one_of(name, kObjectNames)) return true;
  switch (owner.kind()) {
    case Kind::kString:
      return one_of(name, kContainerNames) || one_of(name, kSequenceNames) || one_of(name, kTextNames) ||
             (owner.is_markup() && (name == "__html__" || name == "__html_format__" || name == "__radd__" ||
                                    name == "__module__" || name == "__slots__"));
    case Kind::kList: return one_of(name, kContainerNames) || one_of(name, kSequenceNames) || one_of(name, kListNames);
    case Kind::kTuple:
      return one_of(name, kContainerNames) || one_of(name, kSequenceNames) || name == "__getnewargs__" ||
             name == "__class_getitem__";
    case Kind::kDict: return one_of(name, kContainerNames) || one_of(name, kDictNames);
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat: return one_of(name, kNumberNames);
    case Kind::kNone: return name == "__bool__";
    case Kind::kObject: return owner.object().callable() && one_of(name, kFunctionNames);
    default: return false;
  }
}

Value list_count(Interp& interp, const Value& self, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {self.is_list() ? "list.count" : "tuple.count", {"value"}, 1, 0}, args);
  int64_t count = 0;
  for (const Value& item : self.items()) {
    interp.work(1);
    count += (item.heap() != nullptr && item.heap() == bound[0].heap()) || equal(interp, item, bound[0]) ? 1 : 0;
  }
  return Value::integer(count);
}

Value list_index(Interp& interp, const Value& self, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"index", {"value", "start", "stop"}, 1, 0}, args);
  const auto length = static_cast<int64_t>(self.items().size());
  const auto place = [&](const Value& value, int64_t fallback) {
    if (value.is_missing()) return fallback;
    if (!value.is_integral()) interp.type_error("slice indices must be integers or have an __index__ method");
    const int64_t index = value.as_int();
    return index < 0 ? std::max<int64_t>(index < -length ? 0 : index + length, 0) : index;
  };
  const int64_t stop = std::min(place(bound[2], length), length);
  for (int64_t i = place(bound[1], 0); i < stop; ++i) {
    interp.work(1);
    if (equal(interp, self.items()[static_cast<size_t>(i)], bound[0])) return Value::integer(i);
  }
  interp.value_error(self.is_list() ? interp.repr(bound[0]) + " is not in list" : "tuple.index(x): x not in tuple");
}

Value list_copy(Interp& interp, const Value& self, CallArgs& args) {
  bind(interp, {"list.copy", {}, 0, 0}, args);
  return interp.list(self.items());
}

Value dict_copy(Interp& interp, const Value& self, CallArgs& args) {
  bind(interp, {"dict.copy", {}, 0, 0}, args);
  auto copy = std::make_shared<Dict>();
  for (const auto& [key, value] : self.dict().entries()) copy->set(key, value);
  return interp.dict(std::move(copy));
}

Value dict_get(Interp& interp, const Value& self, CallArgs& args) {
  if (!args.keywords.empty()) interp.type_error("dict.get() takes no keyword arguments");
  const size_t given = args.positional.size();
  if (given < 1) interp.type_error("get expected at least 1 argument, got 0");
  if (given > 2) interp.type_error(fmt::format("get expected at most 2 arguments, got {}", given));
  interp.check_key(args.positional[0]);
  const Value* found = self.dict().find(args.positional[0]);
  if (found != nullptr) return *found;
  return given == 2 ? args.positional[1] : Value::none();
}

template <DictView::Part part>
Value dict_view(Interp& interp, const Value& self, CallArgs& args) {
  static constexpr const char* kNames[] = {"dict.keys", "dict.values", "dict.items"};
  bind(interp, {kNames[static_cast<int>(part)], {}, 0, 0}, args);
  return interp.object<DictView>(self, part);
}

Value dict_fromkeys(Interp& interp, const Value& self, CallArgs& args) {
  (void)self;
  const std::vector<Value> bound = bind(interp, {"fromkeys", {"iterable", "value"}, 1, 0}, args);
  auto made = std::make_shared<Dict>();
  for (Value& key : interp.collect(bound[0])) {
    interp.check_key(key);
    made->set(std::move(key), bound[1].is_missing() ? Value::none() : bound[1]);
  }
  return interp.dict(std::move(made));
}

Value is_integer(Interp& interp, const Value& self, CallArgs& args) {
  bind(interp, {"float.is_integer", {}, 0, 0}, args);
  return Value::boolean(std::isfinite(self.as_double()) && self.as_double() == std::floor(self.as_double()));
}

Value conjugate(Interp& interp, const Value& self, CallArgs& args) {
  bind(interp, {"conjugate", {}, 0, 0}, args);
  return positive(interp, self);
}

Value bit_length(Interp& interp, const Value& self, CallArgs& args) {
  bind(interp, {"int.bit_length", {}, 0, 0}, args);
  const int64_t value = self.as_int();
  const auto size = value < 0 ? uint64_t{0} - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  return Value::integer(size == 0 ? 0 : 64 - __builtin_clzll(size));
}

Value bit_count(Interp& interp, const Value& self, CallArgs& args) {
  bind(interp, {"int.bit_count", {}, 0, 0}, args);
  const int64_t value = self.as_int();
  return Value::integer(
      __builtin_popcountll(value < 0 ? uint64_t{0} - static_cast<uint64_t>(value) : static_cast<uint64_t>(value)));
}

Value as_integer_ratio(Interp& interp, const Value& self, CallArgs& args) {
  bind(interp, {"as_integer_ratio", {}, 0, 0}, args);
  if (self.is_integral()) return interp.tuple({Value::integer(self.as_int()), Value::integer(1)});
  const double value = self.as_double();
  if (std::isnan(value)) interp.value_error("cannot convert NaN to integer ratio");
  if (std::isinf(value)) interp.error("OverflowError", "cannot convert Infinity to integer ratio");
  int exponent;
  double fraction = std::frexp(value, &exponent);
  for (int i = 0; i < 300 && fraction != std::floor(fraction); ++i) {
    fraction *= 2;
    --exponent;
  }
  if (exponent > 62 || exponent < -62 || std::fabs(fraction) > 9e18) interp.overflow();
  int64_t numerator = static_cast<int64_t>(fraction);
  if (exponent > 0 && __builtin_mul_overflow(numerator, int64_t{1} << exponent, &numerator)) interp.overflow();
  return interp.tuple({Value::integer(numerator), Value::integer(exponent < 0 ? int64_t{1} << -exponent : 1)});
}

Value is_disjoint(Interp& interp, const Value& self, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"isdisjoint", {"other"}, 1, 0}, args);
  for (const Value& item : interp.collect(bound[0])) {
    if (contains(interp, self, item)) return Value::boolean(false);
  }
  return Value::boolean(true);
}

// A method whose function only says that this build does not have it.
Value not_supported(Interp& interp, const Value& self, CallArgs& args) {
  (void)args;
  interp.type_error("this method of '" + type_name(self) + "' objects is not supported");
}

}  // namespace

bool unsafe_attribute(const Value& owner, const std::string& name) {
  if (!name.empty() && name[0] == '_') return has_underscored(owner, name);
  switch (owner.kind()) {
    case Kind::kList: return one_of(name, kListChanges);
    case Kind::kDict: return one_of(name, kDictChanges);
    case Kind::kObject: return owner.object().type_name() == "generator" && one_of(name, kGeneratorNames);
    default: return false;
  }
}

bool type_attribute(Interp& interp, const Value& owner, const std::string& name, Value& out) {
  NativeFunction method = nullptr;
  switch (owner.kind()) {
    case Kind::kString: return string_method(interp, owner, name, out);
    case Kind::kDict:
      if (name == "get")
        method = dict_get;
      else if (name == "items")
        method = dict_view<DictView::Part::kItems>;
      else if (name == "keys")
        method = dict_view<DictView::Part::kKeys>;
      else if (name == "values")
        method = dict_view<DictView::Part::kValues>;
      else if (name == "copy")
        method = dict_copy;
      else if (name == "fromkeys")
        method = dict_fromkeys;
      break;
    case Kind::kList:
    case Kind::kTuple:
      if (name == "count")
        method = list_count;
      else if (name == "index")
        method = list_index;
      else if (name == "copy" && owner.is_list())
        method = list_copy;
      else if (owner.is_group() && name == "grouper")
        return out = owner.items()[0], true;
      else if (owner.is_group() && name == "list")
        return out = owner.items()[1], true;
      break;
    case Kind::kBool:
    case Kind::kInt:
      if (name == "real" || name == "numerator") return out = Value::integer(owner.as_int()), true;
      if (name == "imag") return out = Value::integer(0), true;
      if (name == "denominator") return out = Value::integer(1), true;
      if (name == "bit_length")
        method = bit_length;
      else if (name == "bit_count")
        method = bit_count;
      else if (name == "conjugate")
        method = conjugate;
      else if (name == "as_integer_ratio")
        method = as_integer_ratio;
      else if (name == "to_bytes" || name == "from_bytes")
        method = not_supported;
      break;
    case Kind::kFloat:
      if (name == "real") return out = owner, true;
      if (name == "imag") return out = Value::real(0), true;
      if (name == "is_integer")
        method = is_integer;
      else if (name == "conjugate")
        method = conjugate;
      else if (name == "as_integer_ratio")
        method = as_integer_ratio;
      else if (name == "hex" || name == "fromhex")
        method = not_supported;
      break;
    case Kind::kObject:
      if (owner.object().get_attr(interp, name, out)) return true;
      if (owner.object_as<DictView>() != nullptr) {
        if (name == "isdisjoint") method = is_disjoint;
        if (name == "mapping") return out = owner.object_as<DictView>()->dict(), true;
      }
      break;
    default: break;
  }
  if (method == nullptr) return false;
  out = make_function(interp, name, method, owner);
  return true;
}

}  // namespace pagoda::jinja
