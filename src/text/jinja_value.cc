// Values of the template language: construction, destruction without recursion, hashing, dictionaries.
#include "text/jinja_value.h"

#include <cmath>
#include <functional>

#include "base/utf8.h"
#include "text/jinja_interp.h"

namespace pagoda::jinja {

namespace {
constexpr int kMaxHashDepth = 64;
constexpr int kMaxHashItems = 100'000;

std::optional<uint64_t> hash_nested(const Value& value, int depth, int& items) {
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kDict: return std::nullopt;
    case Kind::kBool:
    case Kind::kInt: return std::hash<int64_t>{}(value.as_int());
    case Kind::kFloat: {
      const double number = value.as_double();
      if (number == std::floor(number) && std::fabs(number) < 9.2e18) {
        return std::hash<int64_t>{}(static_cast<int64_t>(number));
      }
      return std::hash<double>{}(number);
    }
    case Kind::kString: return std::hash<std::string_view>{}(value.text());
    case Kind::kTuple: {
      if (depth > kMaxHashDepth) return std::nullopt;
      uint64_t sum = 0x345678;
      for (const Value& item : value.items()) {
        if (++items > kMaxHashItems) return std::nullopt;
        const std::optional<uint64_t> hash = hash_nested(item, depth + 1, items);
        if (!hash.has_value()) return std::nullopt;
        sum = (sum ^ *hash) * 1000003 + 97531;
      }
      return sum;
    }
    case Kind::kObject: return std::hash<const void*>{}(value.heap().get());
    default: return 7;
  }
}
}  // namespace

void Heap::drain() {
  std::vector<Value> pending;
  take_children(pending);
  while (!pending.empty()) {
    const Value value = std::move(pending.back());
    pending.pop_back();
    if (value.heap() != nullptr && value.heap().use_count() == 1) value.heap()->take_children(pending);
  }
}

void Sequence::take_children(std::vector<Value>& out) {
  for (Value& item : items) {
    if (item.heap() != nullptr) out.push_back(std::move(item));
  }
  items.clear();
}

void Dict::take_children(std::vector<Value>& out) {
  for (Entry& entry : entries_) {
    if (entry.first.heap() != nullptr) out.push_back(std::move(entry.first));
    if (entry.second.heap() != nullptr) out.push_back(std::move(entry.second));
  }
  entries_.clear();
  index_.clear();
}

Value Value::missing() {
  Value value;
  value.kind_ = Kind::kMissing;
  return value;
}

Value Value::undefined(std::shared_ptr<UndefinedInfo> info) { return {Kind::kUndefined, std::move(info)}; }

Value Value::boolean(bool flag) {
  Value value;
  value.kind_ = Kind::kBool;
  value.data_.b = flag;
  return value;
}

Value Value::integer(int64_t number) {
  Value value;
  value.kind_ = Kind::kInt;
  value.data_.i = number;
  return value;
}

Value Value::real(double number) {
  Value value;
  value.kind_ = Kind::kFloat;
  value.data_.d = number;
  return value;
}

Value Value::of(std::shared_ptr<Str> text) { return {Kind::kString, std::move(text)}; }

Value Value::of(std::shared_ptr<Sequence> items, bool is_tuple) {
  return {is_tuple ? Kind::kTuple : Kind::kList, std::move(items)};
}

Value Value::of(std::shared_ptr<Dict> dict) { return {Kind::kDict, std::move(dict)}; }

Value Value::of(std::shared_ptr<Object> object) { return {Kind::kObject, std::move(object)}; }

Value Value::string(std::string text, bool markup) { return of(std::make_shared<Str>(std::move(text), markup)); }
Value Value::list(std::vector<Value> items) { return of(std::make_shared<Sequence>(std::move(items)), false); }
Value Value::tuple(std::vector<Value> items) { return of(std::make_shared<Sequence>(std::move(items)), true); }

Value Value::dict(std::vector<std::pair<std::string, Value>> items) {
  auto dict = std::make_shared<Dict>();
  dict->reserve(items.size());
  for (auto& [key, value] : items) dict->set(string(std::move(key)), std::move(value));
  return of(std::move(dict));
}

