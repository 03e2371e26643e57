// Python's operators on values.
#include "text/jinja_ops.h"

#include <cmath>
#include <cstring>

#include "base/utf8.h"
#include "text/jinja_objects.h"

namespace pagoda::jinja {

namespace {

[[noreturn]] void unsupported_operands(Interp& interp, const char* op, const Value& a, const Value& b) {
  interp.type_error(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", op, type_name(a), type_name(b)));
}

void refuse_undefined(Interp& interp, const Value& a, const Value& b) {
  if (a.is_undefined()) interp.fail_undefined(a);
  if (b.is_undefined()) interp.fail_undefined(b);
}

bool is_sequence(const Value& value) { return value.is_string() || value.is_list() || value.is_tuple(); }

Value repeat(Interp& interp, const Value& value, int64_t count) {
  count = std::max<int64_t>(count, 0);
  if (value.is_string()) {
    const std::string& text = value.text();
    int64_t bytes;
    if (__builtin_mul_overflow(static_cast<int64_t>(text.size()), count, &bytes)) bytes = INT64_MAX;
    interp.check_size(static_cast<size_t>(bytes));
    std::string out;
    out.reserve(static_cast<size_t>(bytes));
    for (int64_t i = 0; i < count && !text.empty(); ++i) out += text;
    return interp.str(std::move(out), value.is_markup());
  }
  const auto& items = value.items();
  int64_t total;
  if (__builtin_mul_overflow(static_cast<int64_t>(items.size()), count, &total) || total > interp.limits().max_items) {
    interp.limit(fmt::format("list too long: need at most {} items (max_items)", interp.limits().max_items));
  }
  interp.work(total);
  std::vector<Value> out;
  out.reserve(static_cast<size_t>(total));
  for (int64_t i = 0; i < count && !items.empty(); ++i) out.insert(out.end(), items.begin(), items.end());
  return value.is_list() ? interp.list(std::move(out)) : interp.tuple(std::move(out));
}

double floor_mod(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0) {
    if ((b < 0) != (rest < 0)) rest += b;
  } else {
    rest = std::copysign(0.0, b);
  }
  return rest;
}

double floor_quotient(double a, double b) {
  const double rest = floor_mod(a, b);
  const double quotient = (a - rest) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1.0 : whole;
}

}  // namespace

int64_t as_index(Interp& interp, const Value& value) {
  if (value.is_undefined()) interp.type_error("'Undefined' object cannot be interpreted as an integer");
  if (!value.is_integral()) interp.type_error("'" + type_name(value) + "' object cannot be interpreted as an integer");
  return value.as_int();
}

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out.push_back(c);
    }
  }
  return out;
}

std::string escaped(Interp& interp, const Value& value) {
  if (value.is_markup()) return value.text();
  return escape_html(interp.to_text(value));
}

Value add(Interp& interp, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return Value::real(a.as_double() + b.as_double());
    int64_t sum;
    if (__builtin_add_overflow(a.as_int(), b.as_int(), &sum)) interp.overflow();
    return Value::integer(sum);
  }
  refuse_undefined(interp, a, b);
  if (a.is_string() && b.is_string()) {
    interp.check_size(a.text().size() + b.text().size());
    if (a.is_markup() || b.is_markup()) return interp.str(escaped(interp, a) + escaped(interp, b), true);
    std::string out;
    out.reserve(a.text().size() + b.text().size());
    out += a.text();
    out += b.text();
    return interp.str(std::move(out));
  }
  if (a.kind() == b.kind() && (a.is_list() || a.is_tuple())) {
    const auto& left = a.items();
    const auto& right = b.items();
    if (static_cast<int64_t>(left.size() + right.size()) > interp.limits().max_items) {
      interp.limit(fmt::format("list too long: need at most {} items (max_items)", interp.limits().max_items));
    }
    std::vector<Value> out;
    out.reserve(left.size() + right.size());
    out.insert(out.end(), left.begin(), left.end());
    out.insert(out.end(), right.begin(), right.end());
    return a.is_list() ? interp.list(std::move(out)) : interp.tuple(std::move(out));
  }
  if (a.is_markup() || b.is_markup()) {
    if (!a.is_markup() || !b.is_string()) {
      if (a.is_markup() && !is_sequence(b)) unsupported_operands(interp, "+", a, b);
    }
  }
  if (is_sequence(a)) {
    const char* kind = a.is_string() ? "str" : a.is_list() ? "list" : "tuple";
    interp.type_error(fmt::format("can only concatenate {} (not \"{}\") to {}", kind, type_name(b), kind));
  }
  unsupported_operands(interp, "+", a, b);
}

