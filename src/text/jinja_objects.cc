// The objects that templates meet.
#include "text/jinja_objects.h"

#include <algorithm>

#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"

namespace pagoda::jinja {

// --- Namespace

void Namespace::take_children(std::vector<Value>& out) {
  out.push_back(Value::of(std::move(attributes_)));
  attributes_ = std::make_shared<Dict>();
}

std::string Namespace::repr(Interp& interp) {
  if (shown_) return "<Namespace {...}>";
  shown_ = true;
  std::string text;
  try {
    text = "<Namespace " + interp.repr(Value::of(attributes_)) + ">";
  } catch (...) {
    shown_ = false;
    throw;
  }
  shown_ = false;
  return text;
}

bool Namespace::get_attr(Interp& interp, const std::string& name, Value& out) {
  (void)interp;
  const Value* found = attributes_->find(std::string_view(name));
  if (found != nullptr) out = *found;
  return found != nullptr;
}

void Namespace::set(Interp& interp, const Value& name, Value value) {
  if (name.is_string() && !name.text().empty() && name.text()[0] == '_') {
    interp.error("SecurityError", "Chat templates cannot store underscore-prefixed attributes on a namespace, but got " +
                                      interp.repr(name) + ". Please rename the attribute.");
  }
  attributes_->set(name, std::move(value));
}

// --- Macro

std::string Macro::repr(Interp& interp) {
  if (stmt_.kind == StmtKind::kCallBlock) return "<Macro anonymous>";
  return "<Macro " + interp.repr(interp.str(stmt_.text)) + ">";
}

bool Macro::get_attr(Interp& interp, const std::string& name, Value& out) {
  const FunctionCode& code = *stmt_.function;
  if (name == "name") {
    out = stmt_.kind == StmtKind::kCallBlock ? Value::none() : interp.str(stmt_.text);
  } else if (name == "arguments") {
    std::vector<Value> names;
    for (const ExprPtr& parameter : stmt_.parameters) names.push_back(interp.str(parameter->name));
    out = interp.tuple(std::move(names));
  } else if (name == "catch_kwargs") {
    out = Value::boolean(code.kwargs_slot >= 0);
  } else if (name == "catch_varargs") {
    out = Value::boolean(code.varargs_slot >= 0);
  } else if (name == "caller") {
    out = Value::boolean(code.caller_slot >= 0 || code.explicit_caller_used);
  } else if (name == "explicit_caller") {
    out = Value::boolean(code.explicit_caller);
  } else {
    return false;
  }
  return true;
}

Value Macro::call(Interp& interp, CallArgs& args) {
  const FunctionCode& code = *stmt_.function;
  const std::string label = stmt_.kind == StmtKind::kCallBlock ? "None" : interp.repr(interp.str(stmt_.text));
  const size_t count = stmt_.parameters.size();
  const auto take_keyword = [&](const std::string& name) {
    for (size_t i = 0; i < args.keywords.size(); ++i) {
      if (args.keywords[i].first != name) continue;
      Value value = std::move(args.keywords[i].second);
      args.keywords.erase(args.keywords.begin() + static_cast<ptrdiff_t>(i));
      return value;
    }
    return Value::missing();
  };

  std::vector<Value> arguments;
  for (size_t i = 0; i < count; ++i) {
    if (i < args.positional.size()) {
      arguments.push_back(args.positional[i]);
    } else {
      arguments.push_back(take_keyword(stmt_.parameters[i]->name));
    }
  }
  Value caller = Value::missing();
  if (code.caller_slot >= 0) {
    caller = take_keyword("caller");
    if (caller.is_missing() || caller.is_none()) caller = interp.undefined_hint("No caller defined");
  }
  Value kwargs;
  if (code.kwargs_slot >= 0) {
    auto rest = std::make_shared<Dict>();
    for (auto& [name, value] : args.keywords) rest->set(interp.str(name), std::move(value));
    kwargs = interp.dict(std::move(rest));
  } else if (!args.keywords.empty()) {
    for (const auto& keyword : args.keywords) {
      if (keyword.first == "caller") {
        interp.type_error("macro " + label +
                          " was invoked with two values for the special caller argument. This is most likely a bug.");
      }
    }
    interp.type_error("macro " + label + " takes no keyword argument " + interp.repr(interp.str(args.keywords.front().first)));
  }
  Value varargs;
  if (code.varargs_slot >= 0) {
    std::vector<Value> rest;
    for (size_t i = count; i < args.positional.size(); ++i) rest.push_back(args.positional[i]);
    varargs = interp.tuple(std::move(rest));
  } else if (args.positional.size() > count) {
    interp.type_error(fmt::format("macro {} takes not more than {} argument(s)", label, count));
  }
  return interp.call_macro(stmt_, closure_, std::move(arguments), std::move(caller), std::move(kwargs), std::move(varargs));
}

// --- LoopContext

void LoopContext::take_children(std::vector<Value>& out) {
  for (Value* value : {&iterable_, &after_, &current_, &before_, &last_changed_}) out.push_back(std::move(*value));
  if (iter_ != nullptr) iter_->take_children(out);
  iter_.reset();
  release(closure_, out);
}

bool LoopContext::next(Interp& interp, Value& out) {
  if (iter_ == nullptr) return false;
  Value value;
  if (!after_.is_missing()) {
    value = std::move(after_);
    after_ = Value::missing();
  } else if (!iter_->next(interp, value)) {
    return false;
  }
  ++index0_;
  before_ = std::move(current_);
  current_ = value;
  out = std::move(value);
  return true;
}

bool LoopContext::peek(Interp& interp) {
  if (!after_.is_missing()) return true;
  Value value;
  if (iter_ == nullptr || !iter_->next(interp, value)) return false;
  after_ = std::move(value);
  return true;
}

std::optional<int64_t> LoopContext::length(Interp& interp) {
  if (!length_.has_value()) length_ = interp.length(iterable_);
  if (!length_.has_value()) {
    std::vector<Value> rest;
    for (Value value; iter_ != nullptr && iter_->next(interp, value);) rest.push_back(std::move(value));
    length_ = static_cast<int64_t>(rest.size()) + index0_ + 1 + (after_.is_missing() ? 0 : 1);
    iter_ = interp.iter(interp.list(std::move(rest)));
  }
  return length_;
}

std::string LoopContext::repr(Interp& interp) { return fmt::format("<LoopContext {}/{}>", index0_ + 1, *length(interp)); }

bool LoopContext::get_attr(Interp& interp, const std::string& name, Value& out) {
  if (name == "index0") {
    out = Value::integer(index0_);
  } else if (name == "index") {
    out = Value::integer(index0_ + 1);
  } else if (name == "first") {
    out = Value::boolean(index0_ == 0);
  } else if (name == "last") {
    out = Value::boolean(!peek(interp));
  } else if (name == "length") {
    out = Value::integer(*length(interp));
  } else if (name == "revindex") {
    out = Value::integer(*length(interp) - index0_);
  } else if (name == "revindex0") {
    out = Value::integer(*length(interp) - index0_ - 1);
  } else if (name == "depth") {
    out = Value::integer(depth0_ + 1);
  } else if (name == "depth0") {
    out = Value::integer(depth0_);
  } else if (name == "previtem") {
    out = index0_ == 0 ? interp.undefined_hint("there is no previous item") : before_;
  } else if (name == "nextitem") {
    out = peek(interp) ? after_ : interp.undefined_hint("there is no next item");
  } else if (name == "cycle") {
    out = make_function(interp, "cycle", &LoopContext::cycle, Value::of(shared_from_this()), "method");
  } else if (name == "changed") {
    out = make_function(interp, "changed", &LoopContext::changed, Value::of(shared_from_this()), "method");
  } else {
    return false;
  }
  return true;
}

Value LoopContext::cycle(Interp& interp, const Value& self, CallArgs& args) {
  if (!args.keywords.empty()) {
    interp.type_error("LoopContext.cycle() got an unexpected keyword argument '" + args.keywords.front().first + "'");
  }
  if (args.positional.empty()) interp.type_error("no items for cycling given");
  const auto& loop = static_cast<const LoopContext&>(self.object());
  const auto count = static_cast<int64_t>(args.positional.size());
  return args.positional[static_cast<size_t>(((loop.index0_ % count) + count) % count)];
}

Value LoopContext::changed(Interp& interp, const Value& self, CallArgs& args) {
  if (!args.keywords.empty()) {
    interp.type_error("LoopContext.changed() got an unexpected keyword argument '" + args.keywords.front().first + "'");
  }
  auto& loop = static_cast<LoopContext&>(self.object());
  Value value = interp.tuple(std::move(args.positional));
  if (!loop.last_changed_.is_missing() && equal(interp, loop.last_changed_, value)) return Value::boolean(false);
  loop.last_changed_ = std::move(value);
  return Value::boolean(true);
}

namespace {
class LoopIter final : public Iter {
 public:
  explicit LoopIter(Value loop) : loop_(std::move(loop)) {}
  bool next(Interp& interp, Value& out) override {
    Value item;
    if (!static_cast<LoopContext&>(loop_.object()).next(interp, item)) return false;
    out = interp.tuple({std::move(item), loop_});
    return true;
  }
  void take_children(std::vector<Value>& out) override { out.push_back(std::move(loop_)); }

