// Pagoda for C++ programs: open a model, generate, chat, embed, classify. This is the header to include.
//
//   #include <pagoda/pagoda.h>
//
//   const auto model = pagoda::LanguageModel::open("HuggingFaceTB/SmolLM2-135M-Instruct");
//   std::cout << model.generate("Once upon a time", {.max_new_tokens = 64}).text() << "\n";
//
// Whatever goes wrong is thrown as a pagoda::Error. JSON crosses as text.
#pragma once

#include "pagoda/embedding_model.h"
#include "pagoda/error.h"
#include "pagoda/language_model.h"
#include "pagoda/options.h"
#include "pagoda/pipeline.h"
#include "pagoda/sampling_params.h"
#include "pagoda/tokenizer.h"

namespace pagoda {

namespace api {
const char* version();  // "0.1.0"
}

// All that there is; it lies in pagoda::api so that the engine's own names stay apart from it.
using api::ChatChunk;
using api::ChatOptions;
using api::ChatOutput;
using api::CompletionChunk;
using api::CompletionOutput;
using api::EmbeddingModel;
using api::EmbeddingOptions;
using api::EngineOptions;
using api::Error;
using api::error_kind_name;
using api::ErrorKind;
using api::finish_reason_name;
using api::FinishReason;
using api::LanguageModel;
using api::Message;
using api::ModelOptions;
using api::Pipeline;
using api::PoolingParams;
using api::PoolingType;
using api::PositionLogprobs;
using api::Prompt;
using api::RequestOutput;
using api::SamplingParams;
using api::StopReason;
using api::StructuredOutputs;
using api::Tokenizer;
using api::TokenLogprob;
using api::ToolCall;
using api::Usage;
using api::version;

}  // namespace pagoda
