// Names of fields, and what the engine calls them.
#include "server/param_names.h"

#include "server/fields.h"

namespace pagoda::server {

namespace {

// "[where] text" as where and text; where is empty for a text of another form.
struct Parts {
  std::string_view where, text;
};

Parts parts_of(std::string_view message) {
  const size_t end = message.find("] ");
  if (message.empty() || message.front() != '[' || end == std::string_view::npos) return {"", message};
  return {message.substr(1, end - 1), message.substr(end + 2)};
}

// What the engine, or the chat behind another endpoint, calls by its own name.
struct Alias {
  std::string_view inner, field;
};
constexpr Alias kAliases[] = {{"prompt", "messages"},
                              {"prompt", "input"},
                              {"messages", "input"},
                              {"max_tokens", "max_output_tokens"},
                              {"response_format", "text"}};

// Errors of the sampling parameters begin with the parameter's name, which is HF's.
constexpr Alias kSampling[] = {{"max_new_tokens", "max_tokens"}, {"min_new_tokens", "min_tokens"}, {"stop_strings", "stop"},
                               {"bad_words_ids", "bad_words"},   {"num_return_sequences", "n"},    {"num_beams", "n"}};

std::string_view sampling_field(std::string_view text) {
  const std::string_view name = text.substr(0, text.find(' '));
  for (const Alias& alias : kSampling) {
    if (name == alias.inner) return alias.field;
  }
  return name;
}

}  // namespace

ParamNames::ParamNames(const Json& schema) {
  for (const JsonMember& member : schema.at("properties", "schema").as_object("schema")) {
    const std::string said = member.value.get_string("description", "", "schema");
    const bool refused = said.compare(0, kRefusedField.size(), kRefusedField) == 0;
    names_.emplace(member.key, refused ? said.substr(kRefusedField.size(), said.size() - kRefusedField.size() - 1) : "");
  }
}

std::string ParamNames::param(std::string_view message) const {
  const auto [where, text] = parts_of(message);
  const std::string_view outer = where.substr(0, where.find('.'));
  const auto known = names_.find(outer);
  if (known != names_.end() && (known->second.empty() || known->second == text)) return std::string(where);
  if (where == "request" && text.substr(0, kUnknownField.size()) == kUnknownField) {
    const std::string_view name = text.substr(kUnknownField.size());
    return std::string(name.substr(0, name.rfind('\'')));
  }
  if (const auto field = names_.find(sampling_field(text)); where == "sampling" && field != names_.end()) return field->first;
  for (const Alias& alias : kAliases) {
    const auto field = names_.find(alias.field);
    if (outer == alias.inner && field != names_.end() && field->second.empty()) return std::string(alias.field);
  }
  return known == names_.end() ? "" : std::string(where);
}

Error moved_into(std::string_view field, const Error& error) {
  const auto [where, text] = parts_of(error.message());
  const std::string_view outer = where.substr(0, where.find('.'));
  if (outer == field.substr(0, field.find('.'))) return error;
  return {error.kind(), fmt::format("[{}] {}{}{}", field, where, where.empty() ? "" : ": ", text)};
}

}  // namespace pagoda::server
