// The methods of str.
#include <algorithm>
#include <cstring>

#include "base/utf8.h"
#include "text/jinja_builtins.h"
#include "text/jinja_objects.h"
#include "text/jinja_ops.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

namespace pagoda::jinja {

namespace {

using Args = const std::vector<Value>&;

// Positional arguments only, between `least` and `most`; missing ones are kMissing.
std::vector<Value> plain(Interp& interp, CallArgs& args, const char* name, size_t least, size_t most) {
  if (!args.keywords.empty()) interp.type_error(fmt::format("str.{}() takes no keyword arguments", name));
  const size_t given = args.positional.size();
  if (least == most && given != least) {
    if (least == 0) interp.type_error(fmt::format("str.{}() takes no arguments ({} given)", name, given));
    if (least == 1) interp.type_error(fmt::format("str.{}() takes exactly one argument ({} given)", name, given));
  }
  if (given < least || given > most) {
    interp.type_error(fmt::format("{} expected {} {} argument{}, got {}", name, given < least ? "at least" : "at most",
                                  given < least ? least : most, (given < least ? least : most) == 1 ? "" : "s", given));
  }
  std::vector<Value> out = std::move(args.positional);
  out.resize(most, Value::missing());
  return out;
}

// The same for find, count, startswith and their kin, whose errors are worded differently.
std::vector<Value> search_args(Interp& interp, CallArgs& args, const char* name) {
  const size_t given = args.positional.size();
  if (args.keywords.empty() && (given < 1 || given > 3)) {
    interp.type_error(fmt::format("{}() takes at {} argument{} ({} given)", name, given < 1 ? "least 1" : "most 3",
                                  given < 1 ? "" : "s", given));
  }
  return plain(interp, args, name, 1, 3);
}

const std::string& need_text(Interp& interp, const Value& value, const char* what) {
  if (value.is_string()) return value.text();
  interp.type_error(fmt::format("{}, not {}", what, type_name(value)));
}

Value made(Interp& interp, const Value& self, std::string text) { return interp.str(std::move(text), self.is_markup()); }

// [start, end) as Python's find, count, startswith take them: in code points; false when start is past the end.
struct Range2 {
  size_t begin = 0, end = 0;  // bytes
  size_t first = 0;           // code point of begin
  bool valid = true;
};

Range2 bounds(Interp& interp, const Str& text, const Value& start, const Value& stop) {
  const auto length = static_cast<int64_t>(text.length);
  const auto number = [&](const Value& value, int64_t fallback) {
    if (value.is_missing() || value.is_none()) return fallback;
    if (!value.is_integral()) interp.type_error("slice indices must be integers or None or have an __index__ method");
    int64_t index = value.as_int();
    if (index < 0) index = std::max<int64_t>(index < -length ? 0 : index + length, 0);
    return index;
  };
  const int64_t from = number(start, 0);
  const int64_t to = std::min(number(stop, length), length);
  Range2 range;
  range.valid = from <= to;
  if (!range.valid) return range;
  range.first = static_cast<size_t>(from);
  range.begin = byte_offset(text, range.first);
  range.end = to == length ? text.text.size() : byte_offset(text, static_cast<size_t>(to));
  interp.work_bytes(text.ascii() ? 0 : text.text.size());
  return range;
}

Value find(Interp& interp, const Value& self, CallArgs& args, const char* name, bool backward, bool must) {
  const std::vector<Value> a = search_args(interp, args, name);
  if (!a[0].is_string()) interp.type_error("must be str, not " + type_name(a[0]));
  const Str& text = self.str();
  const Range2 range = bounds(interp, text, a[1], a[2]);
  int64_t result = -1;
  if (range.valid) {
    const std::string_view part = std::string_view(text.text).substr(range.begin, range.end - range.begin);
    interp.work_bytes(part.size());
    const size_t at = backward ? find_last(part, a[0].text()) : find_first(part, a[0].text());
    if (at != std::string_view::npos) result = static_cast<int64_t>(range.first + utf8_length(part.substr(0, at)));
  }
  if (result < 0 && must) interp.value_error("substring not found");
  return Value::integer(result);
}

Value count(Interp& interp, const Value& self, CallArgs& args) {
  const std::vector<Value> a = search_args(interp, args, "count");
  if (!a[0].is_string()) interp.type_error("must be str, not " + type_name(a[0]));
  const Range2 range = bounds(interp, self.str(), a[1], a[2]);
  if (!range.valid) return Value::integer(0);
  const std::string_view part = std::string_view(self.text()).substr(range.begin, range.end - range.begin);
  interp.work_bytes(part.size());
  if (a[0].text().empty()) return Value::integer(static_cast<int64_t>(utf8_length(part)) + 1);
  int64_t total = 0;
  for (Finder finder(part, a[0].text()); finder.next();) ++total;
  return Value::integer(total);
}

Value starts_or_ends(Interp& interp, const Value& self, CallArgs& args, bool ends) {
  const char* name = ends ? "endswith" : "startswith";
  const std::vector<Value> a = search_args(interp, args, name);
  const Range2 range = bounds(interp, self.str(), a[1], a[2]);
  const std::string_view part =
      range.valid ? std::string_view(self.text()).substr(range.begin, range.end - range.begin) : std::string_view();
  const auto matches = [&](const Value& affix) {
    const std::string& text = affix.text();
    if (!range.valid || text.size() > part.size()) return false;
    return part.compare(ends ? part.size() - text.size() : 0, text.size(), text) == 0;
  };
  if (a[0].is_tuple()) {
    for (const Value& affix : a[0].items()) {
      interp.work(1);
      if (!affix.is_string()) {
        interp.type_error(fmt::format("tuple for {} must only contain str, not {}", name, type_name(affix)));
      }
      if (matches(affix)) return Value::boolean(true);
    }
    return Value::boolean(false);
  }
  if (!a[0].is_string()) {
    interp.type_error(fmt::format("{} first arg must be str or a tuple of str, not {}", name, type_name(a[0])));
  }
  return Value::boolean(matches(a[0]));
}

Value strip(Interp& interp, const Value& self, CallArgs& args, const char* name, bool left, bool right) {
  const std::vector<Value> a = plain(interp, args, name, 0, 1);
  if (!a[0].is_missing() && !a[0].is_none() && !a[0].is_string()) {
    interp.type_error(fmt::format("{} arg must be None or str", name));
  }
  interp.work_bytes(self.text().size());
  const std::string* set = a[0].is_string() ? &a[0].text() : nullptr;
  return made(interp, self, std::string(strip_text(self.text(), set, left, right)));
}

Value split(Interp& interp, const Value& self, CallArgs& args, bool backward) {
  const std::vector<Value> a = bind(interp, {backward ? "rsplit" : "split", {"sep", "maxsplit"}, 0, 0}, args);
  const int64_t limit = a[1].is_missing() ? -1 : as_index(interp, a[1]);
  interp.work_bytes(self.text().size());
  std::vector<std::string> parts;
  if (a[0].is_missing() || a[0].is_none()) {
    parts = split_space(self.text(), limit, backward);
  } else {
    const std::string& separator = need_text(interp, a[0], "must be str or None");
    if (separator.empty()) interp.value_error("empty separator");
    parts = split_text(self.text(), separator, limit, backward);
  }
  std::vector<Value> out;
  out.reserve(parts.size());
  for (std::string& part : parts) out.push_back(made(interp, self, std::move(part)));
  return interp.list(std::move(out));
}

Value splitlines(Interp& interp, const Value& self, CallArgs& args) {
  const std::vector<Value> a = bind(interp, {"splitlines", {"keepends"}, 0, 0}, args);
  const bool keep = !a[0].is_missing() && as_index(interp, a[0]) != 0;
  interp.work_bytes(self.text().size());
  std::vector<Value> out;
  for (std::string& line : split_lines(self.text(), keep)) out.push_back(made(interp, self, std::move(line)));
  return interp.list(std::move(out));
}

Value partition(Interp& interp, const Value& self, CallArgs& args, bool backward) {
  const std::vector<Value> a = plain(interp, args, backward ? "rpartition" : "partition", 1, 1);
  const std::string& separator = need_text(interp, a[0], "must be str");
  if (separator.empty()) interp.value_error("empty separator");
  const std::string& text = self.text();
  interp.work_bytes(text.size());
  const size_t at = backward ? find_last(text, separator) : find_first(text, separator);
  if (at == std::string_view::npos) {
    const Value none = made(interp, self, {});
    return backward ? interp.tuple({none, none, self}) : interp.tuple({self, none, none});
  }
  return interp.tuple({made(interp, self, text.substr(0, at)), made(interp, self, separator),
                       made(interp, self, text.substr(at + separator.size()))});
}

Value replace(Interp& interp, const Value& self, CallArgs& args) {
  const std::vector<Value> a = plain(interp, args, "replace", 2, 3);
  for (size_t i = 0; i < 2; ++i) {
    if (!a[i].is_string()) {
      interp.type_error(fmt::format("replace() argument {} must be str, not {}", i + 1, type_name(a[i])));
    }
  }
  const int64_t limit = a[2].is_missing() ? -1 : as_index(interp, a[2]);
  const std::string fresh = self.is_markup() ? escaped(interp, a[1]) : a[1].text();
  return made(interp, self, replace_text(interp, self.text(), a[0].text(), fresh, limit));
}

Value join(Interp& interp, const Value& self, CallArgs& args) {
  const std::vector<Value> a = plain(interp, args, "join", 1, 1);
  if (!interp.iterable(a[0])) interp.type_error("can only join an iterable");
  std::string out;
  int64_t index = 0;
  const std::unique_ptr<Iter> source = interp.iter(a[0]);
  for (Value item; source->next(interp, item); ++index) {
    if (index != 0) out += self.text();
    if (self.is_markup()) {
      out += escaped(interp, item);
    } else {
      if (!item.is_string()) {
        interp.type_error(fmt::format("sequence item {}: expected str instance, {} found", index, type_name(item)));
      }
      out += item.text();
    }
    interp.check_size(out.size());
  }
  return made(interp, self, std::move(out));
}

enum class Justify : uint8_t { kLeft, kRight, kCenter };

Value justify(Interp& interp, const Value& self, CallArgs& args, const char* name, Justify how) {
  const std::vector<Value> a = plain(interp, args, name, 1, 2);
  const int64_t width = as_index(interp, a[0]);
  std::string fill = " ";
  if (!a[1].is_missing()) {
    if (!a[1].is_string()) {
      interp.type_error("The fill character must be a unicode character, not " + type_name(a[1]));
    }
    fill = self.is_markup() ? escaped(interp, a[1]) : a[1].text();
    if (utf8_length(fill) != 1) interp.type_error("The fill character must be exactly one character long");
  }
  const auto length = static_cast<int64_t>(self.str().length);
  const int64_t missing = std::max<int64_t>(0, width - length);
  int64_t left = 0;
  if (how == Justify::kRight) left = missing;
  // Where the padding is odd, the extra one goes left if the width is odd too.
  if (how == Justify::kCenter) left = missing / 2 + (missing & width & 1);
  interp.check_size(static_cast<size_t>(missing) * fill.size() + self.text().size());
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += self.text();
  for (int64_t i = left; i < missing; ++i) out += fill;
  return made(interp, self, std::move(out));
}

Value zfill(Interp& interp, const Value& self, CallArgs& args) {
  const std::vector<Value> a = plain(interp, args, "zfill", 1, 1);
  const int64_t missing = as_index(interp, a[0]) - static_cast<int64_t>(self.str().length);
  if (missing <= 0) return self;
  interp.check_size(static_cast<size_t>(missing) + self.text().size());
  std::string out = self.text();
  const bool sign = !out.empty() && (out[0] == '+' || out[0] == '-');
  out.insert(sign ? 1 : 0, static_cast<size_t>(missing), '0');
  return made(interp, self, std::move(out));
}

Value expandtabs(Interp& interp, const Value& self, CallArgs& args) {
  const std::vector<Value> a = bind(interp, {"expandtabs", {"tabsize"}, 0, 0}, args);
  const int64_t size = a[0].is_missing() ? 8 : as_index(interp, a[0]);
  std::string out;
  int64_t column = 0;
  for (const char c : self.text()) {
    if (c == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      interp.check_size(out.size() + static_cast<size_t>(spaces));
      out.append(static_cast<size_t>(spaces), ' ');
      column += spaces;
    } else {
      out.push_back(c);
      if (c == '\n' || c == '\r') {
        column = 0;
      } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {
        ++column;
      }
    }
  }
  return made(interp, self, std::move(out));
}

Value remove_affix(Interp& interp, const Value& self, CallArgs& args, bool suffix) {
  const char* name = suffix ? "removesuffix" : "removeprefix";
  const std::vector<Value> a = plain(interp, args, name, 1, 1);
  if (!a[0].is_string()) {
    interp.type_error(fmt::format("{}() argument must be str, not {}", name, type_name(a[0])));
  }
  const std::string& text = self.text();
  const std::string& affix = a[0].text();
  if (affix.empty() || affix.size() > text.size()) return self;
  if (text.compare(suffix ? text.size() - affix.size() : 0, affix.size(), affix) != 0) return self;
  return made(interp, self, suffix ? text.substr(0, text.size() - affix.size()) : text.substr(affix.size()));
}

using Mapping = std::string (*)(std::string_view);
Value mapped(Interp& interp, const Value& self, CallArgs& args, const char* name, Mapping mapping) {
  plain(interp, args, name, 0, 0);
  interp.work(static_cast<int64_t>(self.text().size() / 8));
  return made(interp, self, mapping(self.text()));
}

using Test = bool (*)(uint32_t);
// True when there is text and all of it passes.
Value all_pass(Interp& interp, const Value& self, CallArgs& args, const char* name, Test test, bool empty = false) {
  plain(interp, args, name, 0, 0);
  const std::string& text = self.text();
  interp.work_bytes(text.size());
  if (text.empty()) return Value::boolean(empty);
  for (size_t i = 0; i < text.size();) {
    if (!test(utf8_next(text, i))) return Value::boolean(false);
  }
  return Value::boolean(true);
}

Value is_title_case(Interp& interp, const Value& self, CallArgs& args) {
  plain(interp, args, "istitle", 0, 0);
  bool cased = false, previous = false;
  const std::string& text = self.text();
  for (size_t i = 0; i < text.size();) {
    const uint32_t code = utf8_next(text, i);
    if (is_upper(code) || is_title(code)) {
      if (previous) return Value::boolean(false);
      previous = cased = true;
    } else if (is_lower(code)) {
      if (!previous) return Value::boolean(false);
      cased = true;
    } else {
      previous = false;
    }
  }
  return Value::boolean(cased);
}

Value is_identifier(Interp& interp, const Value& self, CallArgs& args) {
  plain(interp, args, "isidentifier", 0, 0);
  const std::string& text = self.text();
  for (size_t i = 0; i < text.size();) {
    const bool first = i == 0;
    const uint32_t code = utf8_next(text, i);
    if (first ? !is_identifier_start(code) : !is_identifier_part(code)) return Value::boolean(false);
  }
  return Value::boolean(!text.empty());
}

Value format(Interp& interp, const Value& self, CallArgs& args) {
  return made(interp, self, format_braces(interp, self, args));
}

Value format_map(Interp& interp, const Value& self, CallArgs& args) {
  if (!args.keywords.empty()) interp.type_error("format_map() takes no keyword arguments");
  if (args.positional.size() != 1) {
    interp.type_error(fmt::format("format_map() takes exactly one argument ({} given)", args.positional.size()));
  }
  CallArgs fields;
  if (args.positional[0].is_dict()) {
    for (const auto& [key, value] : args.positional[0].dict().entries()) {
      if (key.is_string()) fields.keywords.emplace_back(key.text(), value);
    }
  }
  return made(interp, self, format_braces(interp, self, fields));
}

Value maketrans(Interp& interp, const Value& self, CallArgs& args) {
  (void)self;
  const std::vector<Value> a = plain(interp, args, "maketrans", 1, 3);
  auto table = std::make_shared<Dict>();
  if (a[1].is_missing()) {
    if (!a[0].is_dict()) interp.type_error("if you give only one argument to maketrans it must be a dict");
    for (const auto& [key, value] : a[0].dict().entries()) {
      if (key.is_string()) {
        if (key.str().length != 1) interp.value_error("string keys in translate table must be of length 1");
        size_t at = 0;
        table->set(Value::integer(utf8_next(key.text(), at)), value);
      } else if (key.is_integral()) {
        table->set(key, value);
      } else {
        interp.type_error("keys in translate table must be strings or integers");
      }
    }
    return interp.dict(std::move(table));
  }
  for (size_t i = 0; i < 3; ++i) {
    if (!a[i].is_missing() && !a[i].is_string()) {
      interp.type_error(fmt::format("maketrans() argument {} must be str, not {}", i + 1, type_name(a[i])));
    }
  }
  if (a[0].str().length != a[1].str().length) {
    interp.value_error("the first two maketrans arguments must have equal length");
  }
  for (size_t i = 0, j = 0; i < a[0].text().size();) {
    const uint32_t from = utf8_next(a[0].text(), i);
    table->set(Value::integer(from), Value::integer(utf8_next(a[1].text(), j)));
  }
  if (a[2].is_string()) {
    for (size_t i = 0; i < a[2].text().size();) table->set(Value::integer(utf8_next(a[2].text(), i)), Value::none());
  }
  return interp.dict(std::move(table));
}

Value translate(Interp& interp, const Value& self, CallArgs& args) {
  const std::vector<Value> a = plain(interp, args, "translate", 1, 1);
  const std::string& text = self.text();
  interp.work(static_cast<int64_t>(text.size() / 4));
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const uint32_t code = utf8_next(text, i);
    Value target = Value::missing();
    if (a[0].is_dict()) {
      if (const Value* found = a[0].dict().find(Value::integer(code)); found != nullptr) target = *found;
    } else if (a[0].is_list() || a[0].is_tuple() || a[0].is_string()) {
      const Value found = interp.get_item(a[0], Value::integer(code));
      if (!found.is_undefined()) target = found;
    } else {
      interp.type_error("'" + type_name(a[0]) + "' object is not subscriptable");
    }
    if (target.is_missing()) {
      out.append(text, start, i - start);
    } else if (target.is_string()) {
      out += target.text();
    } else if (target.is_integral()) {
      if (target.as_int() < 0 || target.as_int() > 0x10FFFF) {
        interp.value_error("character mapping must be in range(0x110000)");
      }
      utf8_append(out, static_cast<uint32_t>(target.as_int()));
    } else if (!target.is_none()) {
      interp.type_error("character mapping must return integer, None or str");
    }
    interp.check_size(out.size());
  }
  return made(interp, self, std::move(out));
}

Value encode(Interp& interp, const Value& self, CallArgs& args) {
  const std::vector<Value> a = bind(interp, {"encode", {"encoding", "errors"}, 0, 0}, args);
  if (a[0].is_string()) {
    std::string name = lower(a[0].text());
    name.erase(std::remove_if(name.begin(), name.end(), [](char c) { return c == '-' || c == '_'; }), name.end());
    if (name != "utf8" && !(name == "ascii" && self.str().ascii())) {
      interp.error("LookupError", "only UTF-8 is supported as an encoding: got " + interp.repr(a[0]));
    }
  }
  return interp.object<Bytes>(self.text());
}

Value strip_tags_method(Interp& interp, const Value& self, CallArgs& args) {
  plain(interp, args, "striptags", 0, 0);
  return interp.str(strip_tags(interp, self.text()));
}
Value unescape_method(Interp& interp, const Value& self, CallArgs& args) {
  plain(interp, args, "unescape", 0, 0);
  return interp.str(unescape_html(self.text()));
}

struct Method {
  const char* name;
  NativeFunction function;
};

#define METHOD(name, body) {#name, +[](Interp& interp, const Value& self, CallArgs& args) -> Value { return body; }}

constexpr Method kMethods[] = {
    METHOD(capitalize, mapped(interp, self, args, "capitalize", capitalize)),
    METHOD(casefold, mapped(interp, self, args, "casefold", casefold)),
    METHOD(center, justify(interp, self, args, "center", Justify::kCenter)),
    {"count", count},
    {"encode", encode},
    METHOD(endswith, starts_or_ends(interp, self, args, true)),
    {"expandtabs", expandtabs},
    METHOD(find, find(interp, self, args, "find", false, false)),
    {"format", format},
    {"format_map", format_map},
    METHOD(index, find(interp, self, args, "index", false, true)),
    METHOD(isalnum, all_pass(interp, self, args, "isalnum", is_alnum)),
    METHOD(isalpha, all_pass(interp, self, args, "isalpha", is_alpha)),
    METHOD(isascii, all_pass(
                        interp, self, args, "isascii", +[](uint32_t code) { return code < 0x80; }, true)),
    METHOD(isdecimal, all_pass(interp, self, args, "isdecimal", is_decimal)),
    METHOD(isdigit, all_pass(interp, self, args, "isdigit", is_digit)),
    {"isidentifier", is_identifier},
    METHOD(islower, (plain(interp, args, "islower", 0, 0), Value::boolean(is_lower_text(self.text())))),
    METHOD(isnumeric, all_pass(interp, self, args, "isnumeric", is_numeric)),
    METHOD(isprintable, all_pass(interp, self, args, "isprintable", is_printable, true)),
    METHOD(isspace, all_pass(interp, self, args, "isspace", is_space)),
    {"istitle", is_title_case},
    METHOD(isupper, (plain(interp, args, "isupper", 0, 0), Value::boolean(is_upper_text(self.text())))),
    {"join", join},
    METHOD(ljust, justify(interp, self, args, "ljust", Justify::kLeft)),
    METHOD(lower, mapped(interp, self, args, "lower", lower)),
    METHOD(lstrip, strip(interp, self, args, "lstrip", true, false)),
    {"maketrans", maketrans},
    METHOD(partition, partition(interp, self, args, false)),
    METHOD(removeprefix, remove_affix(interp, self, args, false)),
    METHOD(removesuffix, remove_affix(interp, self, args, true)),
    {"replace", replace},
    METHOD(rfind, find(interp, self, args, "rfind", true, false)),
    METHOD(rindex, find(interp, self, args, "rindex", true, true)),
    METHOD(rjust, justify(interp, self, args, "rjust", Justify::kRight)),
    METHOD(rpartition, partition(interp, self, args, true)),
    METHOD(rsplit, split(interp, self, args, true)),
    METHOD(rstrip, strip(interp, self, args, "rstrip", false, true)),
    METHOD(split, split(interp, self, args, false)),
    {"splitlines", splitlines},
    METHOD(startswith, starts_or_ends(interp, self, args, false)),
    METHOD(strip, strip(interp, self, args, "strip", true, true)),
    METHOD(swapcase, mapped(interp, self, args, "swapcase", swapcase)),
    METHOD(title, mapped(interp, self, args, "title", title)),
    {"translate", translate},
    METHOD(upper, mapped(interp, self, args, "upper", upper)),
    {"zfill", zfill},
};

#undef METHOD

constexpr Method kMarkupMethods[] = {{"striptags", strip_tags_method}, {"unescape", unescape_method}};

}  // namespace

bool string_method(Interp& interp, const Value& owner, const std::string& name, Value& out) {
  for (const Method& method : kMethods) {
    if (name != method.name) continue;
    out = make_function(interp, name, method.function, owner);
    return true;
  }
  if (!owner.is_markup()) return false;
  for (const Method& method : kMarkupMethods) {
    if (name != method.name) continue;
    out = make_function(interp, name, method.function, owner, "method");
    return true;
  }
  return false;
}

}  // namespace pagoda::jinja
