// A request's JSON object read field by field, so that what nobody read can be refused by name; or, with no object at hand, the
// same calls written down as a JSON Schema, so that what the server documents is what it reads.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace pagoda::server {

inline constexpr std::string_view kRefusedField =
    "Refused: ";  // begins the description of a refused field; a full stop ends it
// How the text of finish() begins; the name and a quote follow.
inline constexpr std::string_view kUnknownField = "unknown field: got '";

constexpr size_t kAnyLength = std::numeric_limits<size_t>::max();

// Errors are kInvalidInput "[name] what: got X, need Y". null counts as missing.
//
// A function that reads a request must ask for every field whatever the others hold: it is also called with describing()
// Fields, where every field is missing and require() does not throw.
class Fields {
 public:
  // where: what stands in errors for the object itself ("request").
  Fields(const Json& object, std::string_view where);
  static Fields describing(std::string_view where);

  // Any value. schema: a JSON Schema of what the caller takes, for the document alone; "": anything.
  const Json* take(std::string_view key, std::string_view schema = "");  // null: missing
  std::optional<bool> boolean(std::string_view key);
  std::optional<int64_t> integer(std::string_view key, int64_t least, int64_t most);
  enum class Least { kTaken, kRefused };
  std::optional<double> number(std::string_view key, double least, double most, Least at_least = Least::kTaken);
  std::optional<std::string> string(std::string_view key, size_t most_characters);
  std::optional<std::string> choice(std::string_view key, std::initializer_list<std::string_view> values);
  // A string, or a list of at most `most` strings.
  std::optional<std::vector<std::string>> strings(std::string_view key, size_t most, size_t most_characters,
                                                  size_t least_characters = 0);
  std::optional<std::vector<int32_t>> ids(std::string_view key, size_t most, size_t least = 0);
  // An object with fields of its own; call its finish().
  std::optional<Fields> object(std::string_view key);

  // Throws "[key] missing: need ..." unless the field was there. Call it after the field was taken.
  void require(std::string_view key, std::string_view need);
  // Known, and of no effect here as at OpenAI's.
  void ignore(std::initializer_list<std::string_view> keys);
  // Known elsewhere, and refused by name where it would change the answer (null, false, empty would not).
  void refuse(std::initializer_list<std::string_view> keys, std::string_view why);
  // Throws for the first field that was not taken.
  void finish() const;

  bool is_describing() const { return description_ != nullptr; }
  // What was asked for so far: an object's schema. Of describing() Fields.
  Json schema() const;

 private:
  struct Description;
  std::string name(std::string_view key) const { return inside_ + std::string(key); }  // as errors name it
  void describe(std::string_view key, Json schema);

  const Json* object_;
  std::string where_, inside_;  // inside_: "stream_options." in an object within the request
  std::set<std::string, std::less<>> taken_;
  std::shared_ptr<Description> description_;  // null: reads
};

}  // namespace pagoda::server
