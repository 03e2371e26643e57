// What is asked for, and answers as OpenAI and vLLM write them.
#include "server/embeddings.h"

#include <fmt/format.h>

#include <iterator>

#include "base/error.h"
#include "base/utf8.h"
#include "formats/base64.h"
#include "server/pooling_job.h"
#include "server/prompt_input.h"
#include "server/serving.h"

namespace pagoda::server {

namespace {

PoolingType pooling_type(const std::string& name, std::string_view where) {
  if (name == "LAST" || name == "last") return PoolingType::kLast;
  if (name == "MEAN" || name == "mean") return PoolingType::kMean;
  if (name == "CLS" || name == "cls") return PoolingType::kCls;
  invalid(where, "pooling_type: got '{}', need LAST, MEAN or CLS", utf8_cut(name, 32));
}

// Dimensions that the model was trained to be cut to; vLLM's rule.
void check_dimensions(int64_t dimensions, const Json& config, int64_t hidden_size) {
  const Json* listed = config.find("matryoshka_dimensions");
  if (listed != nullptr && listed->is_array()) {
    for (const Json& each : listed->as_array("matryoshka_dimensions")) {
      if (each == Json(dimensions)) return;
    }
    invalid("dimensions", "got {}, need one of the model's: {}", dimensions, listed->dump());
  }
  if (!config.get_bool("is_matryoshka", false, "config.json")) {
    invalid("dimensions", "this model's vectors cannot be cut: got {}, need none (config.json: no is_matryoshka)", dimensions);
  }
  if (dimensions > hidden_size) invalid("dimensions", "got {}, need at most {}", dimensions, hidden_size);
}

}  // namespace

void append_vector(std::string& out, std::span<const float> vector, bool base64) {
  if (base64) {
    // float32, little endian, as numpy reads them.
    out += '"';
    out += encode_base64({reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)});
    out += '"';
    return;
  }
  out += '[';
  for (size_t i = 0; i < vector.size(); ++i) {
    if (i > 0) out += ',';
    fmt::format_to(std::back_inserter(out), "{}", vector[i]);
  }
  out += ']';
}

std::string embeddings_body(const PoolingResult& result, const std::string& id, const std::string& model, bool base64,
                            int64_t created) {
  std::string out;
  Json head = Json::object();
  head.set("id", id).set("object", "list").set("created", created).set("model", model);
  out = head.dump();
  out.back() = ',';
  out += "\"data\":[";
  for (size_t i = 0; i < result.vectors.size(); ++i) {
    fmt::format_to(std::back_inserter(out), R"({}{{"index":{},"object":"embedding","embedding":)", i > 0 ? "," : "", i);
    append_vector(out, result.vectors[i], base64);
    out += '}';
  }
  fmt::format_to(
      std::back_inserter(out),
      R"(],"usage":{{"prompt_tokens":{0},"total_tokens":{0},"completion_tokens":0,"prompt_tokens_details":{{"cached_tokens":{1}}}}}}})",
      result.prompt_tokens, result.cached_tokens);
  return out;
}

PoolingParams parse_pooler_config(const std::string& text) {
  constexpr const char* kWhere = "--pooler-config";
  PoolingParams params;
  if (text.empty()) return params;
  const Json config = Json::parse(text, kWhere);
  Fields fields(config, kWhere);
  for (const char* key : {"pooling_type", "seq_pooling_type"}) {
    if (const auto name = fields.string(key, 32)) params.type = pooling_type(*name, kWhere);
  }
  for (const char* key : {"use_activation", "normalize"}) {
    if (const auto value = fields.boolean(key)) params.normalize = *value;
  }
  params.dimensions = fields.integer("dimensions", 1, int64_t{1} << 31).value_or(0);
  fields.finish();
  return params;
}

bool hold_vectors(Serving& serving, int64_t numbers, HttpResponse& response) {
  const MemoryLedger& memory = serving.options().memory;
  const int64_t bytes = numbers * (int64_t{sizeof(float)} + kBytesOfNumber);
  if (!memory.could_hold(bytes)) {
    invalid("request", "the answer is larger than all that is kept for clients: got about {} bytes, need at most {}", bytes,
            memory.most());
  }
  MemoryLedger::Lease room(memory);
  if (!room.resize(bytes)) {
    serving.metrics().count_rejection();
    send_busy(response, "[server] too many large answers are under way: try again later");
    return false;
  }
  response.keep(std::move(room));
  return true;
}

EmbeddingBody read_embedding(const Serving& serving, const EmbeddingRules& rules, Fields& fields) {
  serving.check_model(fields);
  EmbeddingBody body;
  const RequestLimits& limits = serving.limits();
  body.input = fields.take("input", prompt_input_schema(limits.max_inputs, rules.vocab_size));
  fields.require("input", "a string, a list of strings, a list of ids or a list of such lists");
  body.base64 = fields.choice("encoding_format", {"float", "base64"}).value_or("float") == "base64";
  body.pooling = serving.options().pooling;
  if (const auto dimensions = fields.integer("dimensions", 1, rules.hidden_size)) {
    check_dimensions(*dimensions, rules.config, rules.hidden_size);
    body.pooling.dimensions = *dimensions;
  }
  // vLLM's name, and its older one.
  for (const char* key : {"use_activation", "normalize"}) {
    if (const auto value = fields.boolean(key)) body.pooling.normalize = *value;
  }
  body.add_special_tokens = fields.boolean("add_special_tokens").value_or(true);
  body.truncation = parse_truncation(fields, rules.max_model_len, rules.sides);
  body.priority = take_priority(fields, rules.by_priority);
  if (rules.has_cache) {
    body.cache_salt = fields.string("cache_salt", static_cast<size_t>(limits.max_string)).value_or("");
  } else {
    fields.ignore({"cache_salt"});
  }
  body.request_id = fields.string("request_id", kLongestId).value_or("");
  body.prompt_name = fields.string("prompt_name", kLongestId).value_or("");
  fields.choice("embed_dtype", {"float32"});
  fields.choice("endianness", {"native", "little"});
  fields.choice("padding", {"do_not_pad"});
  fields.ignore({"user"});
  fields.refuse({"messages", "mm_processor_kwargs", "media_io_kwargs"}, "not supported by this server");
  fields.finish();
  return body;
}

}  // namespace pagoda::server
