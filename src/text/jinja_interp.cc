// The interpreter: limits, making values, conversions to text, iteration.
#include "text/jinja_interp.h"

#include <cmath>

#include "base/utf8.h"
#include "text/jinja_objects.h"
#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace pagoda::jinja {

namespace {
constexpr int64_t kCheckEvery = 1 << 16;  // steps between looks at the clock
constexpr int64_t kLevelsPerDepth = 8;    // levels of evaluation a level of nesting may need
}  // namespace

void Frame::take_children(std::vector<Value>& out) {
  for (Value& slot : slots_) {
    if (slot.heap() != nullptr) out.push_back(std::move(slot));
    slot = Value::missing();
  }
  release(parent, out);
}

void release(std::shared_ptr<Frame>& frame, std::vector<Value>& out) {
  if (frame != nullptr && frame.use_count() == 1) frame->take_children(out);
  frame.reset();
}

Interp::Interp(const TemplateCode& code, const Value& context, const RenderOptions& options,
               std::vector<std::pair<size_t, size_t>>* spans)
    : code_(code),
      context_(context),
      options_(options),
      limits_(options.limits),
      spans_(spans),
      max_depth_(options.limits.max_depth * kLevelsPerDepth),
      start_(std::chrono::steady_clock::now()) {}

Interp::~Interp() {
  // Namespaces, frames and loops may hold each other in circles: they are emptied, so that all is freed.
  std::vector<Value> values;
  exported_.clear();
  for (const std::weak_ptr<Heap>& weak : watched_) {
    if (const std::shared_ptr<Heap> heap = weak.lock(); heap != nullptr) heap->take_children(values);
  }
  Sequence last(std::move(values));  // frees without recursion
}

void Interp::error(const char* type, std::string text) const { throw TemplateError(type, std::move(text), line_); }
void Interp::raise(std::string text) const { throw TemplateError("TemplateError", std::move(text), line_, true); }
void Interp::limit(std::string_view text) const { invalid("template", "line {}: {}", line_, text); }

void Interp::fail_undefined(const Value& value) {
  const UndefinedInfo* info = value.undefined_info();
  error(info->security ? "SecurityError" : "UndefinedError", info->message(*this));
}

size_t Interp::stack_used() const {
  const char* here = static_cast<const char*>(__builtin_frame_address(0));
  return static_cast<size_t>(here > stack_base_ ? here - stack_base_ : stack_base_ - here);
}

void Interp::too_deep() const {
  limit(fmt::format("recursion too deep: need at most {} levels (max_depth {})", max_depth_, limits_.max_depth));
}

void Interp::check_work() {
  if (steps_ > limits_.max_steps) limit(fmt::format("too many steps: need at most {} (max_steps)", limits_.max_steps));
  const auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start_).count();
  if (elapsed > limits_.max_milliseconds) {
    limit(fmt::format("took too long: got {} ms, need at most {} (max_milliseconds)", elapsed, limits_.max_milliseconds));
  }
  next_check_ = std::min(steps_ + kCheckEvery, limits_.max_steps + 1);
}

void Interp::check_size(size_t bytes) const {
  if (static_cast<int64_t>(std::min<uint64_t>(bytes, INT64_MAX)) > limits_.max_output_bytes) {
    limit(fmt::format("text too long: got {} bytes, need at most {} (max_output_bytes)", bytes, limits_.max_output_bytes));
  }
}

void Interp::charge(Heap& heap, int64_t bytes) {
  heap.charge(&budget_, bytes + 48);
  if (budget_.live > limits_.max_string_bytes) {
    limit(fmt::format("values hold too much memory: got {} bytes, need at most {} (max_string_bytes)", budget_.live,
                      limits_.max_string_bytes));
  }
}

void Interp::watch(const std::shared_ptr<Heap>& heap) {
  work(4);
  watched_.push_back(heap);
}

void Interp::watch_frame(Frame& frame) {
  if (frame.watched) return;
  frame.watched = true;
  watch(frame.shared_from_this());
}

Value Interp::str(std::string text, bool markup) {
  check_size(text.size());
  work_bytes(text.size());
  auto made = std::make_shared<Str>(std::move(text), markup);
  charge(*made, static_cast<int64_t>(sizeof(Str) + made->text.size()));
  return Value::of(std::move(made));
}

