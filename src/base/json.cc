// JSON over RapidJSON's iterative SAX reader, which needs no stack for depth and takes NaN and Infinity.
#include "base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <unordered_map>

#define RAPIDJSON_HAS_STDSTRING 1
#define RAPIDJSON_NO_SIZETYPEDEFINE
namespace rapidjson {
using SizeType = size_t;
}
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include "base/error.h"
#include "base/file.h"

namespace pagoda {

Json::Json() = default;
Json::Json(std::nullptr_t) {}
Json::Json(bool value) : value_(value) {}
Json::Json(int value) : value_(int64_t{value}) {}
Json::Json(int64_t value) : value_(value) {}
Json::Json(double value) : value_(value) {}
Json::Json(const char* value) : value_(std::string(value)) {}
Json::Json(std::string value) : value_(std::move(value)) {}
Json::Json(std::string_view value) : value_(std::string(value)) {}
Json::Json(Array value) : value_(std::move(value)) {}
Json::Json(Object value) : value_(std::move(value)) {}
Json::Json(const Json&) = default;
Json::Json(Json&&) noexcept = default;
Json& Json::operator=(const Json&) = default;
Json& Json::operator=(Json&&) noexcept = default;
Json::~Json() = default;

Json Json::array() { return Json(Array{}); }
Json Json::object() { return Json(Object{}); }

namespace {

// Builds the tree bottom up on an explicit stack.
class Builder : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Builder> {
 public:
  Builder(const Limits& limits, std::string_view where) : limits_(limits), where_(where) {}

  bool Null() { return add(Json()); }
  bool Bool(bool value) { return add(Json(value)); }
  // Numbers come as text: RapidJSON's own conversion reads outside its tables for a fraction of some 350 zeros.
  bool RawNumber(const char* text, size_t length, bool) {
    const std::string_view number(text, length);
    const bool whole = number.find_first_not_of("-0123456789") == std::string_view::npos;
    if (whole) {
      errno = 0;
      const long long value = std::strtoll(text, nullptr, 10);
      if (errno == 0) return add(Json(static_cast<int64_t>(value)));
    }
    return add(Json(std::strtod(text, nullptr)));  // NaN and Infinity too; the text ends with a NUL
  }
  bool String(const char* text, size_t length, bool) { return add(Json(std::string(text, length))); }
  bool Key(const char* text, size_t length, bool) {
    keys_.back().assign(text, length);
    return true;
  }
  bool StartObject() { return open(Json::object()); }
  bool StartArray() { return open(Json::array()); }
  bool EndObject(size_t) { return close(); }
  bool EndArray(size_t) { return close(); }

  Json take() { return std::move(root_); }

 private:
  bool add(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return true;
    }
    if (++items_ > limits_.max_items) invalid(where_, "too many JSON values: need at most {}", limits_.max_items);
    Json& top = stack_.back();
    if (top.is_object()) {
      top.as_object(where_).push_back({std::move(keys_.back()), std::move(value)});
    } else {
      top.as_array(where_).push_back(std::move(value));
    }
    return true;
  }
  bool open(Json container) {
    if (static_cast<int64_t>(stack_.size()) >= limits_.max_depth) {
      invalid(where_, "JSON nested too deeply: need at most {} levels", limits_.max_depth);
    }
    stack_.push_back(std::move(container));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    Json done = std::move(stack_.back());
    stack_.pop_back();
    keys_.pop_back();
    return add(std::move(done));
  }

  const Limits& limits_;
  std::string_view where_;
  std::vector<Json> stack_;
  std::vector<std::string> keys_;
  Json root_;
  int64_t items_ = 0;
};

}  // namespace

Json Json::parse(std::string_view text, std::string_view where, const Limits& limits) {
  if (static_cast<int64_t>(text.size()) > limits.max_json_bytes) {
    invalid(where, "JSON too large: got {} bytes, need at most {}", text.size(), limits.max_json_bytes);
  }
  if (text.size() >= 3 && std::memcmp(text.data(), "\xEF\xBB\xBF", 3) == 0) text.remove_prefix(3);
  // RapidJSON ends at a NUL byte; a NUL inside the text would hide what follows.
  if (const void* nul = std::memchr(text.data(), 0, text.size()); nul != nullptr && !text.empty()) {
    invalid(where, "not JSON: NUL byte at offset {}", static_cast<const char*>(nul) - text.data());
  }
  constexpr unsigned kFlags = rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag |
                              rapidjson::kParseNumbersAsStringsFlag | rapidjson::kParseNanAndInfFlag;
  Builder builder(limits, where);
  rapidjson::Reader reader;
  rapidjson::MemoryStream raw(text.data(), text.size());
  const rapidjson::ParseResult result = reader.Parse<kFlags>(raw, builder);
  if (result.IsError()) {
    invalid(where, "not valid JSON at byte {}: {}", result.Offset(), rapidjson::GetParseError_En(result.Code()));
  }
  return builder.take();
}

