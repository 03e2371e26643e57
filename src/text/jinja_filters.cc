// Filters on text and single values, and the table of all filters.
#include <cmath>
#include <iterator>

#include "base/utf8.h"
#include "text/jinja_builtins.h"
#include "text/jinja_filters.h"
#include "text/jinja_objects.h"
#include "text/jinja_ops.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

namespace pagoda::jinja {

namespace {

// soft_str: text stays what it is (markup too), everything else becomes its str().
Value soft(Interp& interp, const Value& value) { return value.is_string() ? value : interp.str(interp.to_text(value)); }

bool flag(Interp& interp, const Value& value, bool fallback = false) {
  return value.is_missing() ? fallback : truthy(interp, value);
}

using Mapping = std::string (*)(std::string_view);
Value map_text(Interp& interp, const Value& value, CallArgs& args, const char* name, Mapping mapping) {
  bind(interp, {name, {"s"}, 1, 0}, value, args);
  const Value text = soft(interp, value);
  interp.work(static_cast<int64_t>(text.text().size() / 8));
  return interp.str(mapping(text.text()), text.is_markup());
}

Value do_abs(Interp& interp, const Value& value, CallArgs& args) {
  if (!args.positional.empty() || !args.keywords.empty()) {
    interp.type_error(fmt::format("abs() takes exactly one argument ({} given)", args.positional.size() + 1));
  }
  if (value.is_float()) return Value::real(std::fabs(value.as_double()));
  if (value.is_integral()) {
    return value.as_int() < 0 ? negative(interp, value) : Value::integer(value.as_int());
  }
  interp.type_error("bad operand type for abs(): '" + type_name(value) + "'");
}

Value do_center(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_center", {"value", "width"}, 1, 0}, value, args);
  Value method;
  const Value text = soft(interp, value);
  string_method(interp, text, "center", method);
  CallArgs width;
  width.positional.push_back(bound[1].is_missing() ? Value::integer(80) : bound[1]);
  return interp.call(method, width);
}

Value do_length(Interp& interp, const Value& value, CallArgs& args) {
  if (!args.keywords.empty()) interp.type_error("len() takes no keyword arguments");
  if (!args.positional.empty()) {
    interp.type_error(fmt::format("len() takes exactly one argument ({} given)", args.positional.size() + 1));
  }
  const std::optional<int64_t> length = interp.length(value);
  if (!length.has_value()) interp.type_error("object of type '" + type_name(value) + "' has no len()");
  return Value::integer(*length);
}

Value do_default(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_default", {"value", "default_value", "boolean"}, 1, 0}, value, args);
  if (value.is_undefined() || (flag(interp, bound[2]) && !truthy(interp, value))) {
    return bound[1].is_missing() ? interp.str({}) : bound[1];
  }
  return value;
}

Value do_escape(Interp& interp, const Value& value, CallArgs& args) {
  if (!args.positional.empty() || !args.keywords.empty()) {
    interp.type_error(fmt::format("escape() takes exactly one argument ({} given)", args.positional.size() + 1));
  }
  return interp.str(escaped(interp, value), true);
}

Value do_forceescape(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"do_forceescape", {"value"}, 1, 0}, value, args);
  return interp.str(escape_html(interp.to_text(value)), true);
}

Value do_safe(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"do_mark_safe", {"value"}, 1, 0}, value, args);
  return value.is_markup() ? value : interp.str(interp.to_text(value), true);
}

Value do_string(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"soft_str", {"s"}, 1, 0}, value, args);
  return soft(interp, value);
}

Value do_filesizeformat(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_filesizeformat", {"value", "binary"}, 1, 0}, value, args);
  const double bytes = to_float(interp, value);
  const bool binary = flag(interp, bound[1]);
  const double base = binary ? 1024 : 1000;
  static constexpr const char kPrefixes[] = "kMGTPEZY";
  if (bytes == 1) return interp.str("1 Byte");
  if (bytes < base) return interp.str(std::to_string(float_to_int(interp, bytes)) + " Bytes");
  double unit = base;
  for (int i = 0; i < 8; ++i) {
    unit *= base;
    if (bytes >= unit && i < 7) continue;
    std::string prefix(1, kPrefixes[i]);
    if (binary && prefix == "k") prefix = "K";
    const std::string number = format_value(interp, Value::real(base * bytes / unit), ".1f");
    return interp.str(number + " " + prefix + (binary ? "iB" : "B"));
  }
  return interp.str({});
}