 private:
  Value loop_;
};
}  // namespace

std::unique_ptr<Iter> LoopContext::iter(Interp& interp) {
  (void)interp;
  return std::make_unique<LoopIter>(Value::of(shared_from_this()));
}

Value LoopContext::call(Interp& interp, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"LoopContext.__call__", {"iterable"}, 1, 1}, args);
  if (recursive_ == nullptr || closure_ == nullptr) {
    interp.type_error("The loop must have the 'recursive' marker to be called recursively.");
  }
  return interp.call_loop(*recursive_, closure_, bound[0], depth0_ + 1);
}

// --- Range

int64_t Range::count() const {
  // Computed without overflow: the distance of two int64 needs 65 bits.
  const auto distance = static_cast<__int128>(stop) - start;
  if (step > 0) return distance > 0 ? static_cast<int64_t>((distance - 1) / step + 1) : 0;
  return distance < 0 ? static_cast<int64_t>((distance + 1) / step + 1) : 0;
}

int64_t Range::at(int64_t index) const {
  const auto value = static_cast<__int128>(start) + static_cast<__int128>(index) * step;
  return static_cast<int64_t>(std::clamp<__int128>(value, INT64_MIN, INT64_MAX));
}

std::string Range::repr(Interp& interp) {
  (void)interp;
  return step == 1 ? fmt::format("range({}, {})", start, stop) : fmt::format("range({}, {}, {})", start, stop, step);
}
std::optional<int64_t> Range::length(Interp& interp) {
  (void)interp;
  return count();
}

