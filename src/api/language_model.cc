// Requests of callers' threads through the engine, and what comes back.
#include "pagoda/language_model.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <new>

#include "api/errors.h"
#include "api/model_impl.h"
#include "api/options.h"
#include "api/own_thread.h"
#include "api/sampling.h"
#include "base/error.h"

namespace pagoda::api {

namespace {

// Events on their way from the engine's thread, which must not wait, to the caller's.
class Inbox {
 public:
  void put(size_t request, const Event& event) noexcept {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      try {
        events_.emplace_back(request, event);
      } catch (...) {  // no memory: whoever waits must hear of it
        lost_ = true;
      }
    }
    came_.notify_one();
  }
  // Throws std::bad_alloc once an event was lost.
  std::pair<size_t, Event> take() {
    std::unique_lock<std::mutex> lock(mutex_);
    came_.wait(lock, [this] { return lost_ || !events_.empty(); });
    if (lost_) throw std::bad_alloc();
    std::pair<size_t, Event> event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<std::pair<size_t, Event>> events_;
  bool lost_ = false;
};

// The requests of one call: however the call ends, none of them runs on.
class Tickets {
 public:
  Tickets(AsyncEngine& engine, size_t count) : engine_(engine) { tickets_.reserve(count); }
  ~Tickets() {
    for (const uint64_t ticket : tickets_) engine_.abort(ticket);
  }
  Tickets(const Tickets&) = delete;
  Tickets& operator=(const Tickets&) = delete;
  void submit(Request&& request, AsyncEngine::Sink sink) {
    const std::optional<uint64_t> ticket = engine_.submit(std::move(request), std::move(sink));
    if (ticket) tickets_.push_back(*ticket);
  }
  void all_done() { tickets_.clear(); }

 private:
  AsyncEngine& engine_;
  std::vector<uint64_t> tickets_;
};

pagoda::PoolingType pooling_type(PoolingType type) {
  switch (type) {
    case PoolingType::kLast: return pagoda::PoolingType::kLast;
    case PoolingType::kMean: return pagoda::PoolingType::kMean;
    case PoolingType::kCls: return pagoda::PoolingType::kCls;
  }
  invalid("pooling_type", "unknown: got {}", static_cast<int>(type));
}

}  // namespace

FinishReason finish_reason(pagoda::FinishReason reason) {
  return reason == pagoda::FinishReason::kLength ? FinishReason::kLength : FinishReason::kStop;
}

void append_logprobs(const std::vector<pagoda::PositionLogprobs>& from, std::vector<PositionLogprobs>& to) {
  for (const pagoda::PositionLogprobs& position : from) {
    PositionLogprobs& added = to.emplace_back(PositionLogprobs{position.token, position.logprob, position.rank, {}});
    for (const pagoda::TokenLogprob& each : position.top) added.top.push_back({each.id, each.logprob});
  }
}

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kToolCalls: return "tool_calls";
    case FinishReason::kAbort: return "abort";
  }
  return "stop";
}

LanguageModel::Impl::Impl(const std::string& model, const ModelOptions& options, const EngineOptions& engine_given)
    : chats(engine_given), generation(TextGeneration::open(model, load_options(options), engine_options(engine_given))) {
  chats.load(generation->tokenizer_path(), engine_given.chat_template);
  if (generation->tokenizer()) tokenizer = Access::make(generation->tokenizer());
  engine = std::make_unique<AsyncEngine>(generation->engine(), 0);
}

std::vector<int32_t> LanguageModel::Impl::prompt_ids(const Prompt& prompt) const {
  if (const auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) return *ids;
  return generation->encode_prompt(std::get<std::string>(prompt));
}

Request LanguageModel::Impl::request(const SamplingParams& asked, pagoda::SamplingParams params) const {
  for (const auto& [name, value] : {std::pair{"logprobs", asked.logprobs}, {"prompt_logprobs", asked.prompt_logprobs}}) {
    if (value && *value < 0) invalid(name, "got {}, need at least 0", *value);
  }
  Request request;
  request.params = std::move(params);
  request.logprobs = asked.logprobs;
  request.prompt_logprobs = asked.prompt_logprobs;
  request.skip_special_tokens = asked.skip_special_tokens;
  return request;
}

std::unique_ptr<TokenConstraint> LanguageModel::Impl::constraint(const GrammarSource& source,
                                                                 const pagoda::SamplingParams& params) {
  {
    const pagoda::Tokenizer& text = generation->require_tokenizer();
    const std::lock_guard<std::mutex> lock(vocabulary_mutex);
    if (!vocabulary) vocabulary = std::make_shared<const TokenVocabulary>(text);
  }
  return make_constraint(grammars.get(source), vocabulary, params.end_token_ids());
}

