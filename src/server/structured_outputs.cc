// The three ways in which clients ask for structured outputs.
#include "base/error.h"
#include "server/generation_request.h"

namespace pagoda::server {

namespace {

GrammarSource source_of(GrammarSource::Kind kind, std::string text) {
  GrammarSource source;
  source.kind = kind;
  source.text = std::move(text);
  return source;
}

// A schema comes as an object, or as text that holds one.
GrammarSource schema_of(const Json& value, std::string_view where) {
  return source_of(GrammarSource::Kind::kJsonSchema, value.is_string() ? value.as_string(where) : value.dump());
}

// One of json, regex, choice, grammar, json_object; the prefix is "guided_" in vLLM's older spelling.
std::optional<GrammarSource> take_kinds(Fields& fields, const std::string& prefix, const RequestLimits& limits) {
  std::optional<GrammarSource> result;
  const auto set = [&](GrammarSource source) {
    if (result)
      invalid(prefix.empty() ? "structured_outputs" : prefix,
              "more than one kind: need one of json, regex, choice, grammar, json_object");
    result = std::move(source);
  };
  constexpr size_t kMostBytes = size_t{4} << 20;
  if (const Json* schema = fields.take(prefix + "json")) set(schema_of(*schema, prefix + "json"));
  if (const auto pattern = fields.string(prefix + "regex", kMostBytes)) set(source_of(GrammarSource::Kind::kRegex, *pattern));
  if (const auto grammar = fields.string(prefix + "grammar", kMostBytes))
    set(source_of(GrammarSource::Kind::kGrammar, *grammar));
  if (const auto choices = fields.strings(prefix + "choice", static_cast<size_t>(limits.max_list), kMostBytes)) {
    if (choices->empty()) invalid(prefix + "choice", "empty list");
    GrammarSource source;
    source.kind = GrammarSource::Kind::kChoice;
    source.choices = *choices;
    set(std::move(source));
  }
  if (fields.boolean(prefix + "json_object").value_or(false)) set(source_of(GrammarSource::Kind::kJsonObject, ""));
  return result;
}

}  // namespace

std::optional<GrammarSource> parse_structured_outputs(Fields& fields, const RequestLimits& limits) {
  std::optional<GrammarSource> result;
  if (const Json* format = fields.take("response_format")) {
    Fields inner(*format, "response_format");
    const std::string type = inner.string("type", 64).value_or("");
    if (type == "json_object") {
      result = source_of(GrammarSource::Kind::kJsonObject, "");
    } else if (type == "json_schema") {
      const Json* schema = inner.take("json_schema");
      if (schema == nullptr) invalid("response_format", "json_schema: missing");
      Fields named(*schema, "json_schema");
      named.ignore({"name", "description", "strict"});
      const Json* body = named.take("schema");
      if (body == nullptr) invalid("response_format", "json_schema.schema: missing");
      named.finish();
      result = schema_of(*body, "schema");
    } else if (type != "text") {
      invalid("response_format", "type: got '{}', need text, json_object or json_schema", type);
    }
    inner.finish();
  }
  const auto other = [&](std::optional<GrammarSource> source) {
    if (source && result)
      invalid("structured_outputs", "asked for twice: need one of response_format, structured_outputs, guided_*");
    if (source) result = std::move(source);
  };
  if (const Json* outputs = fields.take("structured_outputs")) {
    Fields inner(*outputs, "structured_outputs");
    std::optional<GrammarSource> source = take_kinds(inner, "", limits);
    const bool plain = inner.boolean("disable_any_whitespace").value_or(false);
    if (plain && source) source->json.any_whitespace = false;
    inner.refuse({"structural_tag", "whitespace_pattern", "disable_additional_properties"}, "not supported by this server");
    inner.finish();
    if (!source) invalid("structured_outputs", "nothing asked for: need one of json, regex, choice, grammar, json_object");
    other(std::move(source));
  }
  other(take_kinds(fields, "guided_", limits));
  fields.ignore({"guided_decoding_backend"});
  fields.refuse({"guided_whitespace_pattern"}, "not supported by this server");
  return result;
}

}  // namespace pagoda::server
