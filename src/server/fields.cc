// Typed fields with bounds, read or described.
#include "server/fields.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda::server {

namespace {

const Json& no_object() {
  static const Json empty = Json::object();
  return empty;
}

// {"type": [type, "null"]}: null is as good as missing.
Json optional_type(const char* type) {
  Json types = Json::array(), schema = Json::object();
  types.push_back(type);
  types.push_back("null");
  schema.set("type", std::move(types));
  return schema;
}

Json plain_type(const char* type) {
  Json schema = Json::object();
  schema.set("type", type);
  return schema;
}

Json any_of(std::initializer_list<Json> schemas) {
  Json list = Json::array(), schema = Json::object();
  for (const Json& each : schemas) list.push_back(each);
  schema.set("anyOf", std::move(list));
  return schema;
}

void bound(Json& schema, const char* key, size_t value, size_t none) {
  if (value != none) schema.set(key, static_cast<int64_t>(value));
}

Json string_schema(const Json& type, size_t least, size_t most) {
  Json schema = type;
  bound(schema, "minLength", least, 0);
  bound(schema, "maxLength", most, kAnyLength);
  return schema;
}

// A field that must be there may not be null either.
void take_null_away(Json& schema) {
  const auto drop = [&](const char* key, const auto& is_null) {
    Json* list = schema.find(key);
    if (list == nullptr || !list->is_array()) return;
    Json::Array& items = list->as_array(key);
    items.erase(std::remove_if(items.begin(), items.end(), is_null), items.end());
    if (items.size() == 1 && std::string_view(key) == "type") schema.set(key, Json(items[0]));
  };
  drop("type", [](const Json& type) { return type.is_string() && type.as_string("") == "null"; });
  drop("enum", [](const Json& value) { return value.is_null(); });
  drop("anyOf", [](const Json& each) { return each == plain_type("null"); });
}

}  // namespace

struct Fields::Description {
  struct Field {
    std::string key;
    Json schema;
    std::shared_ptr<Description> inner;  // of an object: its schema grows after it was asked for
  };
  std::vector<Field> fields;
  std::vector<std::string> required;

  Field* find(std::string_view key) {
    const auto found = std::find_if(fields.begin(), fields.end(), [&](const Field& field) { return field.key == key; });
    return found == fields.end() ? nullptr : &*found;
  }
  Json json() const {
    Json properties = Json::object(), schema = plain_type("object"), names = Json::array();
    for (const Field& field : fields) {
      Json its = field.inner ? any_of({field.inner->json(), plain_type("null")}) : field.schema;
      if (std::find(required.begin(), required.end(), field.key) != required.end()) take_null_away(its);
      properties.set(field.key, std::move(its));
    }
    for (const std::string& key : required) names.push_back(key);
    schema.set("properties", std::move(properties));
    if (!required.empty()) schema.set("required", std::move(names));
    return schema.set("additionalProperties", false);
  }
};

Fields::Fields(const Json& object, std::string_view where) : object_(&object), where_(where) { object.as_object(where); }

Fields Fields::describing(std::string_view where) {
  Fields fields(no_object(), where);
  fields.description_ = std::make_shared<Description>();
  return fields;
}

Json Fields::schema() const { return description_->json(); }

void Fields::describe(std::string_view key, Json schema) {
  if (Description::Field* known = description_->find(key)) {
    known->schema = std::move(schema);
  } else {
    description_->fields.push_back({std::string(key), std::move(schema), nullptr});
  }
}

