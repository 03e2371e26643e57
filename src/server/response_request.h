// The body of /v1/responses as that of a chat, which is what it becomes.
#pragma once

#include <functional>
#include <string>

#include "server/fields.h"

namespace pagoda::server {

struct ResponseRequest {
  Json chat;           // body of a chat completion that asks for the same
  Json messages;       // of the chat, without instructions: what a later response goes on from
  Json frame;          // the response's fields that repeat the request
  bool stores = true;  // store
  bool background = false;
};

// Takes all fields and refuses by name what is not known. `earlier`: the messages of a response by its id.
ResponseRequest parse_response_request(Fields& fields, const std::function<Json(const std::string& id)>& earlier);

// Input items as a chat's messages, appended: reasoning, text and calls of one turn are one message.
void append_items(Json& messages, const Json& items);

}  // namespace pagoda::server
