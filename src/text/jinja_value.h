// Values of the template language: Python's None, bool, int, float, str, list, tuple, dict and opaque objects.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace pagoda::jinja {

class Interp;
class Value;

// Bytes that the values of one rendering hold. Values that a rendering makes count against it while they live;
// constants of a template and the caller's context do not.
struct Budget {
  int64_t live = 0;
};

// What a Value points to. Destruction never recurses: a chain of a million lists must not overflow the stack.
class Heap {
 public:
  Heap() = default;
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;
  virtual ~Heap() {
    if (budget_ != nullptr) budget_->live -= charged_;
  }
  // Moves the values that this holds out to `out`.
  virtual void take_children(std::vector<Value>& out) { (void)out; }
  void charge(Budget* budget, int64_t bytes) {
    budget_ = budget;
    charged_ = bytes;
    budget->live += bytes;
  }

 protected:
  // Every class with children calls this from its destructor.
  void drain();

 private:
  Budget* budget_ = nullptr;
  int64_t charged_ = 0;
};

enum class Kind : uint8_t { kMissing, kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kTuple, kDict, kObject };

class Str;
class Sequence;
class Dict;
class Object;
class UndefinedInfo;

class Value {
 public:
  Value() = default;  // None
  Value(const Value&) = default;
  Value& operator=(const Value&) = default;
  // What is moved from becomes None, never a kind without its data.
  Value(Value&& other) noexcept
      : kind_(std::exchange(other.kind_, Kind::kNone)), data_(other.data_), heap_(std::move(other.heap_)) {}
  Value& operator=(Value&& other) noexcept {
    if (this != &other) {
      kind_ = std::exchange(other.kind_, Kind::kNone);
      data_ = other.data_;
      heap_ = std::move(other.heap_);
    }
    return *this;
  }
  ~Value() = default;
  static Value missing();
  static Value undefined(std::shared_ptr<UndefinedInfo> info);
  static Value none() { return {}; }
  static Value boolean(bool value);
  static Value integer(int64_t value);
  static Value real(double value);
  // These do not count against a budget: for constants and the caller's context.
  static Value string(std::string text, bool markup = false);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value dict(std::vector<std::pair<std::string, Value>> items);
  static Value of(std::shared_ptr<Str> text);
  static Value of(std::shared_ptr<Sequence> items, bool is_tuple);
  static Value of(std::shared_ptr<Dict> dict);
  static Value of(std::shared_ptr<Object> object);

  Kind kind() const { return kind_; }
  bool is_missing() const { return kind_ == Kind::kMissing; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_bool() const { return kind_ == Kind::kBool; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_dict() const { return kind_ == Kind::kDict; }
  bool is_list() const { return kind_ == Kind::kList; }
  bool is_tuple() const { return kind_ == Kind::kTuple; }
  bool is_object() const { return kind_ == Kind::kObject; }
  bool is_float() const { return kind_ == Kind::kFloat; }
  bool is_integral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }  // Python's int, so bool too
  bool is_number() const { return is_integral() || kind_ == Kind::kFloat; }

  int64_t as_int() const { return kind_ == Kind::kBool ? int64_t{data_.b} : data_.i; }
  bool as_bool() const { return data_.b; }
  double as_double() const;  // of any number
  const Str& str() const;
  const std::string& text() const;
  bool is_markup() const;
  const std::vector<Value>& items() const;  // of a list or tuple
  bool is_group() const;
  const Dict& dict() const;
  Object& object() const;
  const UndefinedInfo* undefined_info() const;
  template <class T>
  T* object_as() const {
    return kind_ == Kind::kObject ? dynamic_cast<T*>(heap_.get()) : nullptr;
  }
  const std::shared_ptr<Heap>& heap() const { return heap_; }

  bool identical(const Value& other) const;  // Python's `is`

 private:
  Value(Kind kind, std::shared_ptr<Heap> heap) : kind_(kind), heap_(std::move(heap)) {}

  Kind kind_ = Kind::kNone;
  union {
    bool b;
    int64_t i;
    double d;
  } data_ = {.i = 0};
  std::shared_ptr<Heap> heap_;
};

// UTF-8 text; `length` counts code points. Markup is text that is safe in HTML.
class Str final : public Heap {
 public:
  Str(std::string value, bool is_markup);
  const std::string text;
  const size_t length;
  const bool markup;
  bool ascii() const { return length == text.size(); }
};

class Sequence final : public Heap {
 public:
  explicit Sequence(std::vector<Value> values) : items(std::move(values)) {}
  ~Sequence() override { drain(); }
  void take_children(std::vector<Value>& out) override;
  std::vector<Value> items;
  bool group = false;  // a tuple that groupby made: its parts are also called grouper and list
};

// Insertion-ordered hash map with Python's equality of keys (1 == 1.0 == True). Keys must be hashable (see hash_value).
class Dict final : public Heap {
 public:
  using Entry = std::pair<Value, Value>;
  ~Dict() override { drain(); }
  void take_children(std::vector<Value>& out) override;
  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  const Value* find(const Value& key) const;  // the key must be hashable
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);  // a key that is there keeps its place
  void reserve(size_t count) { entries_.reserve(count); }