const char* Json::type_name() const {
  switch (type()) {
    case Type::kNull: return "null";
    case Type::kBool: return "boolean";
    case Type::kInt: return "integer";
    case Type::kDouble: return "number";
    case Type::kString: return "string";
    case Type::kArray: return "list";
    case Type::kObject: return "object";
  }
  return "null";
}

namespace {
[[noreturn]] void wrong_type(std::string_view where, const Json& value, const char* need) {
  invalid(where, "wrong type: got {}, need {}", value.type_name(), need);
}
}  // namespace

bool Json::as_bool(std::string_view where) const {
  if (const bool* value = std::get_if<bool>(&value_)) return *value;
  wrong_type(where, *this, "boolean");
}

int64_t Json::as_int(std::string_view where) const {
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return *value;
  if (const double* value = std::get_if<double>(&value_)) {
    if (*value == std::floor(*value) && std::fabs(*value) < 9.0e15) return static_cast<int64_t>(*value);
    invalid(where, "wrong value: got {}, need an integer", *value);
  }
  wrong_type(where, *this, "integer");
}

double Json::as_double(std::string_view where) const {
  if (const double* value = std::get_if<double>(&value_)) return *value;
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return static_cast<double>(*value);
  wrong_type(where, *this, "number");
}

const std::string& Json::as_string(std::string_view where) const {
  if (const std::string* value = std::get_if<std::string>(&value_)) return *value;
  wrong_type(where, *this, "string");
}

const Json::Array& Json::as_array(std::string_view where) const {
  if (const Array* value = std::get_if<Array>(&value_)) return *value;
  wrong_type(where, *this, "list");
}

const Json::Object& Json::as_object(std::string_view where) const {
  if (const Object* value = std::get_if<Object>(&value_)) return *value;
  wrong_type(where, *this, "object");
}

Json::Array& Json::as_array(std::string_view where) {
  if (Array* value = std::get_if<Array>(&value_)) return *value;
  wrong_type(where, *this, "list");
}

Json::Object& Json::as_object(std::string_view where) {
  if (Object* value = std::get_if<Object>(&value_)) return *value;
  wrong_type(where, *this, "object");
}

const Json* Json::find(std::string_view key) const {
  const Object* object = std::get_if<Object>(&value_);
  if (object == nullptr) return nullptr;
  for (auto member = object->rbegin(); member != object->rend(); ++member) {
    if (member->key == key) return &member->value;
  }
  return nullptr;
}

Json* Json::find(std::string_view key) { return const_cast<Json*>(std::as_const(*this).find(key)); }

const Json& Json::at(std::string_view key, std::string_view where) const {
  if (!is_object()) wrong_type(where, *this, "object");
  const Json* value = find(key);
  if (value == nullptr) invalid(where, "missing field: need '{}'", key);
  return *value;
}

bool Json::get_bool(std::string_view key, bool fallback, std::string_view where) const {
  const Json* value = find(key);
  return value == nullptr || value->is_null() ? fallback : value->as_bool(fmt::format("{}: {}", where, key));
}

int64_t Json::get_int(std::string_view key, int64_t fallback, std::string_view where) const {
  const Json* value = find(key);
  return value == nullptr || value->is_null() ? fallback : value->as_int(fmt::format("{}: {}", where, key));
}

double Json::get_double(std::string_view key, double fallback, std::string_view where) const {
  const Json* value = find(key);
  return value == nullptr || value->is_null() ? fallback : value->as_double(fmt::format("{}: {}", where, key));
}

std::string Json::get_string(std::string_view key, std::string_view fallback, std::string_view where) const {
  const Json* value = find(key);
  return value == nullptr || value->is_null() ? std::string(fallback) : value->as_string(fmt::format("{}: {}", where, key));
}

Json& Json::set(std::string_view key, Json value) {
  if (is_null()) value_ = Object{};
  Object& object = as_object("json");
  if (Json* existing = find(key)) {
    *existing = std::move(value);
  } else {
    object.push_back({std::string(key), std::move(value)});
  }
  return *this;
}

void Json::push_back(Json value) {
  if (is_null()) value_ = Array{};
  as_array("json").push_back(std::move(value));
}

size_t Json::size() const {
  if (const Array* array = std::get_if<Array>(&value_)) return array->size();
  if (const Object* object = std::get_if<Object>(&value_)) return object->size();
  return 0;
}

namespace {

constexpr size_t kLongObject = 32;  // members from which on searching one by one takes too long

bool same_members(const Json::Object& mine, const Json::Object& others) {
  std::unordered_map<std::string_view, const Json*> by_key;
  for (const JsonMember& member : others) by_key[member.key] = &member.value;  // the last one counts
  return std::all_of(mine.begin(), mine.end(), [&](const JsonMember& member) {
    const auto value = by_key.find(member.key);
    return value != by_key.end() && *value->second == member.value;
  });
}

}  // namespace

