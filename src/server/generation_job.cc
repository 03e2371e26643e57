// Submission, gathering, streaming, cancellation.
#include "server/generation_job.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "server/answer_json.h"

namespace pagoda::server {

namespace {

// Of a stream that its client does not take: more is not made for it.
constexpr int64_t kMostPending = int64_t{8} << 20;
// Of one answer: what its choices tell of their prompts (tokens, texts of tokens, log-probabilities), which may all come of a
// few kilobytes at once.
constexpr int64_t kMostPromptEntries = int64_t{1} << 20;
constexpr int64_t kBytesOfEntry = 100;    // of these
constexpr int64_t kMoreRoom = 16 << 10;   // bytes taken ahead while an answer grows
constexpr int64_t kBytesOfToken = 16;     // here, in the engine and in the answer
constexpr int64_t kBytesOfStopByte = 25;  // of the automaton of stop strings
constexpr const char* kNoRoom = "[server] too much is kept for open requests: try again later";

// An event and what came after it, as one.
void append(Event& held, const Event& event) {
  held.token_ids.insert(held.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
  held.text += event.text;
  held.logprobs.insert(held.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
  held.finish = event.finish;
  held.stop_reason = event.stop_reason;
}

}  // namespace

Json Usage::json() const {
  Json usage = Json::object();
  usage.set("prompt_tokens", prompt_tokens)
      .set("total_tokens", prompt_tokens + completion_tokens)
      .set("completion_tokens", completion_tokens);
  Json details = Json::object();
  details.set("cached_tokens", cached_tokens);
  usage.set("prompt_tokens_details", std::move(details));
  return usage;
}

void AnswerFormat::end(const GenerationJob&, std::vector<Json>&) {}

Json AnswerFormat::failure(const GenerationJob& job, const Error& error) { return Json::parse(job.error_json(error), "error"); }

std::string AnswerFormat::bytes(const Json& chunk) const { return "data: " + chunk.dump() + "\n\n"; }

GenerationJob::GenerationJob(AsyncEngine& engine, Metrics& metrics, const MemoryLedger& memory, GenerationRequest request,
                             std::vector<PromptState> prompts, std::unique_ptr<AnswerFormat> format,
                             std::shared_ptr<HttpResponse> response, const ParamNames* names)
    : engine_(engine),
      metrics_(metrics),
      request_(std::move(request)),
      format_(std::move(format)),
      response_(std::move(response)),
      names_(names),
      created_(unix_seconds()),
      prompts_(std::move(prompts)),
      ledger_(memory),
      memory_(memory) {}

GenerationJob::AnswerSize GenerationJob::check_size(int64_t max_model_len) const {
  const int64_t top = request_.logprobs.value_or(0), top_ids = std::ssize(request_.logprob_token_ids);
  int64_t each = 0;  // entries of a prompt's token in a choice
  if (request_.prompt_logprobs) each += *request_.prompt_logprobs + 1;
  if (request_.echo) each += 1 + (request_.logprobs ? top : 0);
  if (request_.return_token_ids) each += 1;
  if (format_->repeats_prompts()) each *= request_.n;
  int64_t prompt_entries = 0, logprobs = 0;
  for (const PromptState& prompt : prompts_) {
    const int64_t length = std::ssize(prompt.ids);
    prompt_entries += each * length;
    const int64_t most = std::min(request_.params.max_new_tokens, std::max<int64_t>(1, max_model_len - length));
    if (request_.logprobs) logprobs += (1 + (top_ids > 0 ? top_ids : top)) * most * request_.best_of;
  }
  if (prompt_entries > kMostPromptEntries) {
    invalid(request_.prompt_logprobs ? "prompt_logprobs"
            : request_.echo          ? "echo"
                                     : "return_token_ids",
            "the answer would be too large: got {} tokens and log-probabilities of prompts in all choices, need at most {}",
            prompt_entries, kMostPromptEntries);
  }
  // Without max_tokens an answer may end anywhere: what has come is counted. Beams have nothing to show before their end.
  const bool ahead = request_.params.num_beams > 1 || (request_.max_tokens_given && keeps_logprobs());
  if (ahead && logprobs > request_.most_logprobs) {
    invalid(
        "logprobs",
        "the answer could become too large: got {} log-probabilities (those of a token x tokens x choices), need at most {} "
        "(max_tokens bounds them)",
        logprobs, request_.most_logprobs);
  }
  return {prompt_entries, ahead ? logprobs : 0};
}

// What is kept of the request until it is done.
int64_t GenerationJob::request_bytes() const {
  int64_t bytes = format_->kept_bytes() + request_.list_bytes + std::ssize(request_.prompt_text);
  for (const std::string& each : request_.params.stop_strings) bytes += kBytesOfStopByte * std::ssize(each);
  for (const PromptState& prompt : prompts_) {
    bytes += std::ssize(prompt.text) + kBytesOfToken * std::ssize(prompt.ids) * (1 + request_.best_of);
  }
  return bytes;
}

void GenerationJob::refuse(std::string_view message) {
  metrics_.count_rejection();
  send_busy(*response_, message);
}

// For what has come.
void GenerationJob::make_room() {
  const int64_t logprobs = std::max(known_logprobs_, num_logprobs_) * format_->bytes_of_logprob();
  const int64_t bytes = known_bytes_ + come_bytes_ + logprobs;
  if (bytes <= memory_.bytes() || memory_.resize(bytes + kMoreRoom)) return;
  throw Error(ErrorKind::kOutOfMemory, kNoRoom);
}

void GenerationJob::start(int64_t max_model_len) {
  const AnswerSize size = check_size(max_model_len);
  if (const int64_t most = engine_.max_open(); most > 0 && std::ssize(prompts_) > most) {
    invalid("prompt", "too many: got {} prompts, which are never open at once here, need at most {} (--max-open-requests)",
            prompts_.size(), most);
  }
  std::vector<Request> requests;
  for (PromptState& prompt : prompts_) {
    requests.push_back(request_.make(prompt.ids, max_model_len));
    engine_.check(requests.back());
    prompt.answers.resize(static_cast<size_t>(request_.best_of));
  }
  request_.constraint.reset();  // each request has its own, and this one holds memory of its grammar
  known_bytes_ = request_bytes() + size.prompt_entries * kBytesOfEntry;
  known_logprobs_ = size.logprobs;
  const int64_t bytes = known_bytes_ + known_logprobs_ * format_->bytes_of_logprob();
  if (!ledger_.could_hold(bytes)) {
    invalid(known_logprobs_ > 0 ? "logprobs" : "prompt",
            "request and answer are larger than all that is kept for clients: got about {} bytes, need at most {}", bytes,
            ledger_.most());
  }
  if (!memory_.resize(bytes)) return refuse(kNoRoom);
  bool full = false;
  {
    // Events wait until all prompts are submitted.
    const std::lock_guard<std::mutex> lock(mutex_);
    try {
      full = !submit(requests);
      if (!full && request_.stream) response_->begin(200, "text/event-stream; charset=utf-8", {{"cache-control", "no-cache"}});
    } catch (...) {  // no memory: what is submitted already must not answer a client that is told of the error
      over_ = true;
      for (const uint64_t ticket : tickets_) engine_.abort(ticket);
      throw;
    }
    over_ = full;
  }
  if (full) {
    for (const uint64_t ticket : tickets_) engine_.abort(ticket);
    return refuse("[server] too many requests are open: try again later");
  }
  const std::weak_ptr<GenerationJob> weak = weak_from_this();
  response_->on_disconnect([weak] {
    if (const std::shared_ptr<GenerationJob> job = weak.lock()) job->cancel();
  });
}

// With the lock held. False: the engine had no room for all.
bool GenerationJob::submit(std::vector<Request>& requests) {
  const std::shared_ptr<GenerationJob> self = shared_from_this();
  begun_.assign(prompts_.size() * static_cast<size_t>(request_.best_of), false);
  tickets_.reserve(requests.size());  // nothing may fail between a submission and the note of its ticket
  for (size_t i = 0; i < requests.size(); ++i) {
    timers_.emplace_back(static_cast<int64_t>(prompts_[i].ids.size()), request_.best_of, request_.params.max_new_tokens);
    const auto ticket = engine_.submit(std::move(requests[i]), [self, i](const Event& event) {
      self->response_->post([self, i, event] { self->on_event(i, event); });  // the engine has others to serve
    });
    if (!ticket) return false;
    tickets_.push_back(*ticket);
  }
  open_ = tickets_.size();
  return true;
}

void GenerationJob::cancel() {
  std::vector<uint64_t> tickets;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (over_) return;
    over_ = true;
    tickets = tickets_;
    for (RequestTimer& timer : timers_) metrics_.finish(timer, "abort");
  }
  for (const uint64_t ticket : tickets) engine_.abort(ticket);
}

// Whether the answer's end tells all of them once more: else a stream's go with their chunks.
bool GenerationJob::keeps_logprobs() const { return !request_.stream || format_->repeats_logprobs(); }

void GenerationJob::keep_logprobs(Answer& answer, const Event& event) {
  for (const PositionLogprobs& position : event.logprobs) {
    answer.cumulative_logprob += position.logprob;
    if (!request_.logprobs) continue;  // it is for the ranking alone
    if (keeps_logprobs()) num_logprobs_ += 1 + std::ssize(position.top);
    if (!request_.stream) answer.logprobs.push_back(position);
  }
  if (num_logprobs_ > request_.most_logprobs) {
    invalid("logprobs", "the answer has become too large: got {} log-probabilities, need at most {} (max_tokens bounds them)",
            num_logprobs_, request_.most_logprobs);
  }
}

Usage GenerationJob::usage(size_t prompt, size_t index) const {
  Usage usage;
  usage.prompt_tokens = std::ssize(prompts_[prompt].ids);
  usage.cached_tokens = prompts_[prompt].num_cached_tokens;
  usage.completion_tokens = std::ssize(prompts_[prompt].answers[index].token_ids);
  return usage;
}

Usage GenerationJob::usage() const {
  Usage usage;
  for (const PromptState& prompt : prompts_) {
    usage.prompt_tokens += static_cast<int64_t>(prompt.ids.size());
    usage.cached_tokens += prompt.num_cached_tokens;
    for (const Answer& answer : prompt.answers) usage.completion_tokens += static_cast<int64_t>(answer.token_ids.size());
  }
  return usage;
}

void GenerationJob::on_event(size_t prompt, const Event& event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (over_) return;
  if (event.error) return fail(*event.error);
  try {
    take(prompt, event);
  } catch (...) {
    fail(current_error());
  }
}

void GenerationJob::take(size_t prompt, const Event& event) {
  PromptState& state = prompts_[prompt];
  metrics_.tokens(timers_[prompt], static_cast<size_t>(event.index), static_cast<int64_t>(event.token_ids.size()));
  timers_[prompt].scheduled = event.scheduled_at;
  state.num_cached_tokens = event.num_cached_tokens;
  if (!event.prompt_logprobs.empty()) state.logprobs = event.prompt_logprobs;
  Answer& answer = state.answers[static_cast<size_t>(event.index)];
  // Before the answer grows, since its first chunks have no token: each chunk may tell the usage up to it.
  const bool first = request_.stream && begin_choice(prompt, event);
  answer.text += event.text;
  answer.token_ids.insert(answer.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
  keep_logprobs(answer, event);
  come_bytes_ += std::ssize(event.text) + kBytesOfToken * std::ssize(event.token_ids);
  make_room();
  if (event.finish != FinishReason::kNone) {
    answer.finish_reason = finish_reason_name(event.finish);
    answer.stop_reason = event.stop_reason;
    if (request_.params.num_beams > 1) answer.cumulative_logprob = event.score;
    metrics_.finish(timers_[prompt], static_cast<size_t>(event.index), answer.finish_reason);
  }
  if (request_.stream) stream(prompt, event, first);
  if (!event.request_done) return;
  metrics_.finish(timers_[prompt], answer.finish_reason);
  if (--open_ == 0) end();
}

// Of a choice among those of all prompts.
size_t GenerationJob::place_of(size_t prompt, const Event& event) const {
  return prompt * static_cast<size_t>(request_.best_of) + static_cast<size_t>(event.index);
}

// True for the first event of a choice.
bool GenerationJob::begin_choice(size_t prompt, const Event& event) {
  const size_t index = place_of(prompt, event);
  if (begun_[index]) return false;
  begun_[index] = true;
  std::vector<Json> chunks;
  format_->begin(*this, prompt, static_cast<size_t>(event.index), chunks);
  write(chunks);
  return true;
}

void GenerationJob::stream(size_t prompt, const Event& event, bool first) {
  const size_t index = place_of(prompt, event);
  if (request_.stream_interval == 1 || first) return stream_now(prompt, event);
  Event& held = held_[index];
  held.index = event.index;
  append(held, event);
  if (event.finish == FinishReason::kNone && static_cast<int64_t>(held.token_ids.size()) < request_.stream_interval) return;
  stream_now(prompt, held);
  held_.erase(index);
}

void GenerationJob::stream_now(size_t prompt, const Event& event) {
  std::vector<Json> chunks;
  format_->delta(*this, prompt, static_cast<size_t>(event.index), event, chunks);
  write(chunks);
  if (response_->pending_bytes() > kMostPending) {
    pagoda::fail(ErrorKind::kInvalidInput, "server", "the stream is read too slowly: got {} bytes behind, need at most {}",
                 response_->pending_bytes(), kMostPending);
  }
}

void GenerationJob::write(const std::vector<Json>& chunks) {
  std::string text;
  for (const Json& chunk : chunks) text += format_->bytes(chunk);
  if (!text.empty()) response_->write(std::move(text));
}

// The answers of each prompt by cumulative log-probability where more were made than are wanted.
std::vector<std::vector<size_t>> GenerationJob::ranking() const {
  std::vector<std::vector<size_t>> order;
  for (const PromptState& prompt : prompts_) {
    std::vector<size_t> indices(prompt.answers.size());
    std::iota(indices.begin(), indices.end(), size_t{0});
    if (request_.ranks()) {
      std::sort(indices.begin(), indices.end(), [&](size_t a, size_t b) {
        const double x = prompt.answers[a].cumulative_logprob, y = prompt.answers[b].cumulative_logprob;
        return x != y ? x > y : a < b;
      });
    }
    indices.resize(static_cast<size_t>(request_.n));
    order.push_back(std::move(indices));
  }
  return order;
}

void GenerationJob::end() {
  over_ = true;
  if (!request_.stream) {
    std::string body = format_->whole(*this, ranking());
    response_->keep(std::move(memory_));
    response_->send(200, "application/json", std::move(body));
    return;
  }
  std::vector<Json> last;
  format_->end(*this, last);
  if (request_.include_usage) last.push_back(format_->usage_chunk(*this));
  write(last);
  response_->write(format_->closing());
  response_->finish();
}

std::string GenerationJob::error_json(const Error& error) const {
  const bool of_grammar = request_.grammar && error.message().compare(0, 9, "[grammar]") == 0;
  const std::string message = of_grammar ? moved_into(request_.grammar->where, error).message() : error.message();
  const bool of_client = error.kind() == ErrorKind::kInvalidInput && names_ != nullptr;
  return error_body(http_status(error.kind()), message, of_client ? names_->param(message) : "");
}

void GenerationJob::fail(const Error& error) {
  over_ = true;
  for (const uint64_t ticket : tickets_) engine_.abort(ticket);
  for (RequestTimer& timer : timers_) metrics_.finish(timer, "error");
  if (!request_.stream) {
    const int status = http_status(error.kind());
    const Headers headers = status == 503 ? Headers{{"retry-after", "1"}} : Headers{};
    response_->send(status, "application/json", error_json(error), headers);
    return;
  }
  write({format_->failure(*this, error)});
  response_->write(format_->closing());
  response_->finish();
}

}  // namespace pagoda::server
