// A request's JSON object read field by field, so that what nobody read can be refused by name.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace pagoda::server {

// Errors are kInvalidInput "[name] what: got X, need Y". null counts as missing.
class Fields {
 public:
  // where: what stands in errors for the object itself ("request").
  Fields(const Json& object, std::string_view where);

  const Json* take(std::string_view key);  // null: missing
  std::optional<bool> boolean(std::string_view key);
  std::optional<int64_t> integer(std::string_view key, int64_t least, int64_t most);
  std::optional<double> number(std::string_view key, double least, double most);
  std::optional<std::string> string(std::string_view key, size_t most_bytes);
  // A string, or a list of at most `most` strings.
  std::optional<std::vector<std::string>> strings(std::string_view key, size_t most, size_t most_bytes);
  std::optional<std::vector<int32_t>> ids(std::string_view key, size_t most);

  // Known, and of no effect here as at OpenAI's.
  void ignore(std::initializer_list<std::string_view> keys);
  // Known elsewhere, and refused by name where it would change the answer (null, false, empty would not).
  void refuse(std::initializer_list<std::string_view> keys, std::string_view why);
  // Throws for the first field that was not taken.
  void finish() const;

 private:
  const Json& object_;
  std::string where_;
  std::set<std::string, std::less<>> taken_;
};

}  // namespace pagoda::server
