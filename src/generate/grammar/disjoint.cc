// Proofs by what both schemas say outright. What is not looked at (patterns, lengths, branches) only makes fewer of them.
#include "generate/grammar/disjoint.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

namespace pagoda::grammar {

namespace {

constexpr int kDeepest = 8;        // properties within properties
constexpr size_t kMostParts = 64;  // of one schema: the others are not looked at

enum : TypeSet { kNull = 1, kBoolean = 2, kString = 4, kArray = 8, kObject = 16, kWhole = 32, kBroken = 64 };
constexpr TypeSet kNumbers = kWhole | kBroken;

TypeSet named_type(const Json& name) {
  if (!name.is_string()) return kAllTypes;
  const std::string& text = name.as_string("type");
  if (text == "null") return kNull;
  if (text == "boolean") return kBoolean;
  if (text == "string") return kString;
  if (text == "array") return kArray;
  if (text == "object") return kObject;
  if (text == "integer") return kWhole;
  return text == "number" ? kNumbers : kAllTypes;
}

TypeSet type_of(const Json& value) {
  if (value.is_null()) return kNull;
  if (value.is_bool()) return kBoolean;
  if (value.is_string()) return kString;
  if (value.is_array()) return kArray;
  if (value.is_object()) return kObject;
  const double number = value.as_double("value");
  return value.is_int() || std::floor(number) == number ? kWhole : kBroken;
}

// The values that a schema lists. False: it lists none.
bool list_values(const std::vector<const Json*>& parts, std::vector<const Json*>& values) {
  for (const Json* const part : parts) {
    if (const Json* const one = part->find("const")) {
      values = {one};
      return true;
    }
    if (const Json* const list = part->find("enum"); list != nullptr && list->is_array()) {
      for (const Json& each : list->as_array("enum")) values.push_back(&each);
      return true;
    }
  }
  return false;
}

// Null: no bound.
struct Bound {
  const Json* number = nullptr;
  bool open = false;
};

Bound bound_of(const std::vector<const Json*>& parts, bool upper) {
  Bound bound;
  for (const Json* const part : parts) {
    for (const bool open : {true, false}) {
      const Json* const found =
          part->find(upper ? (open ? "exclusiveMaximum" : "maximum") : (open ? "exclusiveMinimum" : "minimum"));
      if (found == nullptr || !found->is_number()) continue;
      const double value = found->as_double("bound"), known = bound.number == nullptr ? 0 : bound.number->as_double("bound");
      if (bound.number == nullptr || (upper ? value < known : value > known)) bound = {found, open};
    }
  }
  return bound;
}

// That whatever is not above `high` lies below whatever is not below `low`. As doubles two numbers keep their order or become
// equal.
bool below(const Bound& high, const Bound& low) {
  if (high.number == nullptr || low.number == nullptr) return false;
  const double a = high.number->as_double("bound"), b = low.number->as_double("bound");
  return a < b || ((high.open || low.open) && *high.number == *low.number);
}

void add_required(const std::vector<const Json*>& parts, std::vector<const Json*>& names) {
  for (const Json* const part : parts) {
    const Json* const list = part->find("required");
    if (list == nullptr || !list->is_array()) continue;
    for (const Json& each : list->as_array("required")) {
      if (each.is_string()) names.push_back(&each);
    }
  }
}

// What a schema says of a property; null: nothing.
const Json* schema_of(const Json& part, const std::string& name) {
  if (const Json* const named = part.find("properties"); named != nullptr && named->is_object()) {
    if (const Json* const own = named->find(name)) return own;
  }
  return part.contains("patternProperties") ? nullptr : part.find("additionalProperties");
}

}  // namespace

TypeSet types_let_through(const Json& schema) {
  const Json* const type = schema.find("type");
  if (type == nullptr) return kAllTypes;
  TypeSet types = 0;
  if (type->is_array()) {
    for (const Json& each : type->as_array("type")) types |= named_type(each);
  } else {
    types = named_type(*type);
  }
  const Json* const nullable = schema.find("nullable");
  return nullable != nullptr && *nullable == Json(true) ? types | kNull : types;
}

// False: nothing fits.
bool Disjointness::collect(const Json& schema, Parts& parts) {
  if (schema.is_bool()) return schema.as_bool("schema");
  if (!schema.is_object() || parts.size() == kMostParts) return true;
  work_left_ -= static_cast<int64_t>(schema.size()) + 1;
  parts.push_back(&schema);
  if (const Json* const reference = schema.find("$ref"); reference != nullptr && !collect(resolve_(*reference), parts))
    return false;
  const Json* const all = schema.find("allOf");
  if (all == nullptr || !all->is_array()) return true;
  return std::all_of(all->as_array("allOf").begin(), all->as_array("allOf").end(),
                     [&](const Json& each) { return collect(each, parts); });
}

bool Disjointness::proven(const Json& a, const Json& b, TypeSet types, int depth) {
  Parts x, y;
  if (depth > kDeepest || work_left_ < 0) return false;
  if (!collect(a, x) || !collect(b, y)) return true;
  for (const Parts* const parts : {&x, &y}) {
    for (const Json* const part : *parts) types &= types_let_through(*part);
  }
  if (types == 0 || values_apart(x, y, types)) return true;
  const Bound x_low = bound_of(x, false), x_high = bound_of(x, true), y_low = bound_of(y, false), y_high = bound_of(y, true);
  if (below(x_high, y_low) || below(y_high, x_low)) types &= ~kNumbers;
  if (types == kObject && objects_apart(x, y, depth)) types = 0;
  return types == 0;
}

bool Disjointness::values_apart(const Parts& a, const Parts& b, TypeSet types) {
  std::vector<const Json*> some, others;
  const bool a_lists = list_values(a, some), b_lists = list_values(b, others);
  if (!a_lists && !b_lists) return false;
  work_left_ -= static_cast<int64_t>(std::max<size_t>(1, some.size()) * std::max<size_t>(1, others.size()));
  if (work_left_ < 0) return false;
  const auto in_range = [&](const Json& value, const Parts& parts) {
    const Bound exact{&value, false};
    return !value.is_number() || (!below(exact, bound_of(parts, false)) && !below(bound_of(parts, true), exact));
  };
  const auto possible = [&](const Json* value) {
    return (type_of(*value) & types) != 0 && in_range(*value, a) && in_range(*value, b);
  };
  if (a_lists != b_lists) return std::none_of((a_lists ? some : others).begin(), (a_lists ? some : others).end(), possible);
  return std::none_of(some.begin(), some.end(), [&](const Json* one) {
    return possible(one) && std::any_of(others.begin(), others.end(), [&](const Json* other) { return *one == *other; });
  });
}

// An object that fits both has each property that one of them requires, and its value fits what both say of it.
bool Disjointness::objects_apart(const Parts& a, const Parts& b, int depth) {
  std::vector<const Json*> names;
  add_required(a, names);
  add_required(b, names);
  return std::any_of(names.begin(), names.end(),
                     [&](const Json* name) { return property_apart(a, b, name->as_string("required"), depth); });
}

bool Disjointness::property_apart(const Parts& a, const Parts& b, const std::string& name, int depth) {
  static const Json kAny(true);
  const auto said = [&](const Parts& parts) {
    std::vector<const Json*> schemas;
    for (const Json* const part : parts) {
      work_left_ -= static_cast<int64_t>(part->size());
      if (const Json* const schema = schema_of(*part, name)) schemas.push_back(schema);
    }
    if (schemas.empty()) schemas.push_back(&kAny);
    return schemas;
  };
  const std::vector<const Json*> of_b = said(b);
  for (const Json* const x : said(a)) {
    for (const Json* const y : of_b) {
      if (proven(*x, *y, kAllTypes, depth + 1)) return true;
    }
  }
  return false;
}

}  // namespace pagoda::grammar