bool Range::get_attr(Interp& interp, const std::string& name, Value& out) {
  if (name == "start") {
    out = Value::integer(start);
  } else if (name == "stop") {
    out = Value::integer(stop);
  } else if (name == "step") {
    out = Value::integer(step);
  } else if (name == "count" || name == "index") {
    const bool is_count = name == "count";
    out = make_function(
        interp, name,
        is_count ? +[](Interp& in, const Value& self, CallArgs& args) {
          const std::vector<Value> bound = bind(in, {"range.count", {"value"}, 1, 0}, args);
          return Value::integer(contains(in, self, bound[0]) ? 1 : 0);
        }
                 : +[](Interp& in, const Value& self, CallArgs& args) {
          const std::vector<Value> bound = bind(in, {"range.index", {"value"}, 1, 0}, args);
          if (!contains(in, self, bound[0])) in.value_error(in.repr(bound[0]) + " is not in range");
          const auto& range = static_cast<const Range&>(self.object());
          const int64_t wanted = bound[0].is_float() ? static_cast<int64_t>(bound[0].as_double()) : bound[0].as_int();
          return Value::integer(static_cast<int64_t>((static_cast<__int128>(wanted) - range.start) / range.step));
        },
        Value::of(shared_from_this()));
  } else {
    return false;
  }
  return true;
}

