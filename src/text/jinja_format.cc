// Python's text formatting: the % operator, str.format with its field specifications.
#include <cmath>
#include <cstdio>
#include <cstring>

#include "base/utf8.h"
#include "text/jinja_objects.h"
#include "text/jinja_ops.h"

namespace pagoda::jinja {

namespace {

constexpr int64_t kMaxWidth = 1 << 20;      // of a field; more is surely an attack
constexpr int64_t kMaxPrecision = 1 << 10;  // digits of a number

std::string c_format(char type, int precision, bool alternate, double value) {
  const char* format;
  switch (type) {
    case 'e': format = alternate ? "%#.*e" : "%.*e"; break;
    case 'E': format = alternate ? "%#.*E" : "%.*E"; break;
    case 'f': format = alternate ? "%#.*f" : "%.*f"; break;
    case 'F': format = alternate ? "%#.*F" : "%.*F"; break;
    case 'G': format = alternate ? "%#.*G" : "%.*G"; break;
    default: format = alternate ? "%#.*g" : "%.*g"; break;
  }
  const int size = std::snprintf(nullptr, 0, format, precision, value);
  std::string out(static_cast<size_t>(size) + 1, '\0');
  std::snprintf(out.data(), out.size(), format, precision, value);
  out.pop_back();
  return out;
}

// Digits of |value| with Python's spelling of inf and nan (no sign).
std::string float_digits(char type, int precision, bool alternate, double value) {
  const bool upper = type >= 'A' && type <= 'Z';
  if (std::isnan(value)) return upper ? "NAN" : "nan";
  if (std::isinf(value)) return upper ? "INF" : "inf";
  return c_format(type, precision, alternate, std::fabs(value));
}

std::string integer_digits(int64_t value, int base, bool upper) {
  auto rest = value < 0 ? uint64_t{0} - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  std::string out;
  do {
    const auto digit = static_cast<int>(rest % static_cast<uint64_t>(base));
    out.insert(out.begin(), static_cast<char>(digit < 10 ? '0' + digit : (upper ? 'A' : 'a') + digit - 10));
    rest /= static_cast<uint64_t>(base);
  } while (rest != 0);
  return out;
}

std::string group_digits(const std::string& digits, char separator, size_t every) {
  size_t whole = 0;
  while (whole < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[whole])) != 0 &&
         !(every == 3 && (digits[whole] == 'e' || digits[whole] == 'E'))) {
    ++whole;
  }
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i != 0 && (whole - i) % every == 0) out.push_back(separator);
    out.push_back(digits[i]);
  }
  return out + digits.substr(whole);
}

struct Spec {
  std::string fill;  // one code point; empty: not given
  char align = 0;
  char sign = 0;
  bool no_negative_zero = false;
  bool alternate = false;
  bool zero = false;
  int64_t width = 0;
  char grouping = 0;
  int64_t precision = -1;
  char type = 0;
};

bool is_align(char c) { return c == '<' || c == '>' || c == '=' || c == '^'; }

int64_t read_number(Interp& interp, const std::string& text, size_t& at) {
  int64_t value = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    value = value * 10 + (text[at++] - '0');
    if (value > kMaxWidth) {
      interp.limit(fmt::format("format width or precision too large: need at most {}", kMaxWidth));
    }
  }
  return value;
}