Value do_float(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_float", {"value", "default"}, 1, 0}, value, args);
  if (value.is_number()) return Value::real(value.as_double());
  if (value.is_undefined()) interp.fail_undefined(value);
  if (value.is_string()) {
    if (const std::optional<double> number = parse_float(value.text()); number.has_value()) return Value::real(*number);
  }
  return bound[1].is_missing() ? Value::real(0) : bound[1];
}

Value do_int(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_int", {"value", "default", "base"}, 1, 0}, value, args);
  const Value fallback = bound[1].is_missing() ? Value::integer(0) : bound[1];
  if (value.is_undefined()) interp.fail_undefined(value);
  if (value.is_integral()) return Value::integer(value.as_int());
  double number = 0;
  if (value.is_string()) {
    const bool has_base = !bound[2].is_missing();
    if (!has_base || bound[2].is_integral()) {
      const int64_t base = has_base ? bound[2].as_int() : 10;
      if (const std::optional<int64_t> parsed = parse_int(interp, value.text(), base); parsed.has_value()) {
        return Value::integer(*parsed);
      }
    }
    const std::optional<double> parsed = parse_float(value.text());
    if (!parsed.has_value()) return fallback;
    number = *parsed;
  } else if (value.is_float()) {
    number = value.as_double();
    // int(inf) raises OverflowError, which only the second attempt of the filter catches.
    if (std::isinf(number)) interp.error("OverflowError", "cannot convert float infinity to integer");
  } else {
    return fallback;
  }
  if (!std::isfinite(number)) return fallback;
  return Value::integer(float_to_int(interp, number));
}

Value do_format(Interp& interp, const Value& value, CallArgs& args) {
  if (!args.positional.empty() && !args.keywords.empty()) {
    interp.error("FilterArgumentError", "can't handle positional and keyword arguments at the same time");
  }
  const Value text = soft(interp, value);
  if (!args.keywords.empty()) {
    auto fields = std::make_shared<Dict>();
    for (auto& [name, field] : args.keywords) fields->set(interp.str(name), std::move(field));
    return modulo(interp, text, interp.dict(std::move(fields)));
  }
  return modulo(interp, text, interp.tuple(std::move(args.positional)));
}

Value do_indent(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_indent", {"s", "width", "first", "blank"}, 1, 0}, value, args);
  std::string indent = "    ";
  if (bound[1].is_string()) {
    indent = bound[1].text();
  } else if (!bound[1].is_missing()) {
    if (bound[1].is_undefined()) interp.fail_undefined(bound[1]);
    if (!bound[1].is_integral()) {
      interp.type_error("can't multiply sequence by non-int of type '" + type_name(bound[1]) + "'");
    }
    const int64_t width = std::max<int64_t>(bound[1].as_int(), 0);
    interp.check_size(static_cast<size_t>(width));
    indent.assign(static_cast<size_t>(width), ' ');
  }
  const bool first = flag(interp, bound[2]), blank = flag(interp, bound[3]);
  // `s += "\n"` fails for what is no string.
  if (value.is_undefined()) interp.fail_undefined(value);
  if (!value.is_string()) {
    if (value.is_list()) {
      interp.error("AttributeError", "'list' object has no attribute 'splitlines'");  // += takes any iterable
    }
    if (value.is_tuple()) interp.type_error("can only concatenate tuple (not \"str\") to tuple");
    interp.type_error(fmt::format("unsupported operand type(s) for +=: '{}' and 'str'", type_name(value)));
  }
  const bool markup = value.is_markup();
  if (markup && bound[1].is_string() && !bound[1].is_markup()) indent = bound[1].text();
  const std::vector<std::string> lines = split_lines(value.text() + "\n", false);
  std::string out = first ? indent : std::string();
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i != 0) {
      out.push_back('\n');
      if (blank || !lines[i].empty()) out += indent;
    }
    out += lines[i];
    interp.check_size(out.size());
  }
  return interp.str(std::move(out), markup);
}

Value do_replace(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_replace", {"s", "old", "new", "count"}, 3, 1}, value, args);
  const int64_t count = bound[3].is_missing() || bound[3].is_none() ? -1 : as_index(interp, bound[3]);
  if (!interp.autoescape()) {
    return interp.str(replace_text(interp, interp.to_text(value), interp.to_text(bound[1]), interp.to_text(bound[2]), count));
  }
  std::string text = interp.to_text(value);
  bool markup = value.is_markup();
  if (bound[1].is_markup() || (bound[2].is_markup() && !markup)) {
    text = escaped(interp, value);
    markup = true;
  }
  const std::string fresh = markup ? escaped(interp, bound[2]) : interp.to_text(bound[2]);
  return interp.str(replace_text(interp, text, interp.to_text(bound[1]), fresh, count), markup);
}

