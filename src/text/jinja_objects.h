// The objects that templates meet: namespaces, macros, the loop variable, ranges, views of dicts, cyclers, joiners.
#pragma once

#include <functional>

#include "text/jinja_interp.h"

namespace pagoda::jinja {

class Namespace final : public Object {
 public:
  ~Namespace() override { drain(); }
  void take_children(std::vector<Value>& out) override;
  std::string type_name() const override { return "TemplateNamespace"; }
  std::string type_label() const override { return "transformers.utils.chat_template_utils.TemplateNamespace object"; }
  std::string repr(Interp& interp) override;
  bool get_attr(Interp& interp, const std::string& name, Value& out) override;
  void set(Interp& interp, const Value& name, Value value);

 private:
  std::shared_ptr<Dict> attributes_ = std::make_shared<Dict>();
  bool shown_ = false;  // repr is under way: it prints {...} for itself
};

class Macro final : public Object {
 public:
  Macro(const Stmt& stmt, std::shared_ptr<Frame> closure) : stmt_(stmt), closure_(std::move(closure)) {}
  ~Macro() override { drain(); }
  void take_children(std::vector<Value>& out) override { release(closure_, out); }
  std::string type_name() const override { return "Macro"; }
  std::string type_label() const override { return "jinja2.runtime.Macro object"; }
  std::string repr(Interp& interp) override;
  bool get_attr(Interp& interp, const std::string& name, Value& out) override;
  bool callable() const override { return true; }
  Value call(Interp& interp, CallArgs& args) override;

 private:
  const Stmt& stmt_;
  std::shared_ptr<Frame> closure_;
};

class LoopContext final : public Object {
 public:
  LoopContext(const Value& iterable, std::unique_ptr<Iter> iter, const Stmt* recursive, std::shared_ptr<Frame> closure,
              int64_t depth0)
      : iterable_(iterable), iter_(std::move(iter)), recursive_(recursive), closure_(std::move(closure)), depth0_(depth0) {}
  ~LoopContext() override { drain(); }
  void take_children(std::vector<Value>& out) override;
  std::string type_name() const override { return "LoopContext"; }
  std::string type_label() const override { return "jinja2.runtime.LoopContext object"; }
  std::string repr(Interp& interp) override;
  std::optional<int64_t> length(Interp& interp) override;
  bool get_attr(Interp& interp, const std::string& name, Value& out) override;
  bool iterable() const override { return true; }
  std::unique_ptr<Iter> iter(Interp& interp) override;
  bool callable() const override { return true; }
  Value call(Interp& interp, CallArgs& args) override;
  bool next(Interp& interp, Value& out);

 private:
  bool peek(Interp& interp);
  static Value cycle(Interp& interp, const Value& self, CallArgs& args);
  static Value changed(Interp& interp, const Value& self, CallArgs& args);

  Value iterable_;
  std::unique_ptr<Iter> iter_;
  const Stmt* recursive_;
  std::shared_ptr<Frame> closure_;
  int64_t depth0_;
  int64_t index0_ = -1;
  std::optional<int64_t> length_;
  Value after_ = Value::missing(), current_ = Value::missing(), before_ = Value::missing(), last_changed_ = Value::missing();
};

class Range final : public Object {
 public:
  Range(int64_t from, int64_t to, int64_t by) : start(from), stop(to), step(by) {}
  int64_t count() const;
  int64_t at(int64_t index) const { return start + index * step; }
  std::string type_name() const override { return "range"; }
  std::string repr(Interp& interp) override;
  std::optional<int64_t> length(Interp& interp) override;
  bool get_attr(Interp& interp, const std::string& name, Value& out) override;
  bool get_item(Interp& interp, const Value& key, Value& out) override;
  bool subscriptable() const override { return true; }
  bool iterable() const override { return true; }
  std::unique_ptr<Iter> iter(Interp& interp) override;
  const int64_t start, stop, step;
};

// dict.keys(), dict.values(), dict.items().
class DictView final : public Object {
 public:
  enum class Part : uint8_t { kKeys, kValues, kItems };
  DictView(Value dict, Part part) : dict_(std::move(dict)), part_(part) {}
  ~DictView() override { drain(); }
  void take_children(std::vector<Value>& out) override { out.push_back(std::move(dict_)); }
  std::string type_name() const override;
  std::string repr(Interp& interp) override;
  std::optional<int64_t> length(Interp& interp) override;
  bool iterable() const override { return true; }
  std::unique_ptr<Iter> iter(Interp& interp) override;
  const Value& dict() const { return dict_; }
  Part part() const { return part_; }