Value subtract(Interp& interp, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return Value::real(a.as_double() - b.as_double());
    int64_t difference;
    if (__builtin_sub_overflow(a.as_int(), b.as_int(), &difference)) interp.overflow();
    return Value::integer(difference);
  }
  refuse_undefined(interp, a, b);
  unsupported_operands(interp, "-", a, b);
}

Value multiply(Interp& interp, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return Value::real(a.as_double() * b.as_double());
    int64_t product;
    if (__builtin_mul_overflow(a.as_int(), b.as_int(), &product)) interp.overflow();
    return Value::integer(product);
  }
  refuse_undefined(interp, a, b);
  if (is_sequence(a) && b.is_integral()) return repeat(interp, a, b.as_int());
  if (is_sequence(b) && a.is_integral()) return repeat(interp, b, a.as_int());
  if (a.is_markup() || b.is_markup()) {
    interp.type_error("'" + type_name(a.is_markup() ? b : a) + "' object cannot be interpreted as an integer");
  }
  if (is_sequence(a)) interp.type_error("can't multiply sequence by non-int of type '" + type_name(b) + "'");
  if (is_sequence(b)) interp.type_error("can't multiply sequence by non-int of type '" + type_name(a) + "'");
  unsupported_operands(interp, "*", a, b);
}

Value divide(Interp& interp, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (b.as_double() == 0) {
      interp.error("ZeroDivisionError", a.is_float() || b.is_float() ? "float division by zero" : "division by zero");
    }
    return Value::real(a.as_double() / b.as_double());
  }
  refuse_undefined(interp, a, b);
  unsupported_operands(interp, "/", a, b);
}

Value floor_divide(Interp& interp, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) {
      if (b.as_double() == 0) interp.error("ZeroDivisionError", "float floor division by zero");
      return Value::real(floor_quotient(a.as_double(), b.as_double()));
    }
    const int64_t left = a.as_int(), right = b.as_int();
    if (right == 0) interp.error("ZeroDivisionError", "integer division or modulo by zero");
    if (right == -1) return subtract(interp, Value::integer(0), a);
    int64_t quotient = left / right;
    if (left % right != 0 && (left < 0) != (right < 0)) --quotient;
    return Value::integer(quotient);
  }
  refuse_undefined(interp, a, b);
  unsupported_operands(interp, "//", a, b);
}

Value modulo(Interp& interp, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) {
      if (b.as_double() == 0) interp.error("ZeroDivisionError", "float modulo");
      return Value::real(floor_mod(a.as_double(), b.as_double()));
    }
    const int64_t left = a.as_int(), right = b.as_int();
    if (right == 0) interp.error("ZeroDivisionError", "integer modulo by zero");
    if (right == -1) return Value::integer(0);
    int64_t rest = left % right;
    if (rest != 0 && (rest < 0) != (right < 0)) rest += right;
    return Value::integer(rest);
  }
  if (a.is_string()) return interp.str(format_percent(interp, a, b), a.is_markup());
  refuse_undefined(interp, a, b);
  unsupported_operands(interp, "%", a, b);
}

Value power(Interp& interp, const Value& a, const Value& b) {
  if (!a.is_number() || !b.is_number()) {
    refuse_undefined(interp, a, b);
    unsupported_operands(interp, "** or pow()", a, b);
  }
  if (a.is_integral() && b.is_integral() && b.as_int() >= 0) {
    int64_t result = 1, base = a.as_int(), exponent = b.as_int();
    if (base == 0 || base == 1) return Value::integer(exponent == 0 ? 1 : base);
    if (base == -1) return Value::integer(exponent % 2 == 0 ? 1 : -1);
    while (exponent > 0) {
      if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) interp.overflow();
      exponent >>= 1;
      if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) interp.overflow();
    }
    return Value::integer(result);
  }
  const double base = a.as_double(), exponent = b.as_double();
  if (base == 0 && exponent < 0) interp.error("ZeroDivisionError", "0.0 cannot be raised to a negative power");
  if (base < 0 && std::isfinite(base) && std::isfinite(exponent) && exponent != std::floor(exponent)) {
    interp.error("TypeError", "complex numbers are not supported");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    interp.error("OverflowError", "(34, 'Numerical result out of range')");
  }
  return Value::real(result);
}

Value negative(Interp& interp, const Value& a) {
  if (a.is_float()) return Value::real(-a.as_double());
  if (a.is_integral()) return subtract(interp, Value::integer(0), a);
  if (a.is_undefined()) interp.fail_undefined(a);
  interp.type_error("bad operand type for unary -: '" + type_name(a) + "'");
}

Value positive(Interp& interp, const Value& a) {
  if (a.is_float()) return a;
  if (a.is_integral()) return Value::integer(a.as_int());
  if (a.is_undefined()) interp.fail_undefined(a);
  interp.type_error("bad operand type for unary +: '" + type_name(a) + "'");
}

