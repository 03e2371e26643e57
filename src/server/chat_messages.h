// What a chat holds: the `messages` of a request, made what templates of text models take.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "server/request_limits.h"

namespace pagoda::server {

// A list of text parts becomes one string, as vLLM joins them; arguments of earlier calls become objects. Throws kInvalidInput
// for what is no chat, or holds more than text.
Json plain_messages(const Json& messages, const RequestLimits& limits);
// What plain_messages takes, as a JSON Schema.
std::string messages_schema(int64_t most);

}  // namespace pagoda::server