 private:
  static constexpr size_t kLinear = 8;  // up to this many entries a scan is faster than hashing
  std::vector<Entry> entries_;
  std::unordered_multimap<uint64_t, uint32_t> index_;
};

// Hint, or what was looked up where; the message is built only when an operation fails on it.
class UndefinedInfo final : public Heap {
 public:
  std::string hint;   // used alone when not empty
  std::string owner;  // "dict object"; empty: a variable
  Value name;
  bool security = false;  // using it raises SecurityError
  std::string message(Interp& interp) const;
};

struct CallArgs {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keywords;
};

class Iter {
 public:
  virtual ~Iter() = default;
  virtual bool next(Interp& interp, Value& out) = 0;
  // Moves what it iterates over to `out`; it is not used afterwards (see Heap).
  virtual void take_children(std::vector<Value>& out) { (void)out; }
};

// Everything that is no plain data: functions, macros, generators, namespaces, loop.
class Object : public Heap, public std::enable_shared_from_this<Object> {
 public:
  virtual std::string type_name() const = 0;                                  // type(x).__name__
  virtual std::string type_label() const { return type_name() + " object"; }  // as in messages about undefined attributes
  virtual std::string repr(Interp& interp);
  virtual std::optional<int64_t> length(Interp& interp);
  virtual bool get_attr(Interp& interp, const std::string& name, Value& out);
  virtual bool get_item(Interp& interp, const Value& key, Value& out);
  virtual bool subscriptable() const { return false; }
  virtual std::unique_ptr<Iter> iter(Interp& interp);  // null: not iterable
  virtual bool iterable() const { return false; }
  virtual bool callable() const { return false; }
  virtual Value call(Interp& interp, CallArgs& args);
};

// One pass over values that are made when asked for.
class Generator : public Object {
 public:
  std::string type_name() const override { return "generator"; }
  bool iterable() const override { return true; }
  std::unique_ptr<Iter> iter(Interp& interp) override;
  virtual bool next(Interp& interp, Value& out) = 0;
};

// Python's type(x).__name__, and the form that messages about undefined attributes use ("dict object", "None").
std::string type_name(const Value& value);
std::string type_label(const Value& value);

bool truthy(Interp& interp, const Value& value);
// Equality of data; nested deeper than the limit throws.
bool equal(Interp& interp, const Value& a, const Value& b);
// For keys: hashable values only, so no interpreter is needed.
bool keys_equal(const Value& a, const Value& b);
// Nothing for lists, dicts and tuples that hold them.
// Tuples of very many items (shared ones counted each time) are refused as well: hashing must end.
std::optional<uint64_t> hash_value(const Value& value);
int compare_int_double(int64_t a, double b);  // -1, 0, 1; 2 when b is NaN

}  // namespace pagoda::jinja
