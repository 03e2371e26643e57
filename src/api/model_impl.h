// What lies behind the API's LanguageModel: a model with its engine on a thread, and the requests of one call.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "api/access.h"
#include "engine/async_engine.h"
#include "generate/chat/chat_template.h"
#include "generate/grammar/grammar.h"
#include "pagoda/language_model.h"
#include "pipelines/chat_answer.h"
#include "pipelines/chat_templates.h"
#include "pipelines/text_generation.h"

namespace pagoda::api {

struct LanguageModel::Impl {
  Impl(const std::string& model, const ModelOptions& options, const EngineOptions& engine);

  // The ids of a prompt, special tokens added to a text.
  std::vector<int32_t> prompt_ids(const Prompt& prompt) const;
  // All but the prompt and the constraint. `params` as sampling_params() made them.
  Request request(const SamplingParams& asked, pagoda::SamplingParams params) const;
  std::unique_ptr<TokenConstraint> constraint(const GrammarSource& source, const pagoda::SamplingParams& params);

  // Runs the requests of one call (checked by the engine before) together and tells the calling thread of every event: the
  // number of the request, and what came. Ends all of them where `tell` returns false or throws, or one of them fails, which is
  // thrown. Returns false where `tell` did.
  bool run(std::vector<Request> requests, const std::function<bool(size_t request, Event& event)>& tell);
  std::vector<RequestOutput> generate(const std::vector<Prompt>& prompts, const SamplingParams& params,
                                      const std::function<bool(const CompletionChunk&)>& on_chunk);

  // What a chat's prompt is made with.
  struct Chats {
    explicit Chats(const EngineOptions& options);  // kInvalidInput names the parsers that there are
    void load(const std::string& tokenizer_path, const std::string& own_template);
    std::string render(const std::vector<Message>& messages, const ChatOptions& options, const ToolUse& tools);

    chat::TemplateSet templates;
    Json special_tokens;
    chat::ReasoningFormat reasoning_format;
    chat::ToolFormat tool_format;
    std::mutex cache_mutex;
    chat::TemplateCache cache;
  };
  // How the answer will be read; gives the request what its form asks for.
  AnswerReading reading(const ChatOptions& options, ToolUse tools, const std::string& prompt, Request& request);
  ChatOutput chat(const std::vector<Message>& messages, const ChatOptions& options,
                  const std::function<bool(const ChatChunk&)>& on_chunk);

  Chats chats;  // first: wrong names are told before a model is loaded
  std::unique_ptr<TextGeneration> generation;
  std::optional<Tokenizer> tokenizer;  // empty: the folder has none
  GrammarCache grammars;
  std::mutex vocabulary_mutex;
  std::shared_ptr<const TokenVocabulary> vocabulary;  // of the tokenizer, made when the first grammar comes
  std::unique_ptr<AsyncEngine> engine;                // looks at generation's
};

// What of the engine's words is the API's.
FinishReason finish_reason(pagoda::FinishReason reason);
void append_logprobs(const std::vector<pagoda::PositionLogprobs>& from, std::vector<PositionLogprobs>& to);

}  // namespace pagoda::api
