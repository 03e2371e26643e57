// Feeds JSON to what reads the bodies of requests, and holds what it takes against what it says that it takes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "server/chat_messages.h"
#include "server/fields.h"
#include "server/generation_request.h"
#include "server/prompt_input.h"

namespace {

using pagoda::Json;
using pagoda::server::Fields;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

void read(Fields& fields) {
  const pagoda::server::RequestLimits limits;
  pagoda::server::parse_structured_outputs(fields, limits);
  pagoda::server::parse_truncation(fields, 100);
  fields.boolean("stream");
  fields.integer("n", 1, 128);
  fields.number("top_p", 0, 1, Fields::Least::kRefused);
  fields.string("user", 16);
  fields.strings("stop", 4, 8, 1);
  fields.ids("stop_token_ids", 4);
  fields.ignore({"metadata"});
  fields.refuse({"suffix"}, "refused");
  if (const Json* prompt = fields.take("prompt")) pagoda::server::read_prompt_input(*prompt, "prompt", 4, 100);
  if (const Json* messages = fields.take("messages")) pagoda::server::plain_messages(*messages, limits);
  fields.finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const Json json = Json::parse(std::string_view(reinterpret_cast<const char*>(data), size), "request");
    Fields fields(json, "request");
    read(fields);
    Fields described = Fields::describing("request");
    read(described);
    const Json schema = described.schema();
    for (const pagoda::JsonMember& member : json.as_object("request")) {
      require(schema.at("properties", "schema").contains(member.key));
    }
  } catch (const pagoda::Error&) {
  }
  return 0;
}