bool Range::get_item(Interp& interp, const Value& key, Value& out) {
  (void)interp;
  if (!key.is_integral()) return false;
  int64_t index = key.as_int();
  if (index < 0) index += count();
  if (index < 0 || index >= count()) return false;
  out = Value::integer(at(index));
  return true;
}

namespace {
class RangeIter final : public Iter {
 public:
  explicit RangeIter(std::shared_ptr<const Object> range)
      : range_(std::move(range)), count_(static_cast<const Range&>(*range_).count()) {}
  bool next(Interp& interp, Value& out) override {
    interp.work(1);
    if (at_ >= count_) return false;
    out = Value::integer(static_cast<const Range&>(*range_).at(at_++));
    return true;
  }

 private:
  std::shared_ptr<const Object> range_;
  int64_t at_ = 0, count_;
};
}  // namespace

std::unique_ptr<Iter> Range::iter(Interp& interp) {
  (void)interp;
  return std::make_unique<RangeIter>(shared_from_this());
}

// --- DictView

std::string DictView::type_name() const {
  return part_ == Part::kKeys ? "dict_keys" : part_ == Part::kValues ? "dict_values" : "dict_items";
}

std::string DictView::repr(Interp& interp) {
  return type_name() + "(" + interp.repr(interp.list(interp.collect(Value::of(shared_from_this())))) + ")";
}

std::optional<int64_t> DictView::length(Interp& interp) {
  (void)interp;
  return static_cast<int64_t>(dict_.dict().size());
}

namespace {
class ViewIter final : public Iter {
 public:
  ViewIter(Value dict, DictView::Part part) : dict_(std::move(dict)), part_(part) {}
  bool next(Interp& interp, Value& out) override {
    interp.work(1);
    if (at_ >= dict_.dict().size()) return false;
    const Dict::Entry& entry = dict_.dict().entries()[at_++];
    switch (part_) {
      case DictView::Part::kKeys: out = entry.first; break;
      case DictView::Part::kValues: out = entry.second; break;
      case DictView::Part::kItems: out = interp.tuple({entry.first, entry.second}); break;
    }
    return true;
  }
  void take_children(std::vector<Value>& out) override { out.push_back(std::move(dict_)); }

 private:
  Value dict_;
  DictView::Part part_;
  size_t at_ = 0;
};
}  // namespace

std::unique_ptr<Iter> DictView::iter(Interp& interp) {
  (void)interp;
  return std::make_unique<ViewIter>(dict_, part_);
}

// --- Function, iterators

std::string Function::repr(Interp& interp) {
  (void)interp;
  if (type_ == "type") {
    if (name_ == "namespace") {
      return "<class 'transformers.utils.chat_template_utils._cached_compile_jinja_template.<locals>.TemplateNamespace'>";
    }
    return "<class 'jinja2.utils." + std::string(name_ == "cycler" ? "Cycler" : "Joiner") + "'>";
  }
  return (type_ == "builtin_function_or_method" ? "<built-in method " : "<function ") + name_ + ">";
}

bool ItemsIterator::next(Interp& interp, Value& out) {
  interp.work(1);
  if (at_ >= items_.size()) return false;
  out = items_[at_++];
  return true;
}

bool LazyGenerator::next(Interp& interp, Value& out) {
  if (running_) interp.value_error("generator already executing");
  if (finished_) return false;
  interp.work(1);
  const Interp::Guard guard(interp);
  running_ = true;
  bool more = false;
  try {
    more = next_(interp, *this, out);
  } catch (...) {
    running_ = false;
    finished_ = true;
    throw;
  }
  running_ = false;
  finished_ = !more;
  return more;
}

// --- Cycler, Joiner, TemplateReference