Spec parse_spec(Interp& interp, const std::string& text, const Value& value) {
  Spec spec;
  size_t at = 0;
  if (!text.empty()) {
    size_t next = 0;
    utf8_next(text, next);
    if (next < text.size() && is_align(text[next])) {
      spec.fill = text.substr(0, next);
      spec.align = text[next];
      at = next + 1;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      at = 1;
    }
  }
  if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) spec.sign = text[at++];
  if (at < text.size() && text[at] == 'z') {
    spec.no_negative_zero = true;
    ++at;
  }
  if (at < text.size() && text[at] == '#') {
    spec.alternate = true;
    ++at;
  }
  if (at < text.size() && text[at] == '0') {
    spec.zero = true;
    if (spec.fill.empty()) spec.fill = "0";
    if (spec.align == 0 && value.is_number()) spec.align = '=';
    ++at;
  }
  spec.width = read_number(interp, text, at);
  if (at < text.size() && (text[at] == ',' || text[at] == '_')) spec.grouping = text[at++];
  if (at < text.size() && (text[at] == ',' || text[at] == '_')) {
    interp.value_error(text[at] == spec.grouping ? fmt::format("Cannot specify '{}' with '{}'.", text[at], text[at])
                                                 : "Cannot specify both ',' and '_'.");
  }
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (at >= text.size() || text[at] < '0' || text[at] > '9') interp.value_error("Format specifier missing precision");
    spec.precision = read_number(interp, text, at);
  }
  if (at < text.size()) {
    size_t next = at;
    utf8_next(text, next);
    if (next < text.size()) {
      interp.value_error(fmt::format("Invalid format specifier '{}' for object of type '{}'", text, type_name(value)));
    }
    if (next > at + 1) {
      interp.value_error(fmt::format("Unknown format code '{}' for object of type '{}'", text.substr(at), type_name(value)));
    }
    spec.type = text[at];
  }
  return spec;
}

std::string pad(Interp& interp, const Spec& spec, const std::string& sign, const std::string& body, char default_align) {
  const char align = spec.align != 0 ? spec.align : default_align;
  const std::string fill = spec.fill.empty() ? " " : spec.fill;
  const auto length = static_cast<int64_t>(utf8_length(body) + utf8_length(sign));
  const int64_t missing = std::max<int64_t>(0, spec.width - length);
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string before, after;
  for (int64_t i = 0; i < missing; ++i) (i < left ? before : after) += fill;
  interp.check_size(before.size() + after.size() + body.size());
  return align == '=' ? sign + before + body : before + sign + body + after;
}

[[noreturn]] void unknown_code(Interp& interp, const Spec& spec, const Value& value) {
  interp.value_error(fmt::format("Unknown format code '{}' for object of type '{}'", spec.type, type_name(value)));
}

std::string sign_of(const Spec& spec, bool is_negative) {
  if (is_negative) return "-";
  if (spec.sign == '+') return "+";
  return spec.sign == ' ' ? " " : "";
}

// Zero padding between the sign and grouped digits counts the separators in.
std::string zero_group(std::string digits, const Spec& spec, size_t prefix, char separator, size_t every) {
  std::string grouped = group_digits(digits, separator, every);
  if (spec.fill != "0" || spec.align != '=') return grouped;
  while (static_cast<int64_t>(grouped.size() + prefix) < spec.width) {
    digits.insert(digits.begin(), '0');
    std::string longer = group_digits(digits, separator, every);
    if (static_cast<int64_t>(longer.size() + prefix) > spec.width) {
      // A separator must not come first: one more digit is written instead.
      return longer;
    }
    grouped = std::move(longer);
  }
  return grouped;
}

// Types that show any number as a float; a float has 'n' and none besides.
bool is_float_type(char type) { return type != 0 && std::strchr("eEfFgG%", type) != nullptr; }

