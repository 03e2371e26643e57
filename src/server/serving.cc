// Names of the served model.
#include "server/serving.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "server/fields.h"

namespace pagoda::server {

Serving::Serving(ServingOptions options) : options_(std::move(options)), metrics_(options_.served_model_names.at(0)) {}

bool Serving::serves(std::string_view name) const {
  const std::vector<std::string>& names = options_.served_model_names;
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string Serving::no_such_model(std::string_view name) const {
  return fmt::format("The model `{}` does not exist: need {}", name, fmt::join(options_.served_model_names, " or "));
}

void Serving::check_model(Fields& fields) const {
  const auto name = fields.string("model", 4096);
  if (name && !serves(*name)) not_found("model", "{}", no_such_model(*name));
}

}  // namespace pagoda::server