bool Cycler::get_attr(Interp& interp, const std::string& name, Value& out) {
  if (name == "current") {
    out = items_[at_];
  } else if (name == "items") {
    out = interp.tuple(items_);
  } else if (name == "pos") {
    out = Value::integer(static_cast<int64_t>(at_));
  } else if (name == "next") {
    out = make_function(interp, "next", &Cycler::next, Value::of(shared_from_this()), "method");
  } else if (name == "reset") {
    out = make_function(interp, "reset", &Cycler::reset, Value::of(shared_from_this()), "method");
  } else {
    return false;
  }
  return true;
}

Value Cycler::next(Interp& interp, const Value& self, CallArgs& args) {
  bind(interp, {"Cycler.next", {}, 0, 1}, args);
  auto& cycler = static_cast<Cycler&>(self.object());
  Value current = cycler.items_[cycler.at_];
  cycler.at_ = (cycler.at_ + 1) % cycler.items_.size();
  return current;
}

Value Cycler::reset(Interp& interp, const Value& self, CallArgs& args) {
  bind(interp, {"Cycler.reset", {}, 0, 1}, args);
  static_cast<Cycler&>(self.object()).at_ = 0;
  return Value::none();
}

bool Joiner::get_attr(Interp& interp, const std::string& name, Value& out) {
  (void)interp;
  if (name == "sep") {
    out = separator_;
  } else if (name == "used") {
    out = Value::boolean(used_);
  } else {
    return false;
  }
  return true;
}

Value Joiner::call(Interp& interp, CallArgs& args) {
  bind(interp, {"Joiner.__call__", {}, 0, 1}, args);
  if (used_) return separator_;
  used_ = true;
  return interp.str({});
}

// --- Bytes

std::string Bytes::repr(Interp& interp) {
  interp.work_bytes(data_.size());
  interp.check_size(data_.size() * 4);
  const bool use_double = data_.find('\'') != std::string::npos && data_.find('"') == std::string::npos;
  const char quote = use_double ? '"' : '\'';
  std::string out = std::string("b") + quote;
  for (const char c : data_) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\t' || c == '\n' || c == '\r') {
      out += c == '\t' ? "\\t" : c == '\n' ? "\\n" : "\\r";
    } else if (byte < 0x20 || byte >= 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out.push_back(c);
    }
  }
  return out + quote;
}

std::optional<int64_t> Bytes::length(Interp& interp) {
  (void)interp;
  return static_cast<int64_t>(data_.size());
}

bool Bytes::get_attr(Interp& interp, const std::string& name, Value& out) {
  if (name != "decode") return false;
  out = make_function(
      interp, name,
      +[](Interp& in, const Value& self, CallArgs& args) {
        bind(in, {"decode", {"encoding", "errors"}, 0, 0}, args);
        return in.str(static_cast<const Bytes&>(self.object()).data());
      },
      Value::of(shared_from_this()));
  return true;
}

bool Bytes::get_item(Interp& interp, const Value& key, Value& out) {
  (void)interp;
  if (!key.is_integral()) return false;
  int64_t index = key.as_int();
  if (index < 0) index += static_cast<int64_t>(data_.size());
  if (index < 0 || index >= static_cast<int64_t>(data_.size())) return false;
  out = Value::integer(static_cast<unsigned char>(data_[static_cast<size_t>(index)]));
  return true;
}

std::unique_ptr<Iter> Bytes::iter(Interp& interp) {
  std::vector<Value> items;
  for (const char c : data_) items.push_back(Value::integer(static_cast<unsigned char>(c)));
  return interp.iter(interp.list(std::move(items)));
}

std::string TemplateReference::repr(Interp& interp) {
  (void)interp;
  return "<TemplateReference None>";
}

bool TemplateReference::get_item(Interp& interp, const Value& key, Value& out) {
  if (!key.is_string()) return false;
  if (interp.code().block(key.text()) == nullptr) return false;
  out = make_function(
      interp, key.text(),
      +[](Interp& in, const Value& name, CallArgs&) {
        const TemplateCode::NamedBlock* const block = in.code().block(name.text());
        return block == nullptr ? Value::none() : in.call_block(*block);
      },
      key, "BlockReference");
  return true;
}

}  // namespace pagoda::jinja