const Json* Fields::take(std::string_view key, std::string_view schema) {
  if (is_describing()) {
    describe(key, schema.empty() ? Json::object() : any_of({Json::parse(schema, key), plain_type("null")}));
    return nullptr;
  }
  taken_.emplace(key);
  const Json* value = object_->find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<bool> Fields::boolean(std::string_view key) {
  const Json* value = take(key);
  if (is_describing()) describe(key, optional_type("boolean"));
  if (value == nullptr) return std::nullopt;
  return value->as_bool(name(key));
}

std::optional<int64_t> Fields::integer(std::string_view key, int64_t least, int64_t most) {
  const Json* value = take(key);
  if (is_describing()) describe(key, optional_type("integer").set("minimum", least).set("maximum", most));
  if (value == nullptr) return std::nullopt;
  if (value->is_number() && !value->is_int()) {
    const double wide = value->as_double(name(key));
    // Beyond 64 bits it was read as a double, and is an integer all the same.
    if (std::fabs(wide) >= 0x1p63) invalid(name(key), "out of range: got {:.0f}, need {} to {}", wide, least, most);
  }
  const int64_t number = value->as_int(name(key));
  if (number < least || number > most) invalid(name(key), "out of range: got {}, need {} to {}", number, least, most);
  return number;
}

std::optional<double> Fields::number(std::string_view key, double least, double most, Least at_least) {
  const Json* value = take(key);
  const bool open = at_least == Least::kRefused;
  if (is_describing()) {
    describe(key, optional_type("number").set(open ? "exclusiveMinimum" : "minimum", least).set("maximum", most));
  }
  if (value == nullptr) return std::nullopt;
  const double number = value->as_double(name(key));
  if (!(number >= least && number <= most) || (open && number == least)) {
    invalid(name(key), "out of range: got {}, need {}{} to {}", number, open ? "more than " : "", least, most);
  }
  return number;
}

std::optional<std::string> Fields::string(std::string_view key, size_t most_characters) {
  const Json* value = take(key);
  if (is_describing()) describe(key, string_schema(optional_type("string"), 0, most_characters));
  if (value == nullptr) return std::nullopt;
  const std::string& text = value->as_string(name(key));
  if (text.size() > most_characters && utf8_length(text) > most_characters) {
    invalid(name(key), "too long: got {} characters, need at most {}", utf8_length(text), most_characters);
  }
  return text;
}

std::optional<std::string> Fields::choice(std::string_view key, std::initializer_list<std::string_view> values) {
  const Json* value = take(key);
  if (is_describing()) {
    Json list = Json::array(), schema = Json::object();
    for (const std::string_view each : values) list.push_back(each);
    list.push_back(Json());
    describe(key, std::move(schema.set("enum", std::move(list))));
  }
  if (value == nullptr) return std::nullopt;
  const std::string& text = value->as_string(name(key));
  if (std::find(values.begin(), values.end(), text) != values.end()) return text;
  std::string all;
  for (const std::string_view each : values) all += (all.empty() ? "" : ", ") + std::string(each);
  invalid(name(key), "got '{}', need one of {}", utf8_cut(text, 64), all);
}

std::optional<std::vector<std::string>> Fields::strings(std::string_view key, size_t most, size_t most_characters,
                                                        size_t least_characters) {
  const Json* value = take(key);
  if (is_describing()) {
    const Json one = string_schema(plain_type("string"), least_characters, most_characters);
    Json list = plain_type("array").set("items", one);
    bound(list, "maxItems", most, kAnyLength);
    describe(key, any_of({one, list, plain_type("null")}));
  }
  if (value == nullptr) return std::nullopt;
  std::vector<std::string> result;
  if (value->is_string()) {
    result.push_back(value->as_string(name(key)));
  } else {
    if (value->as_array(name(key)).size() > most) invalid(name(key), "too many: got {}, need at most {}", value->size(), most);
    for (const Json& each : value->as_array(name(key))) result.push_back(each.as_string(name(key)));
  }
  for (const std::string& text : result) {
    const size_t length = text.size() > most_characters ? utf8_length(text) : text.size();
    if (length > most_characters) invalid(name(key), "too long: got {} characters, need at most {}", length, most_characters);
    if (length < least_characters) invalid(name(key), "empty string");
  }
  return result;
}

std::optional<std::vector<int32_t>> Fields::ids(std::string_view key, size_t most, size_t least) {
  const Json* value = take(key);
  constexpr int64_t kLargest = std::numeric_limits<int32_t>::max();
  if (is_describing()) {
    Json list = optional_type("array").set("items", plain_type("integer").set("minimum", 0).set("maximum", kLargest));
    bound(list, "minItems", least, 0);
    bound(list, "maxItems", most, kAnyLength);
    describe(key, std::move(list));
  }
  if (value == nullptr) return std::nullopt;
  const Json::Array& list = value->as_array(name(key));
  if (list.size() > most) invalid(name(key), "too many: got {}, need at most {}", list.size(), most);
  if (list.size() < least) invalid(name(key), "empty list");
  std::vector<int32_t> result;
  for (const Json& each : list) {
    const int64_t id = each.as_int(name(key));
    if (id < 0 || id > kLargest) invalid(name(key), "no token id: got {}, need 0 or more", id);
    result.push_back(static_cast<int32_t>(id));
  }
  return result;
}

std::optional<Fields> Fields::object(std::string_view key) {
  const Json* value = take(key);
  if (is_describing()) {
    Fields inner = describing(key);
    description_->find(key)->inner = inner.description_;
    return inner;
  }
  if (value == nullptr) return std::nullopt;
  Fields inner(*value, name(key));
  inner.inside_ = name(key) + ".";
  return inner;
}

void Fields::require(std::string_view key, std::string_view need) {
  if (is_describing()) {
    description_->required.emplace_back(key);
    return;
  }
  const Json* value = object_->find(key);
  if (value == nullptr || value->is_null()) invalid(name(key), "missing: need {}", need);
}

void Fields::ignore(std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    taken_.emplace(key);
    if (is_describing()) describe(key, Json::object().set("description", "Taken and of no effect, as at OpenAI's."));
  }
}

void Fields::refuse(std::initializer_list<std::string_view> keys, std::string_view why) {
  for (const std::string_view key : keys) {
    const Json* value = take(key);
    if (is_describing()) {
      Json nothing = Json::array();
      for (Json each : {Json(), Json(false), Json(""), Json::array(), Json::object()}) nothing.push_back(std::move(each));
      describe(key, Json::object()
                        .set("enum", std::move(nothing))
                        .set("description", std::string(kRefusedField) + std::string(why) + "."));
    }
    if (value == nullptr || (value->is_bool() && !value->as_bool(name(key)))) continue;
    if ((value->is_array() || value->is_object()) && value->size() == 0) continue;
    if (value->is_string() && value->as_string(name(key)).empty()) continue;
    invalid(name(key), "{}", why);
  }
}

void Fields::finish() const {
  for (const JsonMember& member : object_->as_object(where_)) {
    if (taken_.find(member.key) != taken_.end()) continue;
    const std::string_view name = utf8_cut(member.key, 64);
    invalid(where_, "{}{}'", kUnknownField, name);
  }
}

}  // namespace pagoda::server