std::string format_float_spec(Interp& interp, const Value& value, const Spec& spec) {
  const double number = value.as_double();
  char type = spec.type;
  int64_t precision = spec.precision;
  if (precision > kMaxPrecision) interp.limit(fmt::format("precision too large: need at most {}", kMaxPrecision));
  std::string digits;
  bool percent = false;
  if (type == '%') {
    percent = true;
    type = 'f';
  } else if (type == 'n') {
    type = 'g';
  }
  if (spec.type == 0 && precision < 0) {
    digits = python_float_repr(std::fabs(number));
    if (std::isnan(number)) digits = "nan";
  } else if (spec.type == 0) {
    // Like g, with at least one digit after the point and an exponent one earlier.
    if (!std::isfinite(number)) {
      digits = float_digits('g', 6, false, number);
    } else {
      const int p = static_cast<int>(std::max<int64_t>(precision, 1));
      const std::string scientific = c_format('e', p - 1, false, std::fabs(number));
      const int exponent = std::atoi(scientific.c_str() + scientific.find('e') + 1);
      if (number != 0 && (exponent < -4 || exponent >= p - 1 + (p == 1 ? 1 : 0))) {
        digits = c_format('g', p, spec.alternate, std::fabs(number));
        if (digits.find('e') == std::string::npos) {
          std::string mantissa = scientific.substr(0, scientific.find('e'));
          if (mantissa.find('.') != std::string::npos) {
            while (mantissa.back() == '0') mantissa.pop_back();
            if (mantissa.back() == '.') mantissa.pop_back();
          }
          digits = mantissa + scientific.substr(scientific.find('e'));
        }
      } else {
        digits = c_format('g', p, spec.alternate, std::fabs(number));
        if (digits.find_first_of(".e") == std::string::npos) digits += ".0";
      }
    }
  } else {
    if (precision < 0) precision = 6;
    if (precision == 0 && (type == 'g' || type == 'G')) precision = 1;
    digits = float_digits(type, static_cast<int>(precision), spec.alternate, percent ? number * 100 : number);
  }
  if (percent) digits += "%";
  bool is_negative = std::signbit(number) && !std::isnan(number);
  if (spec.no_negative_zero && is_negative && digits.find_first_of("123456789in") == std::string::npos) is_negative = false;
  const std::string sign = sign_of(spec, is_negative);
  if (spec.grouping != 0) digits = zero_group(digits, spec, sign.size(), spec.grouping, 3);
  return pad(interp, spec, sign, digits, '>');
}

std::string format_int_spec(Interp& interp, const Value& value, const Spec& spec) {
  if (is_float_type(spec.type)) return format_float_spec(interp, Value::real(value.as_double()), spec);
  if (spec.precision >= 0) interp.value_error("Precision not allowed in integer format specifier");
  if (spec.no_negative_zero)
    interp.value_error("Negative zero coercion (z) not allowed in format specifier with integer format code '" +
                       std::string(1, spec.type == 0 ? 'd' : spec.type) + "'");
  int base = 10;
  std::string prefix;
  switch (spec.type) {
    case 'b': base = 2, prefix = "0b"; break;
    case 'o': base = 8, prefix = "0o"; break;
    case 'x': base = 16, prefix = "0x"; break;
    case 'X': base = 16, prefix = "0X"; break;
    case 'd':
    case 'n':
    case 0: break;
    case 'c': {
      if (spec.sign != 0) interp.value_error("Sign not allowed with integer format specifier 'c'");
      const int64_t code = value.as_int();
      if (code < 0 || code > 0x10FFFF) interp.error("OverflowError", "%c arg not in range(0x110000)");
      std::string character;
      utf8_append(character, static_cast<uint32_t>(code));
      return pad(interp, spec, "", character, '>');
    }
    default: unknown_code(interp, spec, value);
  }
  if (spec.grouping == ',' && base != 10) interp.value_error(fmt::format("Cannot specify ',' with '{}'.", spec.type));
  std::string sign = sign_of(spec, value.as_int() < 0);
  if (spec.alternate) sign += prefix;
  std::string digits = integer_digits(value.as_int(), base, spec.type == 'X');
  if (spec.grouping != 0) digits = zero_group(digits, spec, sign.size(), spec.grouping, base == 10 ? 3 : 4);
  return pad(interp, spec, sign, digits, '>');
}

}  // namespace