bool Json::operator==(const Json& other) const {
  if (is_number() && other.is_number()) {
    if (is_int() && other.is_int()) return std::get<int64_t>(value_) == std::get<int64_t>(other.value_);
    return as_double("json") == other.as_double("json");
  }
  if (type() != other.type()) return false;
  switch (type()) {
    case Type::kNull: return true;
    case Type::kBool: return std::get<bool>(value_) == std::get<bool>(other.value_);
    case Type::kString: return std::get<std::string>(value_) == std::get<std::string>(other.value_);
    case Type::kArray: return std::get<Array>(value_) == std::get<Array>(other.value_);
    case Type::kObject: {
      const Object& mine = std::get<Object>(value_);
      if (mine.size() != other.size()) return false;
      if (mine.size() > kLongObject) return same_members(mine, std::get<Object>(other.value_));
      return std::all_of(mine.begin(), mine.end(), [&](const JsonMember& member) {
        const Json* value = other.find(member.key);
        return value != nullptr && *value == member.value;
      });
    }
    default: return false;
  }
}

std::string python_float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text =
      fmt::format("{}", value);  // shortest digits that read back, exponent from 1e16 and below 1e-4 as in Python
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

void append_json_string(std::string& out, std::string_view text, bool ensure_ascii) {
  out += '"';
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char byte = static_cast<unsigned char>(text[i]);
    switch (byte) {
      case '"': out += "\\\""; continue;
      case '\\': out += "\\\\"; continue;
      case '\n': out += "\\n"; continue;
      case '\r': out += "\\r"; continue;
      case '\t': out += "\\t"; continue;
      case '\b': out += "\\b"; continue;
      case '\f': out += "\\f"; continue;
      default: break;
    }
    if (byte < 0x20 || (byte == 0x7F && ensure_ascii)) {
      out += fmt::format("\\u{:04x}", byte);
    } else if (byte < 0x80 || !ensure_ascii) {
      out += static_cast<char>(byte);
    } else {
      const int extra = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : 1;
      uint32_t code = byte & (0x3F >> extra);
      for (int k = 1; k <= extra && i + 1 < text.size(); ++k)
        code = (code << 6) | (static_cast<unsigned char>(text[++i]) & 0x3F);
      if (code >= 0x10000) {
        code -= 0x10000;
        out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF));
      } else {
        out += fmt::format("\\u{:04x}", code);
      }
    }
  }
  out += '"';
}

namespace {

void newline(std::string& out, int indent, int depth) {
  out += '\n';
  out.append(static_cast<size_t>(indent) * static_cast<size_t>(depth), ' ');
}

void dump_value(std::string& out, const Json& value, const Json::DumpOptions& options, int depth) {
  switch (value.type()) {
    case Json::Type::kNull: out += "null"; return;
    case Json::Type::kBool: out += value.as_bool("json") ? "true" : "false"; return;
    case Json::Type::kInt: out += fmt::format("{}", value.as_int("json")); return;
    case Json::Type::kDouble: {
      const double number = value.as_double("json");
      out += std::isnan(number)   ? "NaN"
             : std::isinf(number) ? (number > 0 ? "Infinity" : "-Infinity")
                                  : python_float_repr(number);
      return;
    }
    case Json::Type::kString: append_json_string(out, value.as_string("json"), options.ensure_ascii); return;
    case Json::Type::kArray: {
      out += '[';
      bool first = true;
      for (const Json& item : value.as_array("json")) {
        if (!first) out += options.item_separator;
        first = false;
        if (options.indent >= 0) newline(out, options.indent, depth + 1);
        dump_value(out, item, options, depth + 1);
      }
      if (!first && options.indent >= 0) newline(out, options.indent, depth);
      out += ']';
      return;
    }
    case Json::Type::kObject: {
      out += '{';
      bool first = true;
      auto write = [&](const JsonMember& member) {
        if (!first) out += options.item_separator;
        first = false;
        if (options.indent >= 0) newline(out, options.indent, depth + 1);
        append_json_string(out, member.key, options.ensure_ascii);
        out += options.key_separator;
        dump_value(out, member.value, options, depth + 1);
      };
      const Json::Object& object = value.as_object("json");
      if (options.sort_keys) {
        std::vector<const JsonMember*> members;
        for (const JsonMember& member : object) members.push_back(&member);
        std::sort(members.begin(), members.end(), [](auto a, auto b) { return a->key < b->key; });
        for (const JsonMember* member : members) write(*member);
      } else {
        for (const JsonMember& member : object) write(member);
      }
      if (!first && options.indent >= 0) newline(out, options.indent, depth);
      out += '}';
      return;
    }
  }
}

}  // namespace

Json read_json(const std::string& path, const Limits& limits) {
  return Json::parse(read_file(path, limits.max_json_bytes), path, limits);
}

std::string Json::dump() const { return dump(DumpOptions{}); }

std::string Json::pretty(int indent) const {
  DumpOptions options;
  options.indent = indent;
  options.key_separator = ": ";
  return dump(options);
}

std::string Json::dump(const DumpOptions& options) const {
  std::string out;
  dump_value(out, *this, options, 0);
  return out;
}

}  // namespace pagoda
