// Models that generate text: prompts, chats, vectors of prompts. Requests of many threads run together.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "pagoda/options.h"
#include "pagoda/sampling_params.h"
#include "pagoda/tokenizer.h"

namespace pagoda::api {

using Prompt = std::variant<std::string, std::vector<int32_t>>;  // a text, which gets special tokens; or ids as they are

enum class FinishReason {
  kStop,       // the model's end token, a stop string or id, or the end of what structured_outputs allow
  kLength,     // max_new_tokens, or max_model_len
  kToolCalls,  // of chats: the model has called tools
  kAbort,      // the caller's callback returned false
};
const char* finish_reason_name(FinishReason reason);  // "stop", "length", "tool_calls", "abort"

// What ended a sequence, where that was neither the model's own end token nor a length: the id or the text of a stop.
using StopReason = std::variant<std::monostate, int32_t, std::string>;

struct TokenLogprob {
  int32_t token_id = 0;
  double logprob = 0;
};
struct PositionLogprobs {
  int32_t token_id = 0;
  double logprob = 0;
  int64_t rank = 1;                 // 1: no token was likelier
  std::vector<TokenLogprob> top{};  // the likeliest, best first
};

struct Usage {
  int64_t prompt_tokens = 0, completion_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt, found in the cache instead of computed
};

struct CompletionOutput {
  std::string text{};  // empty without a tokenizer
  std::vector<int32_t> token_ids{};
  FinishReason finish_reason = FinishReason::kStop;
  StopReason stop_reason{};
  std::vector<PositionLogprobs> logprobs{};  // of token_ids, where asked for
};

struct RequestOutput {
  std::vector<int32_t> prompt_token_ids{};
  std::vector<PositionLogprobs> prompt_logprobs{};  // of position 1 and on, where asked for
  std::vector<CompletionOutput> outputs{};          // num_return_sequences of them; of beams the best first
  Usage usage{};
  const std::string& text() const& { return outputs.front().text; }
  std::string text() && { return std::move(outputs.front().text); }  // generate(...).text()
};

// News of one answer as it comes: what is new since the last. Pieces of text are whole characters, and joined they are the
// answer's text.
struct CompletionChunk {
  int index = 0;  // of the answer among the request's
  std::string text{};
  std::vector<int32_t> token_ids{};
  std::vector<PositionLogprobs> logprobs{};
};

// A message of a conversation, as OpenAI's API has it.
struct ToolCall {
  std::string id{}, name{};
  std::string arguments{};  // JSON
};
struct Message {
  std::string role{}, content{};       // "system", "user", "assistant", "tool"
  std::string reasoning{};             // of an assistant, where thoughts are told apart
  std::vector<ToolCall> tool_calls{};  // of an assistant
  std::string tool_call_id{}, name{};  // of a tool's answer
};

struct ChatOptions {
  SamplingParams sampling{};
  std::string tools{};                  // JSON list of functions, as OpenAI's API has it
  std::string tool_choice = "auto";     // "none", "auto", "required", or a tool's name: the answer is a call of it
  bool continue_final_message = false;  // the last message is an answer's beginning, and the model goes on with it
  std::string chat_template_kwargs{};   // JSON object of further variables of the template: {"enable_thinking": false}
};

struct ChatOutput {
  Message message{};  // the assistant's, ready to be appended to the conversation
  FinishReason finish_reason = FinishReason::kStop;
  std::vector<int32_t> token_ids{};  // of all that the model wrote
  std::vector<PositionLogprobs> logprobs{};
  Usage usage{};
};

// Either is new since the last; tool calls come with the output.
struct ChatChunk {
  std::string content{}, reasoning{};
};

enum class PoolingType { kLast, kMean, kCls };  // which rows of the last hidden states
struct PoolingParams {
  PoolingType pooling_type = PoolingType::kLast;
  bool normalize = true;   // to length 1
  int64_t dimensions = 0;  // the first so many values alone; 0: all
};

// A model with its tokenizer and engine. Thread-safe: calls from any threads run together on the model's own threads, and each
// gets the bits that it would get alone. Moving and destroying are not: no call may be under way.
//
// Callbacks run on the calling thread, one at a time for a call; false ends the request, which then returns what it has
// (kAbort). What a callback throws ends the request too, and comes out of the call.
class LanguageModel {
 public:
  // model: a folder, a .gguf file, or ORG/NAME or ORG/NAME@REVISION of the hub, which is pulled into the cache.
  // kNotFound, kInvalidInput (files, options), kUnsupported (architectures, encoders), kOutOfMemory, kDevice (the network).
  static LanguageModel open(const std::string& model, const ModelOptions& options = {}, const EngineOptions& engine = {});
  ~LanguageModel();
  LanguageModel(LanguageModel&&) noexcept;
  LanguageModel& operator=(LanguageModel&&) noexcept;

  // An empty text is the model's own start. Beams come as one chunk each, at the end.
  RequestOutput generate(const Prompt& prompt, const SamplingParams& params = {},
                         const std::function<bool(const CompletionChunk&)>& on_chunk = {}) const;
  // All together, outputs in the prompts' order. An error of one is thrown, and ends the others.
  std::vector<RequestOutput> generate_batch(const std::vector<Prompt>& prompts, const SamplingParams& params = {}) const;

  // The answer to a conversation, through the model's chat template. kNotFound where there is none.
  ChatOutput chat(const std::vector<Message>& messages, const ChatOptions& options = {},
                  const std::function<bool(const ChatChunk&)>& on_chunk = {}) const;
  // The prompt that chat() makes of it.
  std::string apply_chat_template(const std::vector<Message>& messages, const ChatOptions& options = {}) const;

  // The prompt's last hidden states as one vector.
  std::vector<float> embed(const Prompt& prompt, const PoolingParams& params = {}) const;

  const Tokenizer& tokenizer() const;  // kNotFound: the folder has none
  int64_t vocab_size() const;
  int64_t max_model_len() const;

 private:
  struct Impl;
  explicit LanguageModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pagoda::api