 private:
  Value dict_;
  Part part_;
};

// A function of C++ as a value; methods know what they belong to.
class Function final : public Object {
 public:
  using Native = Value (*)(Interp& interp, const Value& self, CallArgs& args);
  Function(std::string name, Native native, Value self, std::string type)
      : name_(std::move(name)), native_(native), self_(std::move(self)), type_(std::move(type)) {}
  ~Function() override { drain(); }
  void take_children(std::vector<Value>& out) override { out.push_back(std::move(self_)); }
  std::string type_name() const override { return type_; }
  std::string repr(Interp& interp) override;
  bool callable() const override { return true; }
  Value call(Interp& interp, CallArgs& args) override { return native_(interp, self_, args); }
  bool same(const Function& other) const {
    return name_ == other.name_ && native_ == other.native_ && self_.identical(other.self_);
  }

 private:
  std::string name_;
  Native native_;
  Value self_;
  std::string type_;
};

// Items of a reversed list, tuple, range or dict: one pass. `type` is Python's name of the iterator.
class ItemsIterator final : public Generator {
 public:
  ItemsIterator(std::vector<Value> items, std::string type) : items_(std::move(items)), type_(std::move(type)) {}
  ~ItemsIterator() override { drain(); }
  void take_children(std::vector<Value>& out) override {
    for (Value& item : items_) out.push_back(std::move(item));
    items_.clear();
  }
  std::string type_name() const override { return type_; }
  bool next(Interp& interp, Value& out) override;

 private:
  std::vector<Value> items_;
  size_t at_ = 0;
  std::string type_;
};

// A generator whose next value a function makes; `held` are the values that the function uses (for their destruction).
class LazyGenerator final : public Generator {
 public:
  using Next = std::function<bool(Interp& interp, LazyGenerator& self, Value& out)>;
  LazyGenerator(std::vector<Value> values, Next next) : held(std::move(values)), next_(std::move(next)) {}
  ~LazyGenerator() override { drain(); }
  void take_children(std::vector<Value>& out) override {
    for (Value& value : held) out.push_back(std::move(value));
    held.clear();
    if (source != nullptr) source->take_children(out);
  }
  bool next(Interp& interp, Value& out) override;
  std::vector<Value> held;
  std::unique_ptr<Iter> source;

 private:
  Next next_;
  bool finished_ = false, running_ = false;
};

class Cycler final : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  ~Cycler() override { drain(); }
  void take_children(std::vector<Value>& out) override {
    for (Value& item : items_) out.push_back(std::move(item));
    items_.clear();
  }
  std::string type_name() const override { return "Cycler"; }
  std::string type_label() const override { return "jinja2.utils.Cycler object"; }
  bool get_attr(Interp& interp, const std::string& name, Value& out) override;

 private:
  static Value next(Interp& interp, const Value& self, CallArgs& args);
  static Value reset(Interp& interp, const Value& self, CallArgs& args);
  std::vector<Value> items_;
  size_t at_ = 0;
};

class Joiner final : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  ~Joiner() override { drain(); }
  void take_children(std::vector<Value>& out) override { out.push_back(std::move(separator_)); }
  std::string type_name() const override { return "Joiner"; }
  std::string type_label() const override { return "jinja2.utils.Joiner object"; }
  bool get_attr(Interp& interp, const std::string& name, Value& out) override;
  bool callable() const override { return true; }
  Value call(Interp& interp, CallArgs& args) override;

 private:
  Value separator_;
  bool used_ = false;
};

// What str.encode() gives: it can be printed, measured and decoded again.
class Bytes final : public Object {
 public:
  explicit Bytes(std::string data) : data_(std::move(data)) {}
  std::string type_name() const override { return "bytes"; }
  std::string repr(Interp& interp) override;
  std::optional<int64_t> length(Interp& interp) override;
  bool get_attr(Interp& interp, const std::string& name, Value& out) override;
  bool get_item(Interp& interp, const Value& key, Value& out) override;
  bool iterable() const override { return true; }
  std::unique_ptr<Iter> iter(Interp& interp) override;
  const std::string& data() const { return data_; }

 private:
  std::string data_;
};

// `self` in a template: its blocks by name.
class TemplateReference final : public Object {
 public:
  std::string type_name() const override { return "TemplateReference"; }
  std::string type_label() const override { return "jinja2.runtime.TemplateReference object"; }
  std::string repr(Interp& interp) override;
  bool subscriptable() const override { return true; }
  bool get_item(Interp& interp, const Value& key, Value& out) override;
};

}  // namespace pagoda::jinja