double Value::as_double() const { return kind_ == Kind::kFloat ? data_.d : static_cast<double>(as_int()); }
const Str& Value::str() const { return static_cast<const Str&>(*heap_); }
const std::string& Value::text() const { return str().text; }
bool Value::is_markup() const { return kind_ == Kind::kString && str().markup; }
const std::vector<Value>& Value::items() const { return static_cast<const Sequence&>(*heap_).items; }
bool Value::is_group() const { return kind_ == Kind::kTuple && static_cast<const Sequence&>(*heap_).group; }
const Dict& Value::dict() const { return static_cast<const Dict&>(*heap_); }
Object& Value::object() const { return static_cast<Object&>(*heap_); }
const UndefinedInfo* Value::undefined_info() const { return static_cast<const UndefinedInfo*>(heap_.get()); }

bool Value::identical(const Value& other) const {
  if (kind_ != other.kind_) return false;
  switch (kind_) {
    case Kind::kMissing:
    case Kind::kNone: return true;
    case Kind::kBool: return data_.b == other.data_.b;
    // CPython shares one object for each small integer; others are the same object only by chance.
    case Kind::kInt: return data_.i == other.data_.i && data_.i >= -5 && data_.i <= 256;
    case Kind::kFloat: return false;
    case Kind::kString: return heap_ == other.heap_ || (text() == other.text() && text().size() <= 1);
    default: return heap_ == other.heap_ || (is_tuple() && items().empty() && other.items().empty());
  }
}

Str::Str(std::string value, bool is_markup) : text(std::move(value)), length(utf8_length(text)), markup(is_markup) {}

const Value* Dict::find(const Value& key) const {
  if (entries_.size() <= kLinear) {
    for (const Entry& entry : entries_) {
      if (keys_equal(entry.first, key)) return &entry.second;
    }
    return nullptr;
  }
  const auto [begin, end] = index_.equal_range(hash_value(key).value_or(0));
  for (auto at = begin; at != end; ++at) {
    if (keys_equal(entries_[at->second].first, key)) return &entries_[at->second].second;
  }
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  if (entries_.size() <= kLinear) {
    for (const Entry& entry : entries_) {
      if (entry.first.is_string() && entry.first.text() == key) return &entry.second;
    }
    return nullptr;
  }
  const auto [begin, end] = index_.equal_range(std::hash<std::string_view>{}(key));
  for (auto at = begin; at != end; ++at) {
    const Value& found = entries_[at->second].first;
    if (found.is_string() && found.text() == key) return &entries_[at->second].second;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  if (const Value* found = find(key); found != nullptr) {
    const_cast<Value&>(*found) = std::move(value);  // NOLINT: the entry belongs to this
    return;
  }
  entries_.emplace_back(std::move(key), std::move(value));
  if (entries_.size() <= kLinear) return;
  const size_t first = entries_.size() == kLinear + 1 ? 0 : entries_.size() - 1;
  for (size_t i = first; i < entries_.size(); ++i) {
    index_.emplace(hash_value(entries_[i].first).value_or(0), static_cast<uint32_t>(i));
  }
}

std::string UndefinedInfo::message(Interp& interp) const {
  if (!hint.empty()) return hint;
  const std::string shown = interp.repr(name);
  if (owner.empty()) return shown + " is undefined";
  if (!name.is_string()) return owner + " has no element " + shown;
  return interp.repr(Value::string(owner)) + " has no attribute " + shown;
}

std::string Object::repr(Interp& interp) {
  (void)interp;
  return "<" + type_name() + " object>";
}
std::optional<int64_t> Object::length(Interp& interp) {
  (void)interp;
  return std::nullopt;
}
bool Object::get_attr(Interp& interp, const std::string& name, Value& out) {
  (void)interp, (void)name, (void)out;
  return false;
}
bool Object::get_item(Interp& interp, const Value& key, Value& out) {
  (void)interp, (void)key, (void)out;
  return false;
}
std::unique_ptr<Iter> Object::iter(Interp& interp) {
  (void)interp;
  return nullptr;
}
Value Object::call(Interp& interp, CallArgs& args) {
  (void)args;
  interp.type_error("'" + type_name() + "' object is not callable");
}

namespace {
class GeneratorIter : public Iter {
 public:
  explicit GeneratorIter(std::shared_ptr<Object> object) : object_(std::move(object)) {}
  bool next(Interp& interp, Value& out) override { return static_cast<Generator&>(*object_).next(interp, out); }
  void take_children(std::vector<Value>& out) override { out.push_back(Value::of(std::move(object_))); }

 private:
  std::shared_ptr<Object> object_;
};
}  // namespace

std::unique_ptr<Iter> Generator::iter(Interp& interp) {
  (void)interp;
  return std::make_unique<GeneratorIter>(shared_from_this());
}

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing: return "missing";
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return value.is_markup() ? "Markup" : "str";
    case Kind::kList: return "list";
    case Kind::kTuple: return value.is_group() ? "_GroupTuple" : "tuple";
    case Kind::kDict: return "dict";
    case Kind::kObject: return value.object().type_name();
  }
  return "object";
}