namespace {

const char* symbol(CompareOp op) {
  switch (op) {
    case CompareOp::kLt: return "<";
    case CompareOp::kLe: return "<=";
    case CompareOp::kGt: return ">";
    default: return ">=";
  }
}

bool holds(CompareOp op, int order) {
  switch (op) {
    case CompareOp::kLt: return order < 0;
    case CompareOp::kLe: return order <= 0;
    case CompareOp::kGt: return order > 0;
    default: return order >= 0;
  }
}

bool ordered(Interp& interp, CompareOp op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) {
      const int64_t left = a.as_int(), right = b.as_int();
      return holds(op, left < right ? -1 : left > right ? 1 : 0);
    }
    int order;
    if (a.is_integral()) {
      order = compare_int_double(a.as_int(), b.as_double());
    } else if (b.is_integral()) {
      order = compare_int_double(b.as_int(), a.as_double());
      if (order != 2) order = -order;
    } else {
      const double left = a.as_double(), right = b.as_double();
      order = std::isnan(left) || std::isnan(right) ? 2 : left < right ? -1 : left > right ? 1 : 0;
    }
    return order != 2 && holds(op, order);
  }
  // UTF-8 keeps the order of code points.
  if (a.is_string() && b.is_string()) return holds(op, a.text().compare(b.text()));
  if (a.kind() == b.kind() && (a.is_list() || a.is_tuple())) {
    const Interp::Guard guard(interp);
    const auto& left = a.items();
    const auto& right = b.items();
    for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
      interp.work(1);
      if (left[i].heap() != nullptr && left[i].heap() == right[i].heap()) continue;
      if (!equal(interp, left[i], right[i])) return ordered(interp, op, left[i], right[i]);
    }
    return holds(op, left.size() < right.size() ? -1 : left.size() > right.size() ? 1 : 0);
  }
  refuse_undefined(interp, a, b);
  const auto *left = a.object_as<DictView>(), *right = b.object_as<DictView>();
  if (left != nullptr && right != nullptr && left->part() != DictView::Part::kValues &&
      right->part() != DictView::Part::kValues) {
    // Views of keys and items compare as sets.
    const bool swap = op == CompareOp::kGt || op == CompareOp::kGe;
    const Value& small = swap ? b : a;
    const Value& large = swap ? a : b;
    const int64_t n = *interp.length(small), m = *interp.length(large);
    if (op == CompareOp::kLt || op == CompareOp::kGt ? n >= m : n > m) return false;
    for (const Value& item : interp.collect(small)) {
      if (!contains(interp, large, item)) return false;
    }
    return true;
  }
  interp.type_error(
      fmt::format("'{}' not supported between instances of '{}' and '{}'", symbol(op), type_name(a), type_name(b)));
}

}  // namespace

bool less(Interp& interp, const Value& a, const Value& b) { return ordered(interp, CompareOp::kLt, a, b); }

bool contains(Interp& interp, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kString: {
      if (!item.is_string()) {
        interp.type_error("'in <string>' requires string as left operand, not " + type_name(item));
      }
      const std::string& text = container.text();
      const std::string& part = item.text();
      interp.work_bytes(text.size());
      return memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
    }
    case Kind::kDict: interp.check_key(item); return container.dict().find(item) != nullptr;
    case Kind::kList:
    case Kind::kTuple:
      for (const Value& value : container.items()) {
        interp.work(1);
        if ((value.heap() != nullptr && value.heap() == item.heap()) || equal(interp, value, item)) return true;
      }
      return false;
    default: break;
  }
  if (const auto* range = container.object_as<Range>(); range != nullptr) {
    if (!item.is_number() || (item.is_float() && item.as_double() != std::floor(item.as_double()))) return false;
    if (item.is_float() && std::fabs(item.as_double()) > 9.2e18) return false;
    const int64_t value = item.is_float() ? static_cast<int64_t>(item.as_double()) : item.as_int();
    const bool inside =
        range->step > 0 ? value >= range->start && value < range->stop : value <= range->start && value > range->stop;
    return inside && (static_cast<__int128>(value) - range->start) % range->step == 0;
  }
  if (const auto* view = container.object_as<DictView>(); view != nullptr) {
    if (view->part() == DictView::Part::kKeys) return contains(interp, view->dict(), item);
    if (view->part() == DictView::Part::kItems) {
      if (!item.is_tuple() || item.items().size() != 2) return false;
      interp.check_key(item.items()[0]);
      const Value* found = view->dict().dict().find(item.items()[0]);
      return found != nullptr && equal(interp, *found, item.items()[1]);
    }
  }
  if (!interp.iterable(container)) {
    interp.type_error("argument of type '" + type_name(container) + "' is not iterable");
  }
  const std::unique_ptr<Iter> source = interp.iter(container);
  for (Value value; source->next(interp, value);) {
    if (equal(interp, value, item)) return true;
  }
  return false;
}