bool LanguageModel::Impl::run(std::vector<Request> requests, const std::function<bool(size_t, Event&)>& tell) {
  const auto inbox = std::make_shared<Inbox>();
  Tickets tickets(*engine, requests.size());
  translated([&] {
    for (size_t i = 0; i < requests.size(); ++i) {
      tickets.submit(std::move(requests[i]), [inbox, i](const Event& event) { inbox->put(i, event); });
    }
  });
  for (size_t open = requests.size(); open > 0;) {
    auto [request, event] = translated([&] {
      std::pair<size_t, Event> came = inbox->take();
      if (came.second.error) throw pagoda::Error(*came.second.error);
      return came;
    });
    if (event.request_done) --open;
    if (!tell(request, event)) return false;
  }
  tickets.all_done();
  return true;
}

std::vector<RequestOutput> LanguageModel::Impl::generate(const std::vector<Prompt>& prompts, const SamplingParams& params,
                                                         const std::function<bool(const CompletionChunk&)>& on_chunk) {
  std::vector<Request> requests;
  std::vector<RequestOutput> results(prompts.size());
  translated([&] {
    const pagoda::SamplingParams sampling = sampling_params(params, generation->defaults());
    std::unique_ptr<TokenConstraint> form;
    if (params.structured_outputs) form = constraint(grammar_source(*params.structured_outputs), sampling);
    for (size_t i = 0; i < prompts.size(); ++i) {
      Request& added = requests.emplace_back(request(params, sampling));
      added.prompt_ids = prompt_ids(prompts[i]);
      if (form) added.constraint = form->clone();
      engine->check(added);  // nothing runs where one of them is refused
      results[i].prompt_token_ids = added.prompt_ids;
      results[i].usage.prompt_tokens = static_cast<int64_t>(added.prompt_ids.size());
      results[i].outputs.resize(static_cast<size_t>(std::max<int64_t>(1, sampling.num_return_sequences)));
      for (CompletionOutput& output : results[i].outputs) output.finish_reason = FinishReason::kAbort;
    }
  });
  run(std::move(requests), [&](size_t at, Event& event) {
    CompletionChunk chunk{event.index, std::move(event.text), std::move(event.token_ids), {}};
    translated([&] {
      append_logprobs(event.logprobs, chunk.logprobs);
      append_logprobs(event.prompt_logprobs, results[at].prompt_logprobs);
      results[at].usage.cached_tokens = event.num_cached_tokens;
      results[at].usage.completion_tokens += static_cast<int64_t>(chunk.token_ids.size());
      CompletionOutput& output = results[at].outputs[static_cast<size_t>(event.index)];
      output.text += chunk.text;
      output.token_ids.insert(output.token_ids.end(), chunk.token_ids.begin(), chunk.token_ids.end());
      output.logprobs.insert(output.logprobs.end(), chunk.logprobs.begin(), chunk.logprobs.end());
      if (event.finish == pagoda::FinishReason::kNone) return;
      output.finish_reason = finish_reason(event.finish);
      output.stop_reason = std::move(event.stop_reason);
    });
    return !on_chunk || on_chunk(chunk);
  });
  return results;
}

LanguageModel::LanguageModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LanguageModel::~LanguageModel() = default;
LanguageModel::LanguageModel(LanguageModel&&) noexcept = default;
LanguageModel& LanguageModel::operator=(LanguageModel&&) noexcept = default;

LanguageModel LanguageModel::open(const std::string& model, const ModelOptions& options, const EngineOptions& engine) {
  return translated(
      [&] { return on_own_thread([&] { return LanguageModel(std::make_unique<Impl>(model, options, engine)); }); });
}

RequestOutput LanguageModel::generate(const Prompt& prompt, const SamplingParams& params,
                                      const std::function<bool(const CompletionChunk&)>& on_chunk) const {
  return std::move(impl_->generate({prompt}, params, on_chunk)[0]);
}

std::vector<RequestOutput> LanguageModel::generate_batch(const std::vector<Prompt>& prompts,
                                                         const SamplingParams& params) const {
  return impl_->generate(prompts, params, {});
}

std::vector<float> LanguageModel::embed(const Prompt& prompt, const PoolingParams& params) const {
  std::vector<Request> requests;
  translated([&] {
    Request& request = requests.emplace_back();
    request.prompt_ids = impl_->prompt_ids(prompt);
    request.params.max_new_tokens = 1;
    request.pooling = {pooling_type(params.pooling_type), params.dimensions, params.normalize};
    impl_->engine->check(request);
  });
  std::vector<float> vector;
  impl_->run(std::move(requests), [&](size_t, Event& event) {
    if (event.request_done) vector = std::move(event.pooled);
    return true;
  });
  return vector;
}

const Tokenizer& LanguageModel::tokenizer() const {
  translated([&] { impl_->generation->require_tokenizer(); });
  return *impl_->tokenizer;
}

int64_t LanguageModel::vocab_size() const { return impl_->generation->model().vocab_size(); }
int64_t LanguageModel::max_model_len() const { return impl_->generation->engine().max_model_len(); }

}  // namespace pagoda::api