std::string format_value(Interp& interp, const Value& value, const std::string& text) {
  if (text.empty()) return interp.to_text(value);
  if (!value.is_number() && !value.is_string()) {
    interp.type_error("unsupported format string passed to " + type_name(value) + ".__format__");
  }
  const Spec spec = parse_spec(interp, text, value);
  if (value.is_string()) {
    if (spec.type != 0 && spec.type != 's') unknown_code(interp, spec, value);
    if (spec.sign == ' ') interp.value_error("Space not allowed in string format specifier");
    if (spec.sign != 0) interp.value_error("Sign not allowed in string format specifier");
    if (spec.no_negative_zero) interp.value_error("Negative zero coercion (z) not allowed in string format specifier");
    if (spec.alternate) interp.value_error("Alternate form (#) not allowed in string format specifier");
    if (spec.grouping != 0) interp.value_error(fmt::format("Cannot specify '{}' with 's'.", spec.grouping));
    if (spec.align == '=') interp.value_error("'=' alignment not allowed in string format specifier");
    std::string body = value.text();
    if (spec.precision >= 0)
      body = slice_text(value.str(), 0, std::min<size_t>(static_cast<size_t>(spec.precision), value.str().length));
    return pad(interp, spec, "", body, '<');
  }
  if (value.is_bool() && spec.type == 0) return format_int_spec(interp, Value::integer(value.as_int()), spec);
  if (value.is_float()) {
    if (spec.type != 0 && spec.type != 'n' && !is_float_type(spec.type)) unknown_code(interp, spec, value);
    return format_float_spec(interp, value, spec);
  }
  return format_int_spec(interp, value, spec);
}

namespace {

// repr with everything outside ASCII escaped.
std::string ascii(Interp& interp, const Value& value) {
  const std::string text = interp.repr(value);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const uint32_t code = utf8_next(text, i);
    if (code < 0x80) {
      out.push_back(static_cast<char>(code));
    } else {
      out += code < 0x100     ? fmt::format("\\x{:02x}", code)
             : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                              : fmt::format("\\U{:08x}", code);
    }
  }
  return out;
}

class Braces {
 public:
  Braces(Interp& interp, const CallArgs& args, bool markup) : interp_(interp), args_(args), markup_(markup) {}

  std::string run(const std::string& text, int depth) {
    if (depth < 0) interp_.value_error("Max string recursion exceeded");
    std::string out;
    for (size_t i = 0; i < text.size();) {
      const char c = text[i];
      if (c == '{' || c == '}') {
        if (i + 1 < text.size() && text[i + 1] == c) {
          out.push_back(c);
          i += 2;
          continue;
        }
        if (c == '}') interp_.value_error("Single '}' encountered in format string");
        if (i + 1 >= text.size()) interp_.value_error("Single '{' encountered in format string");
        out += field(text, ++i, depth);
        interp_.check_size(out.size());
        continue;
      }
      out.push_back(c);
      ++i;
    }
    return out;
  }

 private:
  // The field whose "{" is before `at`; moves past its "}".
  std::string field(const std::string& text, size_t& at, int depth) {
    interp_.work(1);
    const size_t start = at;
    int open = 1;
    size_t end = at;
    bool bracket = false;
    size_t name_end = std::string::npos;
    for (; end < text.size(); ++end) {
      const char c = text[end];
      if (c == '[' && name_end == std::string::npos) bracket = true;
      if (c == ']') bracket = false;
      if (bracket) continue;
      if (c == '{') {
        if (name_end == std::string::npos) interp_.value_error("unexpected '{' in field name");
        ++open;
      }
      if (c == '}' && --open == 0) break;
      if ((c == ':' || c == '!') && name_end == std::string::npos) name_end = end;
    }
    if (end >= text.size()) interp_.value_error("expected '}' before end of string");
    if (name_end == std::string::npos) name_end = end;
    const std::string name = text.substr(start, name_end - start);
    char conversion = 0;
    std::string spec;
    size_t rest = name_end;
    if (rest < end && text[rest] == '!') {
      if (rest + 1 >= end) interp_.value_error("end of string while looking for conversion specifier");
      conversion = text[rest + 1];
      rest += 2;
      if (rest < end && text[rest] != ':') interp_.value_error("expected ':' after conversion specifier");
    }
    if (rest < end && text[rest] == ':') spec = text.substr(rest + 1, end - rest - 1);
    at = end + 1;

    Value value = lookup(name);
    if (spec.find_first_of("{}") != std::string::npos) {
      spec = run(spec, depth - 1);
    } else if (depth - 1 < 0) {
      interp_.value_error("Max string recursion exceeded");
    }
    switch (conversion) {
      case 0: break;
      case 's': value = interp_.str(interp_.to_text(value)); break;
      case 'r': value = interp_.str(interp_.repr(value)); break;
      case 'a': value = interp_.str(ascii(interp_, value)); break;
      default: interp_.value_error(fmt::format("Unknown conversion specifier {}", conversion));
    }
    if (markup_) {
      if (value.is_markup()) {
        if (!spec.empty()) interp_.value_error("Unsupported format specification for Markup.");
        return value.text();
      }
      return escape_html(format_value(interp_, value, spec));
    }
    return format_value(interp_, value, spec);
  }

