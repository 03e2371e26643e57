// What chats and responses share: the fields of tools.
#pragma once

#include "pipelines/chat_answer.h"
#include "server/fields.h"

namespace pagoda::server {

// Takes tools, tool_choice and parallel_tool_calls.
ToolUse take_tools(Fields& fields);
// Takes verbosity. As OpenAI's models that know one alone, "medium" is taken, which asks for nothing, and others are refused.
void take_verbosity(Fields& fields);

}  // namespace pagoda::server