Value Interp::sequence(std::vector<Value> items, bool is_tuple) {
  work(static_cast<int64_t>(items.size()));
  auto made = std::make_shared<Sequence>(std::move(items));
  charge(*made, static_cast<int64_t>(sizeof(Sequence) + made->items.size() * sizeof(Value)));
  return Value::of(std::move(made), is_tuple);
}

Value Interp::dict(std::shared_ptr<Dict> dict) {
  work(static_cast<int64_t>(dict->size()));
  charge(*dict, static_cast<int64_t>(sizeof(Dict) + dict->size() * (sizeof(Dict::Entry) + 64)));
  return Value::of(std::move(dict));
}

Value Interp::undefined_hint(std::string hint) {
  auto info = std::make_shared<UndefinedInfo>();
  info->hint = std::move(hint);
  charge(*info, static_cast<int64_t>(sizeof(UndefinedInfo) + info->hint.size()));
  return Value::undefined(std::move(info));
}

Value Interp::undefined_name(std::string name) {
  auto info = std::make_shared<UndefinedInfo>();
  info->name = Value::string(std::move(name));
  charge(*info, static_cast<int64_t>(sizeof(UndefinedInfo)));
  return Value::undefined(std::move(info));
}

Value Interp::undefined_of(const Value& owner, const Value& name) {
  auto info = std::make_shared<UndefinedInfo>();
  info->owner = type_label(owner);
  info->name = name;
  charge(*info, static_cast<int64_t>(sizeof(UndefinedInfo)));
  return Value::undefined(std::move(info));
}

Value Interp::unsafe(const Value& owner, const std::string& name) {
  Value value = undefined_hint("access to attribute " + repr(str(name)) + " of " + repr(str(jinja::type_name(owner))) +
                               " object is unsafe.");
  const_cast<UndefinedInfo*>(value.undefined_info())->security = true;  // NOLINT: just made here
  return value;
}

namespace {

void repr_text(const std::string& text, std::string& out) {
  const bool use_double = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = use_double ? '"' : '\'';
  out.push_back(quote);
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const uint32_t code = utf8_next(text, i);
    if (code == static_cast<uint32_t>(quote) || code == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(code));
    } else if (code == '\n') {
      out += "\\n";
    } else if (code == '\r') {
      out += "\\r";
    } else if (code == '\t') {
      out += "\\t";
    } else if (code < 0x20 || code == 0x7F) {
      out += fmt::format("\\x{:02x}", code);
    } else if (code < 0x7F || is_printable(code)) {
      out.append(text, start, i - start);
    } else if (code < 0x100) {
      out += fmt::format("\\x{:02x}", code);
    } else if (code < 0x10000) {
      out += fmt::format("\\u{:04x}", code);
    } else {
      out += fmt::format("\\U{:08x}", code);
    }
  }
  out.push_back(quote);
}

class Repr {
 public:
  Repr(Interp& interp, std::string& out) : interp_(interp), out_(out) {}

  void value(const Value& value) {
    interp_.work(1);
    switch (value.kind()) {
      case Kind::kMissing: out_ += "missing"; return;
      case Kind::kUndefined: out_ += "Undefined"; return;
      case Kind::kNone: out_ += "None"; return;
      case Kind::kBool: out_ += value.as_bool() ? "True" : "False"; return;
      case Kind::kInt: out_ += std::to_string(value.as_int()); return;
      case Kind::kFloat: out_ += python_float_repr(value.as_double()); return;
      case Kind::kString:
        if (value.is_markup()) out_ += "Markup(";
        interp_.work_bytes(value.text().size());
        repr_text(value.text(), out_);
        if (value.is_markup()) out_.push_back(')');
        break;
      case Kind::kList: sequence(value, '[', ']'); break;
      case Kind::kTuple: sequence(value, '(', ')'); break;
      case Kind::kDict: dict(value.dict()); break;
      case Kind::kObject: {
        const Interp::Guard guard(interp_);
        out_ += value.object().repr(interp_);
        break;
      }
    }
    interp_.check_size(out_.size());
  }