  Value lookup(const std::string& name) {
    size_t at = name.find_first_of(".[");
    const std::string first = name.substr(0, at);
    Value value;
    const bool number = !first.empty() && first.find_first_not_of("0123456789") == std::string::npos;
    // Only a field without any name is numbered, and only a bare number forbids that.
    if (name.empty() || (number && first.size() == name.size())) {
      bool& mine = name.empty() ? automatic_ : manual_;
      const bool other = name.empty() ? manual_ : automatic_;
      if (other) interp_.value_error("cannot switch from manual field specification to automatic field numbering");
      mine = true;
    }
    if (name.empty() || number) {
      const uint64_t index = name.empty() ? next_++ : first.size() > 9 ? UINT64_MAX : std::stoull(first);
      if (index >= args_.positional.size()) {
        interp_.error("IndexError", "tuple index out of range");
      }
      value = args_.positional[index];
    } else {
      bool found = false;
      for (const auto& keyword : args_.keywords) {
        if (keyword.first != first) continue;
        value = keyword.second;
        found = true;
      }
      if (!found) interp_.error("KeyError", interp_.repr(interp_.str(first)));
    }
    while (at < name.size()) {
      if (name[at] == '.') {
        const size_t end = std::min(name.find_first_of(".[", at + 1), name.size());
        const std::string part = name.substr(at + 1, end - at - 1);
        if (part.empty()) interp_.value_error("Empty attribute in format string");
        value = interp_.get_attr(value, part);
        at = end;
      } else if (name[at] == '[') {
        const size_t end = name.find(']', at);
        if (end == std::string::npos) interp_.value_error("Missing ']' in format string");
        const std::string part = name.substr(at + 1, end - at - 1);
        if (part.empty()) interp_.value_error("Empty attribute in format string");
        const bool is_index = part.find_first_not_of("0123456789") == std::string::npos && part.size() < 18;
        value = interp_.get_item(value, is_index ? Value::integer(std::stoll(part)) : interp_.str(part));
        at = end + 1;
        if (at < name.size() && name[at] != '.' && name[at] != '[') {
          interp_.value_error("Only '.' or '[' may follow ']' in format field specifier");
        }
      } else {
        break;
      }
    }
    return value;
  }

  Interp& interp_;
  const CallArgs& args_;
  const bool markup_;
  bool automatic_ = false, manual_ = false;
  uint64_t next_ = 0;
};

class Percent {
 public:
  Percent(Interp& interp, const Value& format, const Value& value)
      : interp_(interp), format_(format.text()), value_(value), markup_(format.is_markup()) {}

  std::string run() {
    const bool mapping = !value_.is_tuple() && !value_.is_string() &&
                         (value_.is_dict() || value_.is_list() || value_.is_undefined() ||
                          (value_.is_object() && value_.object().subscriptable()));
    mapping_ = mapping;
    for (size_t i = 0; i < format_.size();) {
      if (format_[i] != '%') {
        out_.push_back(format_[i++]);
        continue;
      }
      ++i;
      conversion(i);
      interp_.check_size(out_.size());
    }
    const size_t given = value_.is_tuple() ? value_.items().size() : 1;
    if (used_ < given && !(mapping && !value_.is_tuple())) {
      interp_.type_error("not all arguments converted during string formatting");
    }
    return std::move(out_);
  }