Value do_round(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_round", {"value", "precision", "method"}, 1, 0}, value, args);
  const std::string method = bound[2].is_missing() ? "common" : bound[2].is_string() ? bound[2].text() : "";
  if (method != "common" && method != "ceil" && method != "floor") {
    interp.check_key(bound[2]);
    interp.error("FilterArgumentError", "method must be common, ceil or floor");
  }
  const Value precision = bound[1].is_missing() ? Value::integer(0) : bound[1];
  if (method == "common") {
    if (value.is_undefined()) interp.type_error("type Undefined doesn't define __round__ method");
    if (!value.is_number()) interp.type_error("type " + type_name(value) + " doesn't define __round__ method");
    if (precision.is_none()) {
      return value.is_float() ? Value::integer(float_to_int(interp, round_float(value.as_double(), 0)))
                              : Value::integer(value.as_int());
    }
    const int64_t digits = as_index(interp, precision);
    if (value.is_float()) {
      const double rounded = round_float(value.as_double(), digits);
      if (std::isinf(rounded) && std::isfinite(value.as_double())) {
        interp.error("OverflowError", "rounded value too large to represent");
      }
      return Value::real(rounded);
    }
    if (digits >= 0) return Value::integer(value.as_int());
    if (digits < -18) return Value::integer(0);
    int64_t unit = 1;
    for (int64_t i = 0; i < -digits; ++i) unit *= 10;
    const int64_t rest = modulo(interp, Value::integer(value.as_int()), Value::integer(unit)).as_int();
    const int64_t low = value.as_int() - rest;
    const bool odd = (low / unit) % 2 != 0;
    const bool up = rest > unit - rest || (rest == unit - rest && odd);
    return up ? add(interp, Value::integer(low), Value::integer(unit)) : Value::integer(low);
  }
  const Value scale = power(interp, Value::integer(10), precision);
  const Value scaled = multiply(interp, value, scale);
  if (!scaled.is_number()) interp.type_error("must be real number, not " + type_name(scaled));
  int64_t whole = 0;
  if (scaled.is_integral()) {
    whole = scaled.as_int();
  } else {
    whole = float_to_int(interp, method == "ceil" ? std::ceil(scaled.as_double()) : std::floor(scaled.as_double()));
  }
  return divide(interp, Value::integer(whole), scale);
}

Value do_striptags(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"do_striptags", {"value"}, 1, 0}, value, args);
  return interp.str(strip_tags(interp, interp.to_text(value)));
}

Value do_title(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"do_title", {"s"}, 1, 0}, value, args);
  const Value text = soft(interp, value);
  interp.work(static_cast<int64_t>(text.text().size() / 8));
  std::string out, word;
  bool started = false;
  const auto separator = [](uint32_t code) {
    return code == '-' || code == '(' || code == '{' || code == '[' || code == '<' || is_space(code);
  };
  for (size_t i = 0; i < text.text().size();) {
    const size_t start = i;
    const uint32_t code = utf8_next(text.text(), i);
    const std::string one = text.text().substr(start, i - start);
    if (separator(code)) {
      out += lower(word) + one;
      word.clear();
      started = false;
    } else if (!started) {
      out += upper(one);
      started = true;
    } else {
      word += one;
    }
  }
  out += lower(word);
  return interp.str(std::move(out), text.is_markup());
}

Value do_tojson(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound =
      bind(interp,
           {"_cached_compile_jinja_template.<locals>.tojson", {"x", "ensure_ascii", "indent", "separators", "sort_keys"}, 1, 0},
           value, args);
  const auto given = [](const Value& option) { return option.is_missing() ? Value::none() : option; };
  return interp.str(to_json(interp, value, flag(interp, bound[1]), given(bound[2]), given(bound[3]), flag(interp, bound[4])));
}

