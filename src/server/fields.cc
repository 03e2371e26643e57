// Typed fields with bounds.
#include "server/fields.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace pagoda::server {

Fields::Fields(const Json& object, std::string_view where) : object_(object), where_(where) { object.as_object(where); }

const Json* Fields::take(std::string_view key) {
  taken_.emplace(key);
  const Json* value = object_.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<bool> Fields::boolean(std::string_view key) {
  const Json* value = take(key);
  if (value == nullptr) return std::nullopt;
  return value->as_bool(key);
}

std::optional<int64_t> Fields::integer(std::string_view key, int64_t least, int64_t most) {
  const Json* value = take(key);
  if (value == nullptr) return std::nullopt;
  const int64_t number = value->as_int(key);
  if (number < least || number > most) invalid(key, "out of range: got {}, need {} to {}", number, least, most);
  return number;
}

std::optional<double> Fields::number(std::string_view key, double least, double most) {
  const Json* value = take(key);
  if (value == nullptr) return std::nullopt;
  const double number = value->as_double(key);
  if (!(number >= least && number <= most)) invalid(key, "out of range: got {}, need {} to {}", number, least, most);
  return number;
}

std::optional<std::string> Fields::string(std::string_view key, size_t most_bytes) {
  const Json* value = take(key);
  if (value == nullptr) return std::nullopt;
  const std::string& text = value->as_string(key);
  if (text.size() > most_bytes) invalid(key, "too long: got {} bytes, need at most {}", text.size(), most_bytes);
  return text;
}

std::optional<std::vector<std::string>> Fields::strings(std::string_view key, size_t most, size_t most_bytes) {
  const Json* value = take(key);
  if (value == nullptr) return std::nullopt;
  std::vector<std::string> result;
  if (value->is_string()) {
    result.push_back(value->as_string(key));
  } else {
    if (value->as_array(key).size() > most) invalid(key, "too many: got {}, need at most {}", value->size(), most);
    for (const Json& each : value->as_array(key)) result.push_back(each.as_string(key));
  }
  for (const std::string& text : result) {
    if (text.size() > most_bytes) invalid(key, "too long: got {} bytes, need at most {}", text.size(), most_bytes);
  }
  return result;
}

std::optional<std::vector<int32_t>> Fields::ids(std::string_view key, size_t most) {
  const Json* value = take(key);
  if (value == nullptr) return std::nullopt;
  if (value->as_array(key).size() > most) invalid(key, "too many: got {}, need at most {}", value->size(), most);
  std::vector<int32_t> result;
  for (const Json& each : value->as_array(key)) {
    const int64_t id = each.as_int(key);
    if (id < 0 || id > std::numeric_limits<int32_t>::max()) invalid(key, "no token id: got {}, need 0 or more", id);
    result.push_back(static_cast<int32_t>(id));
  }
  return result;
}

void Fields::ignore(std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) taken_.emplace(key);
}

void Fields::refuse(std::initializer_list<std::string_view> keys, std::string_view why) {
  for (const std::string_view key : keys) {
    const Json* value = take(key);
    if (value == nullptr || (value->is_bool() && !value->as_bool(key))) continue;
    if ((value->is_array() || value->is_object()) && value->size() == 0) continue;
    if (value->is_string() && value->as_string(key).empty()) continue;
    invalid(key, "{}", why);
  }
}

void Fields::finish() const {
  for (const JsonMember& member : object_.as_object(where_)) {
    if (taken_.find(member.key) != taken_.end()) continue;
    const std::string_view name = std::string_view(member.key).substr(0, 64);
    invalid(where_, "unknown field: got '{}'", name);
  }
}

}  // namespace pagoda::server
