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

constexpr const char* kSchema =
    R"({"type": ["object", "string", "boolean"], "description": "A JSON schema, or text that holds one."})";

std::string kind_name(GrammarSource::Kind kind) {
  switch (kind) {
    case GrammarSource::Kind::kJsonSchema: return "json";
    case GrammarSource::Kind::kJsonObject: return "json_object";
    case GrammarSource::Kind::kRegex: return "regex";
    case GrammarSource::Kind::kGrammar: return "grammar";
    case GrammarSource::Kind::kChoice: return "choice";
  }
  return "";
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
  if (const Json* schema = fields.take(prefix + "json", kSchema)) set(schema_of(*schema, prefix + "json"));
  if (const auto pattern = fields.string(prefix + "regex", kMostBytes)) set(source_of(GrammarSource::Kind::kRegex, *pattern));
  if (const auto grammar = fields.string(prefix + "grammar", kMostBytes))
    set(source_of(GrammarSource::Kind::kGrammar, *grammar));
  if (const auto choices = fields.strings(prefix + "choice", static_cast<size_t>(limits.max_list), kMostBytes)) {
    if (choices->empty()) invalid((prefix.empty() ? "structured_outputs." : prefix) + "choice", "empty list");
    GrammarSource source;
    source.kind = GrammarSource::Kind::kChoice;
    source.choices = *choices;
    set(std::move(source));
  }
  if (fields.boolean(prefix + "json_object").value_or(false)) set(source_of(GrammarSource::Kind::kJsonObject, ""));
  if (result) result->where = prefix.empty() ? "structured_outputs" : prefix + kind_name(result->kind);
  return result;
}

}  // namespace

std::optional<GrammarSource> parse_structured_outputs(Fields& fields, const RequestLimits& limits) {
  std::optional<GrammarSource> result;
  if (auto format = fields.object("response_format")) {
    const std::string type = format->choice("type", {"text", "json_object", "json_schema"}).value_or("");
    format->require("type", "text, json_object or json_schema");
    if (type == "json_object") result = source_of(GrammarSource::Kind::kJsonObject, "");
    if (auto named = format->object("json_schema")) {
      named->ignore({"name", "description", "strict"});
      const Json* body = named->take("schema", kSchema);
      named->require("schema", "a JSON schema");
      named->finish();
      if (type == "json_schema" && body != nullptr) result = schema_of(*body, "response_format");
    } else if (type == "json_schema") {
      invalid("response_format", "json_schema: missing");
    }
    format->finish();
    if (result) result->where = "response_format";
  }
  const auto other = [&](std::optional<GrammarSource> source) {
    if (source && result)
      invalid("structured_outputs", "asked for twice: need one of response_format, structured_outputs, guided_*");
    if (source) result = std::move(source);
  };
  if (auto inner = fields.object("structured_outputs")) {
    std::optional<GrammarSource> source = take_kinds(*inner, "", limits);
    const bool plain = inner->boolean("disable_any_whitespace").value_or(false);
    if (plain && source) source->json.any_whitespace = false;
    inner->refuse({"structural_tag", "whitespace_pattern", "disable_additional_properties"}, "not supported by this server");
    inner->finish();
    if (!source && !inner->is_describing()) {
      invalid("structured_outputs", "nothing asked for: need one of json, regex, choice, grammar, json_object");
    }
    other(std::move(source));
  }
  other(take_kinds(fields, "guided_", limits));
  fields.ignore({"guided_decoding_backend"});
  fields.refuse({"guided_whitespace_pattern"}, "not supported by this server");
  return result;
}

}  // namespace pagoda::server