 private:
  void sequence(const Value& sequence, char open, char close) {
    const Interp::Guard guard(interp_);
    out_.push_back(open);
    const auto& items = sequence.items();
    for (size_t i = 0; i < items.size(); ++i) {
      if (i != 0) out_ += ", ";
      value(items[i]);
    }
    if (close == ')' && items.size() == 1) out_.push_back(',');
    out_.push_back(close);
  }
  void dict(const Dict& dict) {
    const Interp::Guard guard(interp_);
    out_.push_back('{');
    bool first = true;
    for (const auto& [key, item] : dict.entries()) {
      if (!first) out_ += ", ";
      first = false;
      value(key);
      out_ += ": ";
      value(item);
    }
    out_.push_back('}');
  }

  Interp& interp_;
  std::string& out_;
};

}  // namespace

std::string Interp::repr(const Value& value) {
  std::string out;
  Repr(*this, out).value(value);
  return out;
}

std::string Interp::to_text(const Value& value) {
  if (value.is_string()) return value.text();
  if (value.is_undefined()) return {};
  return repr(value);
}

bool Interp::objects_equal(const Value& a, const Value& b) {
  if (a.heap() == b.heap()) return true;
  if (const auto *left = a.object_as<Range>(), *right = b.object_as<Range>(); left != nullptr && right != nullptr) {
    const int64_t count = left->count();
    if (count != right->count()) return false;
    return count == 0 || (left->start == right->start && (count == 1 || left->step == right->step));
  }
  if (const auto *left = a.object_as<Bytes>(), *right = b.object_as<Bytes>(); left != nullptr && right != nullptr) {
    return left->data() == right->data();
  }
  if (const auto *left = a.object_as<Function>(), *right = b.object_as<Function>(); left != nullptr && right != nullptr) {
    return left->same(*right);
  }
  if (const auto *left = a.object_as<DictView>(), *right = b.object_as<DictView>(); left != nullptr && right != nullptr) {
    if (left->part() == DictView::Part::kValues || right->part() == DictView::Part::kValues) return false;
    const std::vector<Value> items = collect(a);
    if (static_cast<int64_t>(items.size()) != length(b).value_or(-1)) return false;
    for (const Value& item : items) {
      if (!contains(*this, b, item)) return false;
    }
    return true;
  }
  return false;
}

void Interp::check_key(const Value& key) const {
  if (hash_value(key).has_value()) return;
  // A tuple names the part that cannot be hashed.
  const Value* culprit = &key;
  while (culprit->is_tuple()) {
    const Value* inner = nullptr;
    for (const Value& item : culprit->items()) {
      if (!hash_value(item).has_value()) {
        inner = &item;
        break;
      }
    }
    if (inner == nullptr) break;
    culprit = inner;
  }
  type_error("unhashable type: '" + jinja::type_name(*culprit) + "'");
}

namespace {

class TextIter final : public Iter {
 public:
  explicit TextIter(Value text) : text_(std::move(text)) {}
  bool next(Interp& interp, Value& out) override {
    const std::string& text = text_.text();
    if (at_ >= text.size()) return false;
    const size_t start = at_;
    utf8_next(text, at_);
    out = interp.str(text.substr(start, at_ - start));
    return true;
  }
  void take_children(std::vector<Value>& out) override { out.push_back(std::move(text_)); }

 private:
  Value text_;
  size_t at_ = 0;
};

class SequenceIter final : public Iter {
 public:
  explicit SequenceIter(Value sequence) : sequence_(std::move(sequence)) {}
  bool next(Interp& interp, Value& out) override {
    interp.work(1);
    if (at_ >= sequence_.items().size()) return false;
    out = sequence_.items()[at_++];
    return true;
  }
  void take_children(std::vector<Value>& out) override {
    out.push_back(std::move(sequence_));
    sequence_ = Value::list({});
  }

 private:
  Value sequence_;
  size_t at_ = 0;
};

class DictIter final : public Iter {
 public:
  explicit DictIter(Value dict) : dict_(std::move(dict)) {}
  bool next(Interp& interp, Value& out) override {
    interp.work(1);
    if (at_ >= dict_.dict().size()) return false;
    out = dict_.dict().entries()[at_++].first;
    return true;
  }
  void take_children(std::vector<Value>& out) override { out.push_back(std::move(dict_)); }

 private:
  Value dict_;
  size_t at_ = 0;
};

class EmptyIter final : public Iter {
 public:
  bool next(Interp&, Value&) override { return false; }
};

}  // namespace