Value do_trim(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_trim", {"value", "chars"}, 1, 0}, value, args);
  const Value text = soft(interp, value);
  interp.work_bytes(text.text().size());
  const Value& chars = bound[1];
  if (!chars.is_missing() && !chars.is_none() && !chars.is_string()) interp.type_error("strip arg must be None or str");
  const std::string* set = chars.is_string() ? &chars.text() : nullptr;
  return interp.str(std::string(strip_text(text.text(), set, true, true)), text.is_markup());
}

Value do_truncate(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound =
      bind(interp, {"do_truncate", {"s", "length", "killwords", "end", "leeway"}, 1, 1}, value, args);
  const int64_t length = bound[1].is_missing() ? 255 : as_index(interp, bound[1]);
  const Value end = bound[3].is_missing() ? interp.str("...") : bound[3];
  const int64_t leeway = bound[4].is_missing() || bound[4].is_none() ? 5 : as_index(interp, bound[4]);
  const std::optional<int64_t> end_length = interp.length(end);
  if (!end_length.has_value()) interp.type_error("object of type '" + type_name(end) + "' has no len()");
  if (length < *end_length) {
    interp.error("AssertionError", fmt::format("expected length >= {}, got {}", *end_length, length));
  }
  if (leeway < 0) interp.error("AssertionError", fmt::format("expected leeway >= 0, got {}", leeway));
  const std::optional<int64_t> size = interp.length(value);
  if (!size.has_value()) interp.type_error("object of type '" + type_name(value) + "' has no len()");
  if (*size <= length + leeway) return value;
  const Value cut = interp.get_slice(value, Value::none(), Value::integer(length - *end_length), Value::none());
  if (flag(interp, bound[2])) return add(interp, cut, end);
  if (!cut.is_string()) interp.error("AttributeError", "'" + type_name(cut) + "' object has no attribute 'rsplit'");
  std::string kept = split_text(cut.text(), " ", 1, true)[0];
  return add(interp, interp.str(std::move(kept), cut.is_markup()), end);
}

std::string url_quote(Interp& interp, const Value& value, bool for_query) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  const std::string text = interp.to_text(value);
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' ||
        byte == '.' || byte == '-' || byte == '~' || (byte == '/' && !for_query)) {
      out.push_back(c);
    } else if (byte == ' ' && for_query) {
      out.push_back('+');
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

Value do_urlencode(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"do_urlencode", {"value"}, 1, 0}, value, args);
  if (value.is_string() || !interp.iterable(value)) return interp.str(url_quote(interp, value, false));
  std::string out;
  const auto pair = [&](const Value& key, const Value& item) {
    if (!out.empty()) out.push_back('&');
    out += url_quote(interp, key, true) + "=" + url_quote(interp, item, true);
    interp.check_size(out.size());
  };
  if (value.is_dict()) {
    for (const auto& [key, item] : value.dict().entries()) pair(key, item);
  } else {
    for (const Value& item : interp.collect(value)) {
      if (!interp.iterable(item)) interp.type_error("cannot unpack non-iterable " + type_name(item) + " object");
      const std::vector<Value> parts = interp.collect(item);
      if (parts.size() > 2) interp.value_error("too many values to unpack (expected 2)");
      if (parts.size() < 2) {
        interp.value_error(fmt::format("not enough values to unpack (expected 2, got {})", parts.size()));
      }
      pair(parts[0], parts[1]);
    }
  }
  return interp.str(std::move(out));
}

Value do_wordcount(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"do_wordcount", {"s"}, 1, 0}, value, args);
  const Value text = soft(interp, value);
  interp.work_bytes(text.text().size());
  int64_t words = 0;
  bool inside = false;
  for (size_t i = 0; i < text.text().size();) {
    const bool word = is_word(utf8_next(text.text(), i));
    words += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value::integer(words);
}

Value do_wordwrap(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound =
      bind(interp, {"do_wordwrap", {"s", "width", "break_long_words", "wrapstring", "break_on_hyphens"}, 1, 1}, value, args);
  const int64_t width = bound[1].is_missing() ? 79 : as_index(interp, bound[1]);
  const std::string join = bound[3].is_missing() || bound[3].is_none() ? "\n" : interp.to_text(bound[3]);
  if (!value.is_string()) {
    if (value.is_undefined()) interp.fail_undefined(value);
    interp.error("AttributeError", "'" + type_name(value) + "' object has no attribute 'splitlines'");
  }
  std::string out;
  bool first = true;
  for (const std::string& line : split_lines(value.text(), false)) {
    if (!first) out += join;
    first = false;
    bool first_part = true;
    for (const std::string& part : wrap_text(interp, line, width, flag(interp, bound[2], true), flag(interp, bound[4], true))) {
      if (!first_part) out += join;
      first_part = false;
      out += part;
      interp.check_size(out.size());
    }
  }
  return interp.str(std::move(out));
}