 private:
  Value next_argument() {
    if (value_.is_tuple()) {
      if (used_ >= value_.items().size()) interp_.type_error("not enough arguments for format string");
      return value_.items()[used_++];
    }
    if (used_ > 0) interp_.type_error("not enough arguments for format string");
    ++used_;
    return value_;
  }

  int64_t star_or_number(size_t& i) {
    if (i < format_.size() && format_[i] == '*') {
      ++i;
      const Value width = next_argument();
      if (!width.is_integral()) interp_.type_error("* wants int");
      if (width.as_int() > kMaxWidth || width.as_int() < -kMaxWidth) {
        interp_.limit(fmt::format("format width or precision too large: need at most {}", kMaxWidth));
      }
      return width.as_int();
    }
    return read_number(interp_, format_, i);
  }

  void conversion(size_t& i) {
    interp_.work(1);
    const size_t percent = i - 1;
    Value argument;
    bool keyed = false;
    if (i < format_.size() && format_[i] == '(') {
      if (value_.is_list()) interp_.type_error("list indices must be integers or slices, not str");
      if (!mapping_) interp_.type_error("format requires a mapping");
      int open = 1;
      size_t end = i + 1;
      for (; end < format_.size(); ++end) {
        if (format_[end] == '(') ++open;
        if (format_[end] == ')' && --open == 0) break;
      }
      if (end >= format_.size()) interp_.value_error("incomplete format key");
      const std::string key = format_.substr(i + 1, end - i - 1);
      if (value_.is_undefined()) interp_.fail_undefined(value_);
      if (!value_.is_dict()) interp_.type_error("format requires a mapping");
      const Value* found = value_.dict().find(std::string_view(key));
      if (found == nullptr) interp_.error("KeyError", interp_.repr(interp_.str(key)));
      argument = *found;
      keyed = true;
      i = end + 1;
    }
    bool left = false, plus = false, space = false, alternate = false, zero = false;
    for (; i < format_.size(); ++i) {
      const char c = format_[i];
      if (c == '-')
        left = true;
      else if (c == '+')
        plus = true;
      else if (c == ' ')
        space = true;
      else if (c == '#')
        alternate = true;
      else if (c == '0')
        zero = true;
      else
        break;
    }
    int64_t width = star_or_number(i);
    if (width < 0) {
      left = true;
      width = -width;
    }
    int64_t precision = -1;
    if (i < format_.size() && format_[i] == '.') {
      ++i;
      precision = std::max<int64_t>(star_or_number(i), 0);
    }
    if (i < format_.size() && (format_[i] == 'h' || format_[i] == 'l' || format_[i] == 'L')) ++i;
    if (i >= format_.size()) interp_.value_error("incomplete format");
    const size_t start = i;
    const uint32_t code = utf8_next(format_, i);
    if (code == '%' && start == percent + 1) {
      out_.push_back('%');
      return;
    }
    if (!keyed) argument = next_argument();
    const char type = code < 0x80 ? static_cast<char>(code) : '?';
    if (std::string("sradiuoxXeEfFgGc").find(type) == std::string::npos || code >= 0x80) {
      const std::string shown = code > 31 && code < 128 ? std::string(1, type) : std::string("?");
      interp_.value_error(fmt::format("unsupported format character '{}' (0x{:x}) at index {}", shown, code,
                                      utf8_length(std::string_view(format_).substr(0, start))));
    }
    std::string sign, body;
    bool numeric = true;
    switch (type) {
      case 's':
      case 'r':
      case 'a':
        numeric = false;
        body = type == 's' ? text(argument) : type == 'r' ? interp_.repr(argument) : ascii(interp_, argument);
        if (markup_ && type != 's') body = escape_html(body);
        if (precision >= 0) {
          const Str whole(body, false);
          body = slice_text(whole, 0, std::min(whole.length, static_cast<size_t>(precision)));
        }
        break;
      case 'c':
        numeric = false;
        if (argument.is_integral()) {
          if (argument.as_int() < 0 || argument.as_int() > 0x10FFFF) {
            interp_.error("OverflowError", "%c arg not in range(0x110000)");
          }
          utf8_append(body, static_cast<uint32_t>(argument.as_int()));
        } else if (argument.is_string() && argument.str().length == 1) {
          body = argument.text();
        } else {
          interp_.type_error("%c requires int or char");
        }
        break;
      case 'd':
      case 'i':
      case 'u':
      case 'o':
      case 'x':
      case 'X': {
        if (argument.is_undefined()) interp_.fail_undefined(argument);
        int64_t number;
        if (argument.is_integral()) {
          number = argument.as_int();
        } else if (argument.is_float() && (type == 'd' || type == 'i' || type == 'u')) {
          number = float_to_int(interp_, argument.as_double());
        } else {
          const bool real = type == 'd' || type == 'i' || type == 'u';
          interp_.type_error(fmt::format("%{} format: {} is required, not {}", type, real ? "a real number" : "an integer",
                                         type_name(argument)));
        }
        const int base = type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
        body = integer_digits(number, base, type == 'X');
        if (precision > kMaxPrecision) interp_.limit(fmt::format("precision too large: need at most {}", kMaxPrecision));
        while (static_cast<int64_t>(body.size()) < precision) body.insert(body.begin(), '0');
        if (number < 0) sign = "-";
        if (alternate && base != 10) sign_prefix_ = base == 8 ? "0o" : type == 'x' ? "0x" : "0X";
        break;
      }
      default: {
        if (argument.is_undefined()) interp_.fail_undefined(argument);
        if (!argument.is_number()) {
          if (argument.is_string()) interp_.type_error("must be real number, not str");
          interp_.type_error("must be real number, not " + type_name(argument));
        }
        if (precision > kMaxPrecision) interp_.limit(fmt::format("precision too large: need at most {}", kMaxPrecision));
        const double number = argument.as_double();
        int digits = precision < 0 ? 6 : static_cast<int>(precision);
        if (digits == 0 && (type == 'g' || type == 'G')) digits = 1;
        body = float_digits(type, digits, alternate, number);
        if (std::signbit(number) && !std::isnan(number)) sign = "-";
        break;
      }
    }
    if (numeric && sign.empty()) sign = plus ? "+" : space ? " " : "";
    if (numeric) sign += sign_prefix_;
    sign_prefix_.clear();
    const int64_t missing = std::max<int64_t>(0, width - static_cast<int64_t>(utf8_length(body) + sign.size()));
    interp_.check_size(out_.size() + body.size() + static_cast<size_t>(missing));
    if (left) {
      out_ += sign + body + std::string(static_cast<size_t>(missing), ' ');
    } else if (zero && numeric) {
      out_ += sign + std::string(static_cast<size_t>(missing), '0') + body;
    } else {
      out_ += std::string(static_cast<size_t>(missing), ' ') + sign + body;
    }
  }

  std::string text(const Value& value) { return markup_ ? escaped(interp_, value) : interp_.to_text(value); }

  Interp& interp_;
  const std::string& format_;
  const Value& value_;
  const bool markup_;
  bool mapping_ = false;
  size_t used_ = 0;
  std::string sign_prefix_;
  std::string out_;
};

}  // namespace

std::string format_braces(Interp& interp, const Value& format, const CallArgs& args) {
  interp.work_bytes(format.text().size());
  return Braces(interp, args, format.is_markup()).run(format.text(), 2);
}

std::string format_percent(Interp& interp, const Value& format, const Value& value) {
  interp.work_bytes(format.text().size());
  return Percent(interp, format, value).run();
}

}  // namespace pagoda::jinja