bool Interp::iterable(const Value& value) const {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict: return true;
    case Kind::kObject: return value.object().iterable();
    default: return false;
  }
}

std::unique_ptr<Iter> Interp::iter(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      if (value.undefined_info()->security) break;
      return std::make_unique<EmptyIter>();
    case Kind::kString: return std::make_unique<TextIter>(value);
    case Kind::kList:
    case Kind::kTuple: return std::make_unique<SequenceIter>(value);
    case Kind::kDict: return std::make_unique<DictIter>(value);
    case Kind::kObject:
      if (auto made = value.object().iter(*this); made != nullptr) return made;
      break;
    default: break;
  }
  if (value.is_undefined()) return std::make_unique<EmptyIter>();
  type_error("'" + jinja::type_name(value) + "' object is not iterable");
}

std::vector<Value> Interp::collect(const Value& value) {
  if (value.is_list() || value.is_tuple()) {
    work(static_cast<int64_t>(value.items().size()));
    return value.items();
  }
  std::vector<Value> items;
  const std::unique_ptr<Iter> source = iter(value);
  for (Value item; source->next(*this, item);) {
    if (static_cast<int64_t>(items.size()) >= limits_.max_items) {
      limit(fmt::format("list too long: need at most {} items (max_items)", limits_.max_items));
    }
    items.push_back(std::move(item));
  }
  return items;
}

std::optional<int64_t> Interp::length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return 0;
    case Kind::kString: return static_cast<int64_t>(value.str().length);
    case Kind::kList:
    case Kind::kTuple: return static_cast<int64_t>(value.items().size());
    case Kind::kDict: return static_cast<int64_t>(value.dict().size());
    case Kind::kObject: return value.object().length(*this);
    default: return std::nullopt;
  }
}

bool Interp::callable(const Value& value) const {
  return value.is_undefined() || (value.is_object() && value.object().callable());
}

Value Interp::call(const Value& callee, CallArgs& args) {
  if (callee.is_undefined()) fail_undefined(callee);
  if (!callable(callee)) type_error("'" + jinja::type_name(callee) + "' object is not callable");
  const Guard guard(*this);
  return callee.object().call(*this, args);
}

Value Interp::get_attr(const Value& owner, const std::string& name) {
  if (owner.is_undefined()) {
    if (unsafe_attribute(owner, name)) return unsafe(owner, name);
    fail_undefined(owner);
  }
  if (owner.is_dict()) {
    // Most attributes are keys: only names that dict itself has come first.
    Value method;
    if (unsafe_attribute(owner, name)) return unsafe(owner, name);
    if (type_attribute(*this, owner, name, method)) return method;
    if (const Value* found = owner.dict().find(std::string_view(name)); found != nullptr) return *found;
    return undefined_of(owner, str(name));
  }
  Value found;
  if (unsafe_attribute(owner, name)) return unsafe(owner, name);
  if (type_attribute(*this, owner, name, found)) return found;
  if (owner.is_object() && owner.object().subscriptable() && owner.object().get_item(*this, str(name), found)) return found;
  return undefined_of(owner, str(name));
}

Value Interp::get_item(const Value& owner, const Value& key) {
  if (owner.is_undefined()) fail_undefined(owner);
  Value found;
  switch (owner.kind()) {
    case Kind::kDict:
      if (hash_value(key).has_value()) {
        if (const Value* item = owner.dict().find(key); item != nullptr) return *item;
      }
      break;
    case Kind::kList:
    case Kind::kTuple:
      if (key.is_integral()) {
        const auto& items = owner.items();
        int64_t index = key.as_int();
        if (index < 0) index += static_cast<int64_t>(items.size());
        if (index >= 0 && index < static_cast<int64_t>(items.size())) return items[static_cast<size_t>(index)];
      }
      break;
    case Kind::kString:
      if (key.is_integral()) {
        const Str& text = owner.str();
        int64_t index = key.as_int();
        if (index < 0) index += static_cast<int64_t>(text.length);
        if (index >= 0 && index < static_cast<int64_t>(text.length)) {
          work_bytes(text.ascii() ? 0 : text.text.size());
          return str(slice_text(text, static_cast<size_t>(index), static_cast<size_t>(index) + 1), text.markup);
        }
      }
      break;
    case Kind::kObject:
      if (owner.object().get_item(*this, key, found)) return found;
      break;
    default: break;
  }
  if (key.is_string()) {
    const std::string& name = key.text();
    if (unsafe_attribute(owner, name)) return unsafe(owner, name);
    if (type_attribute(*this, owner, name, found)) return found;
  }
  return undefined_of(owner, key);
}

