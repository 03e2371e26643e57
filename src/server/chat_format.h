// Answers of chats: whole and as chunks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pipelines/chat_answer.h"
#include "server/generation_job.h"

namespace pagoda::server {

// role: of the message that is answered.
std::unique_ptr<AnswerFormat> make_chat_format(FormatContext context, std::string role, AnswerReading reading);
// {"content": [...]} of OpenAI's chats.
Json chat_logprobs(const GenerationRequest& request, const Tokenizer* tokenizer,
                   const std::vector<PositionLogprobs>& positions);

}  // namespace pagoda::server
