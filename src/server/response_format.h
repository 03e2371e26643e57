// Answers of /v1/responses as OpenAI writes them, and kept where they shall be.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "pipelines/chat_answer.h"
#include "server/generation_job.h"
#include "server/response_request.h"
#include "server/response_store.h"

namespace pagoda::server {

std::unique_ptr<AnswerFormat> make_response_format(FormatContext context, const ResponseRequest& request, AnswerReading reading,
                                                   ResponseStore& store, std::string owner);
// A response without output. fields: those that repeat the request.
Json response_frame(const Json& fields, const FormatContext& context, const SamplingParams& params, int64_t created,
                    const char* status);
Json failed_response(Json response, const std::string& message);

}  // namespace pagoda::server