namespace {

struct SliceBounds {
  int64_t start, stop, step, count;
};

SliceBounds slice_bounds(Interp& interp, int64_t length, const Value& start, const Value& stop, const Value& step) {
  const auto number = [&](const Value& value, int64_t fallback) {
    if (value.is_none()) return fallback;
    if (!value.is_integral()) {
      interp.type_error("slice indices must be integers or None or have an __index__ method");
    }
    return value.as_int();
  };
  SliceBounds bounds{};
  bounds.step = std::max<int64_t>(number(step, 1), -INT64_MAX);
  if (bounds.step == 0) interp.value_error("slice step cannot be zero");
  const bool forward = bounds.step > 0;
  const int64_t low = forward ? 0 : -1;
  const int64_t high = forward ? length : length - 1;
  const auto clamp = [&](int64_t value) {
    if (value < 0) value = value < -length ? -1 - length + length : value + length;
    return std::min(std::max(value, low), high);
  };
  bounds.start = start.is_none() ? (forward ? low : high) : clamp(number(start, 0));
  bounds.stop = stop.is_none() ? (forward ? high : low) : clamp(number(stop, 0));
  if (forward) {
    bounds.count = bounds.stop > bounds.start ? (bounds.stop - bounds.start - 1) / bounds.step + 1 : 0;
  } else {
    bounds.count = bounds.start > bounds.stop ? (bounds.start - bounds.stop - 1) / -bounds.step + 1 : 0;
  }
  return bounds;
}

}  // namespace

Value Interp::get_slice(const Value& owner, const Value& start, const Value& stop, const Value& step) {
  switch (owner.kind()) {
    case Kind::kUndefined: fail_undefined(owner);
    case Kind::kDict: type_error("unhashable type: 'slice'");
    case Kind::kString: {
      const Str& text = owner.str();
      const SliceBounds bounds = slice_bounds(*this, static_cast<int64_t>(text.length), start, stop, step);
      work_bytes(text.text.size());
      if (bounds.count == 0) return str({}, text.markup);
      if (bounds.step == 1) {
        return str(slice_text(text, static_cast<size_t>(bounds.start), static_cast<size_t>(bounds.stop)), text.markup);
      }
      std::vector<size_t> offsets;  // of the code points, where they are not the bytes
      if (!text.ascii()) {
        offsets.reserve(text.length + 1);
        for (size_t i = 0; i < text.text.size(); utf8_next(text.text, i)) offsets.push_back(i);
        offsets.push_back(text.text.size());
      }
      std::string out;
      for (int64_t i = 0; i < bounds.count; ++i) {
        work(1);
        const auto at = static_cast<size_t>(bounds.start + i * bounds.step);
        if (offsets.empty()) {
          out.push_back(text.text[at]);
        } else {
          out.append(text.text, offsets[at], offsets[at + 1] - offsets[at]);
        }
      }
      return str(std::move(out), text.markup);
    }
    case Kind::kList:
    case Kind::kTuple: {
      const auto& items = owner.items();
      const SliceBounds bounds = slice_bounds(*this, static_cast<int64_t>(items.size()), start, stop, step);
      std::vector<Value> out;
      out.reserve(static_cast<size_t>(bounds.count));
      for (int64_t i = 0; i < bounds.count; ++i) out.push_back(items[static_cast<size_t>(bounds.start + i * bounds.step)]);
      return sequence(std::move(out), owner.is_tuple());
    }
    case Kind::kObject:
      if (const auto* range = owner.object_as<Range>(); range != nullptr) {
        const SliceBounds bounds = slice_bounds(*this, range->count(), start, stop, step);
        int64_t by;
        if (__builtin_mul_overflow(range->step, bounds.step, &by)) overflow();
        return object<Range>(range->at(bounds.start), range->at(bounds.stop), by);
      }
      break;
    default: break;
  }
  type_error("'" + jinja::type_name(owner) + "' object is not subscriptable");
}

}  // namespace pagoda::jinja
