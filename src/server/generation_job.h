// One HTTP request for generated text: its prompts in the engine, its answers gathered or streamed, its end in every case.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/async_engine.h"
#include "server/generation_request.h"
#include "server/http_server.h"
#include "server/metrics.h"
#include "server/param_names.h"
#include "text/tokenizer.h"

namespace pagoda::server {

// What one answer has come to.
struct Answer {
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<PositionLogprobs> logprobs;  // of an answer that is no stream
  double cumulative_logprob = 0;
  std::string finish_reason;  // empty: not yet
  std::variant<std::monostate, int32_t, std::string> stop_reason;
};

struct PromptState {
  std::vector<int32_t> ids;
  std::string text;  // as given, where it was given as text
  std::vector<PositionLogprobs> logprobs;
  std::vector<Answer> answers;  // best_of of them
  int64_t num_cached_tokens = 0;
};

struct Usage {
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
  Json json() const;
};

class GenerationJob;

// What every answer of a request carries.
struct FormatContext {
  std::string id, model;
  const Tokenizer* tokenizer;  // may be null
};

// How an endpoint writes answers. Used by one thread at a time.
class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;
  // The whole answer. `order`: the answers of each prompt that are wanted, best first.
  virtual std::string whole(const GenerationJob& job, const std::vector<std::vector<size_t>>& order) = 0;
  // What is told of a prompt is told in each of its choices.
  virtual bool repeats_prompts() const { return false; }
  // A stream's end tells the log-probabilities of the whole answer again.
  virtual bool repeats_logprobs() const { return false; }
  // Bytes that one kept log-probability takes, about, and those that are kept of the request.
  virtual int64_t bytes_of_logprob() const { return 100; }
  virtual int64_t kept_bytes() const { return 0; }
  // The first chunks of choice `index`, before any token (a role, an echo).
  virtual void begin(const GenerationJob& job, size_t prompt, size_t index, std::vector<Json>& chunks) = 0;
  // The chunks that an event becomes.
  virtual void delta(const GenerationJob& job, size_t prompt, size_t index, const Event& event, std::vector<Json>& chunks) = 0;
  // The last chunks of a stream, once every choice is finished.
  virtual void end(const GenerationJob& job, std::vector<Json>& chunks);
  // What a stream that fails ends with.
  virtual Json failure(const GenerationJob& job, const Error& error);
  // A chunk as the stream has it, and what closes the stream.
  virtual std::string bytes(const Json& chunk) const;
  virtual std::string closing() const { return "data: [DONE]\n\n"; }
  // The chunk that carries usage alone.
  virtual Json usage_chunk(const GenerationJob& job) = 0;
};

class GenerationJob : public std::enable_shared_from_this<GenerationJob> {
 public:
  // memory: what the request and its answer take counts there. names: of the request's fields, for errors that come while it
  // runs; null: they name none.
  GenerationJob(AsyncEngine& engine, Metrics& metrics, const MemoryLedger& memory, GenerationRequest request,
                std::vector<PromptState> prompts, std::unique_ptr<AnswerFormat> format, std::shared_ptr<HttpResponse> response,
                const ParamNames* names = nullptr);

  // Throws kInvalidInput where the answer could be larger than there is memory for. Checks all prompts, then hands them to the
  // engine. Throws kInvalidInput for what cannot run; a full engine or ledger is answered with 503 and Retry-After.
  void start(int64_t max_model_len);

  const GenerationRequest& request() const { return request_; }
  const std::vector<PromptState>& prompts() const { return prompts_; }
  Usage usage() const;                             // of all choices of all prompts
  Usage usage(size_t prompt, size_t index) const;  // of one choice, as chunks tell it
  int64_t created() const { return created_; }     // seconds since 1970
  std::string error_json(const Error& error) const;

 private:
  // What is known of an answer before it is made, in entries of what it tells.
  struct AnswerSize {
    int64_t prompt_entries, logprobs;
  };
  AnswerSize check_size(int64_t max_model_len) const;
  int64_t request_bytes() const;
  void refuse(std::string_view message);
  bool submit(std::vector<Request>& requests);
  void on_event(size_t prompt, const Event& event);
  void take(size_t prompt, const Event& event);
  bool keeps_logprobs() const;
  void keep_logprobs(Answer& answer, const Event& event);
  void make_room();
  size_t place_of(size_t prompt, const Event& event) const;
  bool begin_choice(size_t prompt, const Event& event);
  void stream(size_t prompt, const Event& event, bool first);
  void stream_now(size_t prompt, const Event& event);
  void write(const std::vector<Json>& chunks);
  void end();
  void fail(const Error& error);
  void cancel();
  std::vector<std::vector<size_t>> ranking() const;

  AsyncEngine& engine_;
  Metrics& metrics_;
  GenerationRequest request_;
  std::unique_ptr<AnswerFormat> format_;
  std::shared_ptr<HttpResponse> response_;
  const ParamNames* names_;
  int64_t created_;
  std::mutex mutex_;  // guards what follows: events come to the connection's thread (see post()) or the engine's
  std::vector<PromptState> prompts_;
  std::vector<uint64_t> tickets_;
  std::vector<RequestTimer> timers_;              // one a prompt
  std::vector<bool> begun_;                       // choices whose first chunk was sent
  std::map<size_t, Event> held_;                  // by choice, what waits for stream_interval
  int64_t num_logprobs_ = 0;                      // that are kept
  int64_t known_bytes_ = 0, known_logprobs_ = 0;  // what there was room for before anything came
  int64_t come_bytes_ = 0;                        // of tokens and their texts
  const MemoryLedger ledger_;                     // of all clients together
  MemoryLedger::Lease memory_;
  size_t open_ = 0;    // prompts under way
  bool over_ = false;  // answered, failed or abandoned
};

}  // namespace pagoda::server
