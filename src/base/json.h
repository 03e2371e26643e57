// JSON values: reading (NaN and Infinity as Python's json takes them), writing (Python's spelling), order of keys kept.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/limits.h"

namespace pagoda {

struct JsonMember;

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<JsonMember>;  // in file order; a key given twice appears twice, find() gives the last
  enum class Type { kNull, kBool, kInt, kDouble, kString, kArray, kObject };

  Json();
  Json(std::nullptr_t);          // NOLINT(google-explicit-constructor): a JSON literal should read like one
  Json(bool value);              // NOLINT
  Json(int value);               // NOLINT
  Json(int64_t value);           // NOLINT
  Json(double value);            // NOLINT
  Json(const char* value);       // NOLINT
  Json(std::string value);       // NOLINT
  Json(std::string_view value);  // NOLINT
  Json(Array value);             // NOLINT
  Json(Object value);            // NOLINT
  Json(const Json&);
  Json(Json&&) noexcept;
  Json& operator=(const Json&);
  Json& operator=(Json&&) noexcept;
  ~Json();

  static Json array();
  static Json object();

  // Throws kInvalidInput "[where] ..." with the byte offset. `where` is usually the file's name.
  // Integers outside int64 become doubles. Invalid UTF-8 is refused.
  static Json parse(std::string_view text, std::string_view where, const Limits& limits = {});

  Type type() const { return static_cast<Type>(value_.index()); }
  bool is_null() const { return type() == Type::kNull; }
  bool is_bool() const { return type() == Type::kBool; }
  bool is_int() const { return type() == Type::kInt; }
  bool is_number() const { return type() == Type::kInt || type() == Type::kDouble; }
  bool is_string() const { return type() == Type::kString; }
  bool is_array() const { return type() == Type::kArray; }
  bool is_object() const { return type() == Type::kObject; }
  const char* type_name() const;  // "null", "boolean", "integer", "number", "string", "list", "object"

  // The value as a type; `where` names the field in the error: "[where] wrong type: got list, need integer".
  bool as_bool(std::string_view where) const;
  int64_t as_int(std::string_view where) const;    // a number without fraction is taken
  double as_double(std::string_view where) const;  // integers too
  const std::string& as_string(std::string_view where) const;
  const Array& as_array(std::string_view where) const;
  const Object& as_object(std::string_view where) const;
  Array& as_array(std::string_view where);
  Object& as_object(std::string_view where);

  // Objects. find: null pointer when this is no object, or the key is missing. at: throws naming the key.
  const Json* find(std::string_view key) const;
  Json* find(std::string_view key);
  const Json& at(std::string_view key, std::string_view where) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  // Typed fields of an object with a default: missing or null gives `fallback`; another type throws.
  bool get_bool(std::string_view key, bool fallback, std::string_view where) const;
  int64_t get_int(std::string_view key, int64_t fallback, std::string_view where) const;
  double get_double(std::string_view key, double fallback, std::string_view where) const;
  std::string get_string(std::string_view key, std::string_view fallback, std::string_view where) const;
  // Sets or replaces a member; makes an object of null.
  Json& set(std::string_view key, Json value);
  // Appends to a list; makes a list of null.
  void push_back(Json value);
  size_t size() const;  // members or elements; 0 for other types

  bool operator==(const Json& other) const;  // 1 == 1.0, as in Python; objects compare without order

  struct DumpOptions {
    int indent = -1;  // < 0: one line
    std::string_view item_separator = ",";
    std::string_view key_separator = ":";
    bool ensure_ascii = false;
    bool sort_keys = false;
  };
  std::string dump() const;  // one line, no spaces
  std::string dump(const DumpOptions& options) const;
  std::string pretty(int indent = 2) const;  // as json.dumps(indent=...) writes it, in UTF-8; without an end of line

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

struct JsonMember {
  std::string key;
  Json value;
};

// A whole file, which errors name.
Json read_json(const std::string& path, const Limits& limits = {});

// A number as Python's repr gives it: 1.0, 1e-05, 1e+16, inf, nan ("Infinity" and "NaN" in JSON).
std::string python_float_repr(double value);
// A string as a JSON literal with quotes.
void append_json_string(std::string& out, std::string_view text, bool ensure_ascii);

}  // namespace pagoda
