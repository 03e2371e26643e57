// A model that generates text as a server serves it: the engine, and what its routes share beside it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/async_engine.h"
#include "generate/chat/reasoning.h"
#include "generate/chat/tool_parser.h"
#include "pipelines/text_generation.h"
#include "server/generation_job.h"
#include "server/grammar_constraints.h"
#include "server/live_feed.h"
#include "server/model_texts.h"
#include "server/response_store.h"
#include "server/served_model.h"
#include "server/serving.h"
#include "server/work_thread.h"

namespace pagoda::server {

struct GenerationOptions {
  std::string chat_template;             // text of a template that stands for the model's own; empty: the model's
  std::string tool_call_parser;          // how the model writes calls; empty: as its template tells
  bool enable_auto_tool_choice = false;  // a start without a known way to write calls fails
  std::string reasoning_parser;          // how the model marks thoughts; empty: they are part of the answer
  bool plain_defaults = false;           // --generation-config vllm: the model's generation_config.json is not looked at
  Json override_generation_config;       // an object over generation_config.json; null: none
  Json default_chat_template_kwargs;     // of chats, where a request's chat_template_kwargs do not say; null: none
};

// Throws kInvalidInput for what no model could be served with: it need not be loaded first.
void check(const GenerationOptions& options);

class ServedGenerator : public ServedModel {
 public:
  // Both others must live longer. Throws kInvalidInput for options that do not fit the model.
  ServedGenerator(Serving& serving, const GenerationOptions& options, TextGeneration& generation);
  ~ServedGenerator() override;
  ServedGenerator(const ServedGenerator&) = delete;
  ServedGenerator& operator=(const ServedGenerator&) = delete;

  std::vector<Route> routes() override;
  ModelTexts& texts() override { return texts_; }
  EngineStats stats() const override { return engine_.stats(); }
  bool healthy() const override { return engine_.healthy(); }
  int64_t num_open() const override { return engine_.num_open(); }
  int64_t num_background() const override { return static_cast<int64_t>(responses_.num_open()); }
  void close() override { live_->close(); }

  AsyncEngine& engine() { return engine_; }

  // For its routes.
  Serving& serving() { return serving_; }
  const Serving& serving() const { return serving_; }
  const ModelTexts& texts() const { return texts_; }
  TextGeneration& generation() const { return generation_; }
  const SamplingParams& defaults() const { return defaults_; }
  chat::ToolFormat tool_format() const { return tool_format_; }
  chat::ReasoningFormat reasoning_format() const { return reasoning_format_; }
  GrammarConstraints& constraints() { return constraints_; }
  ResponseStore& responses() { return responses_; }
  WorkThread& background() { return background_; }
  LiveFeed& live() { return *live_; }

  // Ids of a prompt's text: as the model begins texts, or the bare text's.
  std::vector<int32_t> encode(const std::string& text, std::string_view field, bool special_tokens) const;
  FormatContext format_context(const char* prefix, const GenerationRequest& request, const Call& call) const;
  // Hands a request to the engine; its answers follow in that format.
  void start(GenerationRequest request, std::vector<PromptState> prompts, std::unique_ptr<AnswerFormat> format,
             const Call& call);

 private:
  std::string model_json() const;

  Serving& serving_;
  TextGeneration& generation_;
  const SamplingParams defaults_;
  ModelTexts texts_;
  const chat::ToolFormat tool_format_;
  const chat::ReasoningFormat reasoning_format_;
  GrammarConstraints constraints_;
  ResponseStore responses_;
  AsyncEngine engine_;
  WorkThread background_;           // writes responses that nobody waits for
  std::unique_ptr<LiveFeed> live_;  // looks at engine_
};

}  // namespace pagoda::server
