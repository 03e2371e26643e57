// Which field of a request an error is about: `param` of OpenAI's errors, out of the "[where] ..." that every error begins
// with.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace pagoda::server {

class ParamNames {
 public:
  // schema: an object's, as Fields::schema() gives it.
  explicit ParamNames(const Json& schema);
  // "temperature", "stream_options.include_usage"; "": the error is about no field of this request.
  std::string param(std::string_view message) const;

 private:
  std::map<std::string, std::string, std::less<>> names_;  // of fields that are only known to be refused, the reason
};

// The same error where it already says "[field] ...", else "[field] where: ...".
Error moved_into(std::string_view field, const Error& error);

// What `fn` returns. Errors of what it reads deep inside a field name the field.
template <class Fn>
auto in_field(std::string_view field, Fn fn) {
  try {
    return fn();
  } catch (const Error& error) {
    throw moved_into(field, error);
  }
}

}  // namespace pagoda::server
