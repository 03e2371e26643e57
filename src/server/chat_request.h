// What chats and responses share: the fields of tools.
#pragma once

#include "pipelines/chat_answer.h"
#include "server/fields.h"

namespace pagoda::server {

// Takes tools, tool_choice and parallel_tool_calls.
ToolUse take_tools(Fields& fields);

}  // namespace pagoda::server
