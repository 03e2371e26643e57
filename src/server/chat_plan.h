// What a chat's body becomes: a prompt, and how its answer will be read.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "pipelines/chat_answer.h"
#include "server/chat_renderer.h"
#include "server/generation_job.h"
#include "server/generation_request.h"

namespace pagoda::server {

class ServedGenerator;
struct Call;

// A body as it was read. What it points at lives as long as the request's JSON.
struct ChatBody {
  GenerationRequest request;
  const Json* messages = nullptr;
  ChatRendering rendering;
  ToolUse tools;
  bool include_reasoning = true;
  std::optional<int64_t> thinking_token_budget;  // below 0: none
};

struct ChatPlan {
  GenerationRequest request;
  PromptState prompt;
  AnswerReading reading;
  std::string role = "assistant";
};

ChatBody read_chat(const ServedGenerator& served, Fields& fields);
ChatPlan plan_chat(ServedGenerator& served, ChatBody body);
void start_chat(ServedGenerator& served, ChatPlan plan, std::unique_ptr<AnswerFormat> format, const Call& call);

}  // namespace pagoda::server
