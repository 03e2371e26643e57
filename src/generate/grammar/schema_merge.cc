// Keyword by keyword: the narrower of two ranges, the common part of two lists, both of two schemas.
#include "generate/grammar/schema_merge.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda::grammar {

namespace {

constexpr std::array<std::string_view, 31> kReadKeywords = {"type",
                                                            "enum",
                                                            "const",
                                                            "properties",
                                                            "required",
                                                            "additionalProperties",
                                                            "items",
                                                            "prefixItems",
                                                            "minItems",
                                                            "maxItems",
                                                            "minLength",
                                                            "maxLength",
                                                            "pattern",
                                                            "format",
                                                            "minimum",
                                                            "maximum",
                                                            "exclusiveMinimum",
                                                            "exclusiveMaximum",
                                                            "anyOf",
                                                            "oneOf",
                                                            "allOf",
                                                            "$ref",
                                                            "$defs",
                                                            "definitions",
                                                            "nullable",
                                                            "minProperties",
                                                            "maxProperties",
                                                            "unevaluatedProperties",
                                                            "patternProperties",
                                                            "multipleOf",
                                                            "uniqueItems"};
constexpr std::array<std::string_view, 19> kNotes = {"title",
                                                     "description",
                                                     "default",
                                                     "examples",
                                                     "example",
                                                     "$comment",
                                                     "$schema",
                                                     "$id",
                                                     "id",
                                                     "deprecated",
                                                     "readOnly",
                                                     "writeOnly",
                                                     "contentEncoding",
                                                     "contentMediaType",
                                                     "$vocabulary",
                                                     "discriminator",
                                                     "externalDocs",
                                                     "xml",
                                                     "propertyOrdering"};

template <class List>
bool holds(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

Json both(const Json& a, const Json& b) {
  if (a == b) return a;
  Json out = Json::object();
  out.set("allOf", Json(Json::Array{a, b}));
  return out;
}

Json list_of_types(const Json& type) { return type.is_array() ? type : Json(Json::Array{type}); }

Json common_types(const Json& a, const Json& b) {
  Json out = Json::array();
  const Json left = list_of_types(a), right = list_of_types(b);
  for (const Json& one : left.as_array("type")) {
    for (const Json& other : right.as_array("type")) {
      if (!one.is_string() || !other.is_string()) continue;
      const std::string &x = one.as_string("type"), &y = other.as_string("type");
      if (x == y || (x == "integer" && y == "number")) out.push_back(one);
      if (x == "number" && y == "integer") out.push_back(other);
    }
  }
  return out;
}

// Equal values have equal hashes.
size_t hash_of(const Json& value) {
  const std::hash<std::string_view> text;
  size_t hash = value.size();
  if (value.is_number()) {
    hash = std::hash<double>()(value.as_double("value"));
  } else if (value.is_string()) {
    hash = text(value.as_string("value"));
  } else if (value.is_array()) {
    for (const Json& each : value.as_array("value")) hash = hash * 31 + hash_of(each);
  } else if (value.is_object()) {
    for (const JsonMember& member : value.as_object("value")) hash += text(member.key);
  }
  return hash;
}

// Lists may be long: their values are found by hash.
class Values {
 public:
  explicit Values(const Json::Array& list) {
    for (const Json& each : list) add(each);
  }
  void add(const Json& value) { by_hash_.emplace(hash_of(value), &value); }
  bool contains(const Json& value) const {
    const auto [begin, end] = by_hash_.equal_range(hash_of(value));
    return std::any_of(begin, end, [&](const auto& each) { return *each.second == value; });
  }

 private:
  std::unordered_multimap<size_t, const Json*> by_hash_;
};

Json common_values(const Json& a, const Json& b) {
  const Values others(b.as_array("enum"));
  Json out = Json::array();
  for (const Json& one : a.as_array("enum")) {
    if (others.contains(one)) out.push_back(one);
  }
  return out;
}

Json all_values(const Json& a, const Json& b) {
  Values known(a.as_array("required"));
  Json out = a;
  for (const Json& one : b.as_array("required")) {
    if (known.contains(one)) continue;
    known.add(one);
    out.push_back(one);
  }
  return out;
}

// Properties of one side are also bound by what the other says of those it does not name.
void merge_properties(const Json& a, const Json& b, Json& out) {
  static const Json kNone = Json::object();
  const auto named = [](const Json& schema) -> const Json& {
    const Json* const found = schema.find("properties");
    return found != nullptr && found->is_object() ? *found : kNone;
  };
  Json merged = Json::object();
  Json::Object& list = merged.as_object("properties");
  std::unordered_set<std::string_view> known;
  const auto add = [&](const Json& from, const Json& other) {
    const Json* const rest = other.find("additionalProperties");
    std::unordered_map<std::string_view, const Json*> others;
    for (const JsonMember& member : named(other).as_object("properties")) others[member.key] = &member.value;
    for (const JsonMember& member : named(from).as_object("properties")) {
      if (!known.insert(member.key).second) continue;
      const auto same = others.find(member.key);
      const Json* const beside = same != others.end() ? same->second : rest;
      list.push_back({member.key, beside != nullptr ? both(member.value, *beside) : member.value});
    }
  };
  add(a, b);
  add(b, a);
  if (merged.size() > 0) out.set("properties", std::move(merged));
  const Json *const x = a.find("additionalProperties"), *const y = b.find("additionalProperties");
  if (x != nullptr && y != nullptr) {
    out.set("additionalProperties", both(*x, *y));
  } else if (x != nullptr || y != nullptr) {
    out.set("additionalProperties", x != nullptr ? *x : *y);
  }
}

void merge_items(const Json& a, const Json& b, Json& out) {
  const auto prefix_size = [](const Json& schema) {
    const Json* const prefix = schema.find("prefixItems");
    return prefix != nullptr && prefix->is_array() ? prefix->size() : 0;
  };
  const auto at = [&](const Json& schema, size_t i) -> const Json* {
    return i < prefix_size(schema) ? &schema.find("prefixItems")->as_array("prefixItems")[i] : schema.find("items");
  };
  const auto pair = [](const Json* x, const Json* y) {
    return x != nullptr && y != nullptr ? both(*x, *y) : x != nullptr ? *x : *y;
  };
  const size_t longest = std::max(prefix_size(a), prefix_size(b));
  Json prefix = Json::array();
  for (size_t i = 0; i < longest; ++i) prefix.push_back(pair(at(a, i), at(b, i)));
  if (longest > 0) out.set("prefixItems", std::move(prefix));
  const Json *const x = a.find("items"), *const y = b.find("items");
  if (x != nullptr || y != nullptr) out.set("items", pair(x, y));
}

// Keys with a pattern of one side are among those that the other side's additionalProperties speak of.
void check_patterns(const Json& a, const Json& b, std::string_view where, std::string_view path) {
  if (!a.contains("patternProperties")) return;
  const auto refuse = [&](std::string_view name) {
    unsupported(where, "{}: `patternProperties` and `{}` of several schemas that must fit together (allOf) are not supported",
                path, name);
  };
  for (const char* const name : {"additionalProperties", "unevaluatedProperties", "patternProperties"}) {
    if (b.contains(name)) refuse(name);
  }
  if (a.contains("additionalProperties") && b.contains("properties")) refuse("properties");
}

}  // namespace

Keyword keyword_kind(std::string_view name) {
  if (holds(kReadKeywords, name)) return Keyword::kRead;
  if (holds(kNotes, name) || name.substr(0, 2) == "x-") return Keyword::kNote;
  return Keyword::kRefused;
}

Json merge_schemas(const Json& a, const Json& b, std::string_view where, std::string_view path) {
  if (a.is_bool()) return a.as_bool(path) ? b : a;
  if (b.is_bool()) return b.as_bool(path) ? a : b;
  check_patterns(a, b, where, path);
  check_patterns(b, a, where, path);
  Json out = a;
  bool never = false;
  for (const JsonMember& member : b.as_object(path)) {
    const std::string& name = member.key;
    const Json& value = member.value;
    if (name == "$defs" || name == "definitions" || keyword_kind(name) == Keyword::kNote) continue;
    const Json* const known = out.find(name);
    if (known == nullptr) {
      out.set(name, value);
      continue;
    }
    if (name == "type") {
      Json types = common_types(*known, value);
      never |= types.size() == 0;
      out.set(name, std::move(types));
    } else if (name == "enum" && known->is_array() && value.is_array()) {
      out.set(name, common_values(*known, value));
    } else if (name == "const") {
      never |= !(*known == value);
    } else if (name == "required" && known->is_array() && value.is_array()) {
      out.set(name, all_values(*known, value));
    } else if (name.compare(0, 3, "min") == 0 || name == "exclusiveMinimum" || name.compare(0, 3, "max") == 0 ||
               name == "exclusiveMaximum") {
      const bool upper = name.compare(0, 3, "max") == 0 || name == "exclusiveMaximum";
      if (!known->is_number() || !value.is_number())
        unsupported(where, "{}: `{}` of several schemas is not supported", path, name);
      const bool take = upper ? value.as_double(path) < known->as_double(path) : value.as_double(path) > known->as_double(path);
      if (take) out.set(name, value);
    } else if (name == "nullable" && known->is_bool() && value.is_bool()) {
      out.set(name, Json(known->as_bool(path) && value.as_bool(path)));
    } else if (name == "unevaluatedProperties" || name == "uniqueItems") {
      out.set(name, both(*known, value));
    } else if (name != "properties" && name != "additionalProperties" && name != "items" && name != "prefixItems" &&
               !(*known == value)) {
      unsupported(where, "{}: several values of `{}` in what must fit together (allOf) are not supported", path, name);
    }
  }
  if (never) return Json(false);
  merge_properties(a, b, out);
  merge_items(a, b, out);
  return out;
}

bool is_of_type(const Json& value, std::string_view type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_bool();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  if (type == "number") return value.is_number();
  if (type != "integer" || !value.is_number()) return false;
  return value.is_int() || std::floor(value.as_double("value")) == value.as_double("value");
}

bool value_fits(const Json& value, const Json& schema, std::string_view where, std::string_view path) {
  for (const JsonMember& member : schema.as_object(path)) {
    const std::string& name = member.key;
    const Json& bound = member.value;
    const auto number = [&] { return value.as_double(path); };
    const auto limit = [&] { return bound.as_double(path); };
    if (name == "type") {
      const Json types = list_of_types(bound);
      bool any = value.is_null() && schema.get_bool("nullable", false, path);
      for (const Json& type : types.as_array(path)) any |= is_of_type(value, type.as_string(path));
      if (!any) return false;
    } else if (name == "const") {
      if (!(value == bound)) return false;
    } else if (name == "enum") {
      const Json::Array& list = bound.as_array(path);
      if (std::find(list.begin(), list.end(), value) == list.end()) return false;
    } else if (name == "minimum") {
      if (value.is_number() && number() < limit()) return false;
    } else if (name == "maximum") {
      if (value.is_number() && number() > limit()) return false;
    } else if (name == "exclusiveMinimum") {
      if (value.is_number() && number() <= limit()) return false;
    } else if (name == "exclusiveMaximum") {
      if (value.is_number() && number() >= limit()) return false;
    } else if (name == "minLength") {
      if (value.is_string() && static_cast<double>(utf8_length(value.as_string(path))) < limit()) return false;
    } else if (name == "maxLength") {
      if (value.is_string() && static_cast<double>(utf8_length(value.as_string(path))) > limit()) return false;
    } else if (name == "minItems") {
      if (value.is_array() && static_cast<double>(value.size()) < limit()) return false;
    } else if (name == "maxItems") {
      if (value.is_array() && static_cast<double>(value.size()) > limit()) return false;
    } else if (name == "multipleOf" && value.is_int() && bound.is_int() && bound.as_int(path) > 0) {
      if (value.as_int(path) % bound.as_int(path) != 0) return false;
    } else {
      const bool for_strings = name == "pattern" || name == "format";
      const bool for_arrays = name == "items" || name == "prefixItems" || name == "uniqueItems";
      const bool for_objects = name == "properties" || name == "required" || name == "additionalProperties" ||
                               name == "minProperties" || name == "maxProperties" || name == "unevaluatedProperties" ||
                               name == "patternProperties";
      const bool for_numbers = name == "multipleOf";
      if ((for_strings && value.is_string()) || (for_arrays && value.is_array()) || (for_objects && value.is_object()) ||
          (for_numbers && value.is_number())) {
        unsupported(where, "{}: `{}` beside `enum` or `const` is not supported", path, name);
      }
    }
  }
  return true;
}

}  // namespace pagoda::grammar
