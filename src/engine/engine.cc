// The engine's step: schedule, run, update.
#include "engine/engine.h"

#include <algorithm>
#include <random>

#include "base/checked.h"
#include "engine/group.h"

namespace pagoda {

namespace {

constexpr int64_t kMostCachedTokens = int64_t{1} << 20;

int64_t num_pages(const Runtime& runtime, const Model& model, const EngineOptions& options) {
  const int64_t page =
      std::max<int64_t>(1, KvCache::bytes_per_token(model.layer_states(), model.compute_dtype()) * kPageTokens);
  int64_t bytes = options.kv_cache_bytes;
  if (bytes == 0) {
    bytes = std::min(detect_cpu().memory_available / 5 * 3, checked_mul(page, kMostCachedTokens / kPageTokens, "kv_cache"));
  }
  const int64_t pages = bytes / page;
  if (pages < 1)
    invalid("engine", "cache too small: got {} bytes, need at least {} for one page (of {} memory available)", bytes, page,
            runtime.cpu().memory_available);
  return std::min(pages, int64_t{1} << 30);
}

}  // namespace

Engine::Engine(Runtime& runtime, const Model& model, std::shared_ptr<const Tokenizer> tokenizer, const EngineOptions& options)
    : model_(model),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      max_model_len_(options.max_model_len == 0 ? model.max_positions() : options.max_model_len),
      cache_(model.layer_states(), model.compute_dtype(), num_pages(runtime, model, options)),
      runner_(runtime, model, cache_) {
  if (max_model_len_ < 1 || (model.positions_are_learned() && max_model_len_ > model.max_positions())) {
    invalid("engine", "max_model_len: got {}, need 1 to {}", max_model_len_, model.max_positions());
  }
  if (options_.max_prefill_tokens < 1)
    invalid("engine", "max_prefill_tokens: got {}, need at least 1", options_.max_prefill_tokens);
}

Engine::~Engine() = default;

uint64_t Engine::add(Request request) {
  validate(request.params, model_.vocab_size());
  const int64_t length = static_cast<int64_t>(request.prompt_ids.size());
  if (length == 0) invalid("prompt", "empty prompt: need at least one token (this model has no start token to stand for it)");
  for (const int32_t id : request.prompt_ids) {
    if (id < 0 || id >= model_.vocab_size()) {
      invalid("prompt", "token id outside the vocabulary: got {}, need 0 to {}", id, model_.vocab_size() - 1);
    }
  }
  if (length > max_model_len_)
    invalid("prompt", "too long: got {} tokens, need at most {} (the model's context)", length, max_model_len_);
  // At least one token comes out: the last position of the context still predicts one.
  request.params.max_new_tokens = std::min(request.params.max_new_tokens, std::max<int64_t>(1, max_model_len_ - length));
  request.params.min_new_tokens = std::min(request.params.min_new_tokens, request.params.max_new_tokens);
  if (!tokenizer_ && !request.params.stop_strings.empty())
    invalid("prompt", "stop strings need a tokenizer: this model has none");
  if (!request.params.seed) {
    std::random_device device;
    request.params.seed = (uint64_t{device()} << 32) | device();
  }
  waiting_.emplace_back(next_id_, std::move(request));
  return next_id_++;
}

void Engine::start_next() {
  if (active_ != nullptr || waiting_.empty()) return;
  auto [id, request] = std::move(waiting_.front());
  waiting_.pop_front();
  active_ = std::make_unique<GroupState>(id, std::move(request), cache_, model_.vocab_size(), tokenizer_);
}

std::vector<Event> Engine::step() {
  const uint64_t next = active_ != nullptr ? active_->id() : waiting_.empty() ? 0 : waiting_.front().first;
  if (next == 0) return {};
  std::vector<Event> events;
  try {
    start_next();
    const SchedulerOutput scheduled = active_->schedule(options_.max_prefill_tokens);
    const StepResult result = runner_.run(scheduled);
    events = active_->update(result);
    if (active_->done()) active_.reset();
  } catch (...) {
    active_.reset();
    Event event;
    event.request = next;
    event.request_done = true;
    event.error = current_error();
    events.push_back(std::move(event));
  }
  return events;
}

void Engine::abort(uint64_t request) {
  if (active_ != nullptr && active_->id() == request) active_.reset();
  waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(), [&](const auto& entry) { return entry.first == request; }),
                 waiting_.end());
}

}  // namespace pagoda