Value do_xmlattr(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_xmlattr", {"d", "autospace"}, 1, 1}, value, args);
  if (value.is_undefined()) interp.fail_undefined(value);
  if (!value.is_dict()) interp.error("AttributeError", "'" + type_name(value) + "' object has no attribute 'items'");
  std::string out;
  for (const auto& [key, item] : value.dict().entries()) {
    if (item.is_none() || item.is_undefined()) continue;
    if (!key.is_string()) interp.type_error("expected string or bytes-like object, got '" + type_name(key) + "'");
    if (key.text().find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
      interp.value_error("Invalid character in attribute name: " + interp.repr(key));
    }
    if (!out.empty()) out.push_back(' ');
    out += escaped(interp, key) + "=\"" + escaped(interp, item) + "\"";
    interp.check_size(out.size());
  }
  if (flag(interp, bound[1], true) && !out.empty()) out.insert(out.begin(), ' ');
  return interp.str(std::move(out), interp.autoescape());
}

Value not_supported(Interp& interp, const char* name, const char* why) {
  interp.error("TemplateRuntimeError", fmt::format("filter '{}' is not supported: {}", name, why));
}

struct Named {
  const char* name;
  FilterFunction filter;
};

#define TEXT_FILTER(name, function, mapping) \
  {name, +[](Interp& interp, const Value& value, CallArgs& args) { return map_text(interp, value, args, function, mapping); }}

constexpr Named kFilters[] = {
    {"abs", do_abs},
    {"attr", do_attr},
    {"batch", do_batch},
    TEXT_FILTER("capitalize", "do_capitalize", capitalize),
    {"center", do_center},
    {"count", do_length},
    {"d", do_default},
    {"default", do_default},
    {"dictsort", do_dictsort},
    {"e", do_escape},
    {"escape", do_escape},
    {"filesizeformat", do_filesizeformat},
    {"first", do_first},
    {"float", do_float},
    {"forceescape", do_forceescape},
    {"format", do_format},
    {"groupby", do_groupby},
    {"indent", do_indent},
    {"int", do_int},
    {"join", do_join},
    {"last", do_last},
    {"length", do_length},
    {"list", do_list},
    TEXT_FILTER("lower", "do_lower", lower),
    {"items", do_items},
    {"map", do_map},
    {"min", do_min},
    {"max", do_max},
    {"pprint", do_pprint},
    {"random",
     +[](Interp& interp, const Value&, CallArgs&) {
       return not_supported(interp, "random", "a rendering must not change from one call to the next");
     }},
    {"reject", do_reject},
    {"rejectattr", do_rejectattr},
    {"replace", do_replace},
    {"reverse", do_reverse},
    {"round", do_round},
    {"safe", do_safe},
    {"select", do_select},
    {"selectattr", do_selectattr},
    {"slice", do_slice},
    {"sort", do_sort},
    {"string", do_string},
    {"striptags", do_striptags},
    {"sum", do_sum},
    {"title", do_title},
    {"tojson", do_tojson},
    {"trim", do_trim},
    {"truncate", do_truncate},
    {"unique", do_unique},
    TEXT_FILTER("upper", "do_upper", upper),
    {"urlencode", do_urlencode},
    {"urlize",
     +[](Interp& interp, const Value&, CallArgs&) { return not_supported(interp, "urlize", "a prompt is no web page"); }},
    {"wordcount", do_wordcount},
    {"wordwrap", do_wordwrap},
    {"xmlattr", do_xmlattr},
};

#undef TEXT_FILTER

}  // namespace

FilterFunction find_filter(std::string_view name) {
  for (const Named& named : kFilters) {
    if (name == named.name) return named.filter;
  }
  return nullptr;
}

double to_float(Interp& interp, const Value& value) {
  if (value.is_number()) return value.as_double();
  if (value.is_undefined()) interp.fail_undefined(value);
  if (value.is_string()) {
    if (const std::optional<double> number = parse_float(value.text()); number.has_value()) return *number;
    interp.value_error("could not convert string to float: " + interp.repr(value));
  }
  interp.type_error("float() argument must be a string or a real number, not '" + type_name(value) + "'");
}

}  // namespace pagoda::jinja