bool compare(Interp& interp, CompareOp op, const Value& a, const Value& b) {
  switch (op) {
    case CompareOp::kEq: return equal(interp, a, b);
    case CompareOp::kNe: return !equal(interp, a, b);
    case CompareOp::kIn: return contains(interp, b, a);
    case CompareOp::kNotIn: return !contains(interp, b, a);
    default: return ordered(interp, op, a, b);
  }
}

namespace {

// Sorts positions by their keys. Short runs as Python does it: the run that is in order already, then binary insertion.
class Sorter {
 public:
  Sorter(Interp& interp, const std::vector<Value>& keys) : interp_(interp), keys_(keys) {
    for (size_t i = 0; i < keys.size(); ++i) order_.push_back(i);
  }
  std::vector<size_t> run() {
    sort(0, order_.size());
    return std::move(order_);
  }

 private:
  static constexpr size_t kShort = 64;

  bool before(size_t a, size_t b) {
    interp_.work(1);
    return less(interp_, keys_[a], keys_[b]);
  }

  void sort(size_t low, size_t high) {
    if (high - low < kShort) {
      insertion(low, high);
      return;
    }
    const size_t middle = low + (high - low) / 2;
    sort(low, middle);
    sort(middle, high);
    std::vector<size_t> merged;
    merged.reserve(high - low);
    size_t i = low, j = middle;
    while (i < middle && j < high) merged.push_back(before(order_[j], order_[i]) ? order_[j++] : order_[i++]);
    merged.insert(merged.end(), order_.begin() + static_cast<ptrdiff_t>(i), order_.begin() + static_cast<ptrdiff_t>(middle));
    merged.insert(merged.end(), order_.begin() + static_cast<ptrdiff_t>(j), order_.begin() + static_cast<ptrdiff_t>(high));
    std::copy(merged.begin(), merged.end(), order_.begin() + static_cast<ptrdiff_t>(low));
  }

  void insertion(size_t low, size_t high) {
    if (high - low < 2) return;
    size_t run = low + 2;
    if (before(order_[low + 1], order_[low])) {
      while (run < high && before(order_[run], order_[run - 1])) ++run;
      std::reverse(order_.begin() + static_cast<ptrdiff_t>(low), order_.begin() + static_cast<ptrdiff_t>(run));
    } else {
      while (run < high && !before(order_[run], order_[run - 1])) ++run;
    }
    for (; run < high; ++run) {
      const size_t pivot = order_[run];
      size_t left = low, right = run;
      while (left < right) {
        const size_t middle = left + (right - left) / 2;
        if (before(pivot, order_[middle])) {
          right = middle;
        } else {
          left = middle + 1;
        }
      }
      std::rotate(order_.begin() + static_cast<ptrdiff_t>(left), order_.begin() + static_cast<ptrdiff_t>(run),
                  order_.begin() + static_cast<ptrdiff_t>(run + 1));
    }
  }

  Interp& interp_;
  const std::vector<Value>& keys_;
  std::vector<size_t> order_;
};

}  // namespace

void sort_values(Interp& interp, std::vector<Value>& values, const std::vector<Value>& keys, bool reverse) {
  // Python sorts the reversed list and reverses again: equal items keep their order.
  std::vector<Value> sort_keys = keys;
  if (reverse) {
    std::reverse(sort_keys.begin(), sort_keys.end());
    std::reverse(values.begin(), values.end());
  }
  std::vector<Value> sorted;
  sorted.reserve(values.size());
  for (const size_t at : Sorter(interp, sort_keys).run()) sorted.push_back(values[at]);
  if (reverse) std::reverse(sorted.begin(), sorted.end());
  values = std::move(sorted);
}

size_t byte_offset(const Str& text, size_t index) {
  if (text.ascii()) return std::min(index, text.text.size());
  size_t at = 0;
  for (size_t i = 0; i < index && at < text.text.size(); ++i) utf8_next(text.text, at);
  return at;
}

std::string slice_text(const Str& text, size_t begin, size_t end) {
  if (begin >= end) return {};
  if (text.ascii()) return text.text.substr(begin, end - begin);
  const size_t from = byte_offset(text, begin);
  size_t to = from;
  for (size_t i = begin; i < end && to < text.text.size(); ++i) utf8_next(text.text, to);
  return text.text.substr(from, to - from);
}

}  // namespace pagoda::jinja
