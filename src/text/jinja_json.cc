// tojson: Python's json.dumps of values.
#include <cmath>

#include "base/json.h"
#include "text/jinja_objects.h"
#include "text/jinja_ops.h"

namespace pagoda::jinja {

namespace {

std::string number_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return python_float_repr(value);
}

class Dumper {
 public:
  Dumper(Interp& interp, bool ensure_ascii, const Value& indent, const Value& separators, bool sort_keys)
      : interp_(interp), ensure_ascii_(ensure_ascii), sort_keys_(sort_keys), pretty_(!indent.is_none()) {
    if (indent.is_string()) {
      indent_ = indent.text();
    } else if (pretty_) {
      const int64_t width = indent.is_undefined() ? 0 : as_index(interp, indent);
      interp.check_size(static_cast<size_t>(std::max<int64_t>(width, 0)));
      indent_.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
    if (!separators.is_none()) {
      if (!interp.iterable(separators)) {
        interp.type_error("cannot unpack non-iterable " + type_name(separators) + " object");
      }
      const std::vector<Value> parts = interp.collect(separators);
      if (parts.size() > 2) interp.value_error("too many values to unpack (expected 2)");
      if (parts.size() < 2) {
        interp.value_error(fmt::format("not enough values to unpack (expected 2, got {})", parts.size()));
      }
      if (!parts[0].is_string() || !parts[1].is_string()) interp.type_error("separators must be strings");
      item_separator_ = parts[0].text();
      key_separator_ = parts[1].text();
    } else if (pretty_) {
      item_separator_ = ",";
    }
  }

  std::string run(const Value& value) {
    dump(value);
    return std::move(out_);
  }

 private:
  void dump(const Value& value) {
    interp_.work(1);
    switch (value.kind()) {
      case Kind::kNone: out_ += "null"; break;
      case Kind::kBool: out_ += value.as_bool() ? "true" : "false"; break;
      case Kind::kInt: out_ += std::to_string(value.as_int()); break;
      case Kind::kFloat: out_ += number_text(value.as_double()); break;
      case Kind::kString: text(value.text()); break;
      case Kind::kList:
      case Kind::kTuple: list(value.items()); break;
      case Kind::kDict: dict(value.dict()); break;
      default: interp_.type_error("Object of type " + type_name(value) + " is not JSON serializable");
    }
    interp_.check_size(out_.size());
  }

  void text(const std::string& value) {
    interp_.work_bytes(value.size());
    const size_t start = out_.size();
    append_json_string(out_, value, ensure_ascii_);
    if (!ensure_ascii_) return;
    // Python's ASCII form escapes DEL as well.
    for (size_t at = out_.find('\x7F', start); at != std::string::npos; at = out_.find('\x7F', at)) {
      out_.replace(at, 1, "\\u007f");
    }
  }

  void newline() {
    if (!pretty_) return;
    out_.push_back('\n');
    interp_.check_size(out_.size() + indent_.size() * static_cast<size_t>(level_));
    for (int64_t i = 0; i < level_; ++i) out_ += indent_;
  }

  void list(const std::vector<Value>& items) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    const Interp::Guard guard(interp_);
    out_.push_back('[');
    ++level_;
    bool first = true;
    for (const Value& item : items) {
      if (!first) out_ += item_separator_;
      first = false;
      newline();
      dump(item);
    }
    --level_;
    newline();
    out_.push_back(']');
  }

  void dict(const Dict& dict) {
    if (dict.size() == 0) {
      out_ += "{}";
      return;
    }
    const Interp::Guard guard(interp_);
    std::vector<Dict::Entry> sorted;
    if (sort_keys_) {
      std::vector<Value> pairs;
      for (const auto& [key, value] : dict.entries()) pairs.push_back(interp_.tuple({key, value}));
      const std::vector<Value> keys = pairs;
      sort_values(interp_, pairs, keys, false);
      for (const Value& pair : pairs) sorted.emplace_back(pair.items()[0], pair.items()[1]);
    }
    out_.push_back('{');
    ++level_;
    bool first = true;
    for (const auto& [key, value] : sort_keys_ ? sorted : dict.entries()) {
      if (!first) out_ += item_separator_;
      first = false;
      newline();
      switch (key.kind()) {
        case Kind::kString: text(key.text()); break;
        case Kind::kBool: out_ += key.as_bool() ? "\"true\"" : "\"false\""; break;
        case Kind::kNone: out_ += "\"null\""; break;
        case Kind::kInt: out_ += "\"" + std::to_string(key.as_int()) + "\""; break;
        case Kind::kFloat: out_ += "\"" + number_text(key.as_double()) + "\""; break;
        default: interp_.type_error("keys must be str, int, float, bool or None, not " + type_name(key));
      }
      out_ += key_separator_;
      dump(value);
    }
    --level_;
    newline();
    out_.push_back('}');
  }

  Interp& interp_;
  const bool ensure_ascii_, sort_keys_, pretty_;
  std::string indent_, item_separator_ = ", ", key_separator_ = ": ";
  std::string out_;
  int64_t level_ = 0;
};

}  // namespace

std::string to_json(Interp& interp, const Value& value, bool ensure_ascii, const Value& indent, const Value& separators,
                    bool sort_keys) {
  return Dumper(interp, ensure_ascii, indent, separators, sort_keys).run(value);
}

}  // namespace pagoda::jinja