std::string type_label(const Value& value) {
  if (value.is_none()) return "None";
  if (value.is_object()) return value.object().type_label();
  if (value.is_undefined()) return "jinja2.runtime.Undefined object";
  if (value.is_group()) return "jinja2.filters._GroupTuple object";
  if (value.is_markup()) return "markupsafe.Markup object";
  return type_name(value) + " object";
}

bool truthy(Interp& interp, const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool:
    case Kind::kInt: return value.as_int() != 0;
    case Kind::kFloat: return value.as_double() != 0.0;
    case Kind::kString: return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple: return !value.items().empty();
    case Kind::kDict: return value.dict().size() != 0;
    case Kind::kObject: return value.object().length(interp).value_or(1) != 0;
  }
  return false;
}

int compare_int_double(int64_t a, double b) {
  if (std::isnan(b)) return 2;
  if (b >= 9223372036854775808.0) return -1;
  if (b < -9223372036854775808.0) return 1;
  const double whole = std::floor(b);
  const int64_t integer = static_cast<int64_t>(whole);
  if (a != integer) return a < integer ? -1 : 1;
  return b > whole ? -1 : 0;
}

namespace {

bool numbers_equal(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.as_int() == b.as_int();
  if (a.is_integral()) return compare_int_double(a.as_int(), b.as_double()) == 0;
  if (b.is_integral()) return compare_int_double(b.as_int(), a.as_double()) == 0;
  return a.as_double() == b.as_double();
}

}  // namespace

bool equal(Interp& interp, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return numbers_equal(a, b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kString: return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple: {
      if (a.heap() == b.heap()) return true;
      const auto& left = a.items();
      const auto& right = b.items();
      if (left.size() != right.size()) return false;
      const Interp::Guard guard(interp);
      for (size_t i = 0; i < left.size(); ++i) {
        interp.work(1);
        // Containers take an object as equal to itself, so a NaN too.
        if (left[i].heap() != nullptr && left[i].heap() == right[i].heap()) continue;
        if (!equal(interp, left[i], right[i])) return false;
      }
      return true;
    }
    case Kind::kDict: {
      if (a.heap() == b.heap()) return true;
      if (a.dict().size() != b.dict().size()) return false;
      const Interp::Guard guard(interp);
      for (const auto& [key, value] : a.dict().entries()) {
        interp.work(1);
        const Value* other = b.dict().find(key);
        if (other == nullptr || !equal(interp, value, *other)) return false;
      }
      return true;
    }
    case Kind::kObject: return interp.objects_equal(a, b);
    default: return false;
  }
}

bool keys_equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return numbers_equal(a, b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kString: return a.text() == b.text();
    case Kind::kTuple: {
      if (a.heap() == b.heap()) return true;
      if (a.items().size() != b.items().size()) return false;
      for (size_t i = 0; i < a.items().size(); ++i) {
        if (!keys_equal(a.items()[i], b.items()[i])) return false;
      }
      return true;
    }
    default: return a.heap() == b.heap();
  }
}

std::optional<uint64_t> hash_value(const Value& value) {
  int items = 0;
  return hash_nested(value, 0, items);
}

}  // namespace pagoda::jinja
