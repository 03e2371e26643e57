// The engine's step: schedule, run, update.
#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <random>
#include <utility>

#include "base/checked.h"
#include "base/random.h"

namespace pagoda {

namespace {

constexpr int64_t kMostCachedTokens = int64_t{1} << 20;
// Of the logits that one step makes for prompt_logprobs, beside one row for each sequence that is sampled.
constexpr int64_t kMostPromptLogitsBytes = int64_t{64} << 20;

class Stopwatch {
 public:
  double lap() {  // seconds since the last one
    const auto before = std::exchange(at_, std::chrono::steady_clock::now());
    return std::chrono::duration<double>(at_ - before).count();
  }

 private:
  std::chrono::steady_clock::time_point at_ = std::chrono::steady_clock::now();
};

DType cache_dtype(const Model& model, const EngineOptions& options) {
  return options.kv_cache_dtype.value_or(model.compute_dtype());
}

int64_t num_pages(const Model& model, const EngineOptions& options) {
  const int64_t page =
      std::max<int64_t>(1, KvCache::bytes_per_token(model.layer_states(), cache_dtype(model, options)) * kPageTokens);
  const int64_t free = std::max<int64_t>(0, detect_cpu().memory_available - options.mapped_weight_bytes);
  int64_t bytes = options.kv_cache_bytes;
  if (bytes > free) {
    fail(ErrorKind::kOutOfMemory, "engine",
         "--kv-cache-memory: got {} bytes, need at most {} (memory available beside the model, a container's limit counted)",
         bytes, free);
  }
  if (bytes == 0 && options.memory_utilization > 0) {
    bytes = static_cast<int64_t>(static_cast<double>(free) * options.memory_utilization);
  } else if (bytes == 0) {
    bytes = std::min(free / 5 * 3, checked_mul(page, kMostCachedTokens / kPageTokens, "kv_cache"));
  }
  const int64_t pages = bytes / page;
  if (pages < 1)
    invalid("engine", "cache too small: got {} bytes, need at least {} for one page (of {} memory available)", bytes, page,
            free);
  return std::min(pages, int64_t{1} << 30);
}

int64_t longest(const Model& model, const EngineOptions& options, int64_t pages) {
  const int64_t room = checked_mul(pages, kPageTokens, "kv_cache");
  if (options.max_model_len == 0) return std::min(model.max_positions(), room);
  // What lies beyond was never trained: answers would be noise, as vLLM says too.
  if (options.max_model_len < 1 || options.max_model_len > model.max_positions()) {
    invalid("engine", "--max-model-len: got {}, need 1 to {} (the model's context)", options.max_model_len,
            model.max_positions());
  }
  if (options.max_model_len > room && KvCache::window(model.layer_states()) == 0) {
    invalid("engine",
            "--max-model-len: got {}, need at most {} (what the cache holds; give it more memory or shorten the context)",
            options.max_model_len, room);
  }
  return options.max_model_len;
}

SchedulerOptions scheduler_options(Runtime& runtime, const Model& model, const EngineOptions& options) {
  SchedulerOptions result;
  result.max_num_seqs = options.max_num_seqs;
  result.max_num_batched_tokens = options.max_num_batched_tokens;
  result.by_priority = options.by_priority;
  result.max_prompt_logits =
      std::max<int64_t>(1, kMostPromptLogitsBytes / (static_cast<int64_t>(sizeof(float)) * model.vocab_size()));
  if (options.measure_rates) result.rates = measure_step_rates(runtime, model, cache_dtype(model, options));
  return result;
}

// The error that came of these logits. Numbers that are none are never the request's fault.
Error of_logits(const Error& error, const float* logits, int64_t count) {
  const float* const bad = std::find_if(logits, logits + count, [](float logit) { return !(logit < HUGE_VALF); });
  if (bad == logits + count) return error;
  return {ErrorKind::kInternal, fmt::format("[model] the logits are not finite: got {}, need numbers (broken weights?)",
                                            std::isnan(*bad) ? "NaN" : "+inf")};
}

Event failed(uint64_t request, const Error& error) {
  Event event;
  event.request = request;
  event.request_done = true;
  event.error = error;
  return event;
}

}  // namespace

Engine::Engine(Runtime& runtime, const Model& model, std::shared_ptr<const Tokenizer> tokenizer, const EngineOptions& options)
    : runtime_(runtime),
      model_(model),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      cache_(model.layer_states(), cache_dtype(model, options), num_pages(model, options)),
      max_model_len_(longest(model, options, cache_.num_pages())),
      blocks_(cache_.num_pages(), KvCache::window(model.layer_states())),
      runner_(runtime, model, cache_),
      scheduler_(scheduler_options(runtime, model, options), blocks_),
      scratch_(static_cast<size_t>(runtime.pool().num_threads())) {}

Engine::~Engine() = default;

void Engine::check(const Request& request) const {
  validate(request.params, model_.vocab_size());
  if (!request.pooling && model_.num_logits() == 0) {
    unsupported("model", "the checkpoint has no lm_head and generates no text: it gives embeddings");
  }
  const int64_t length = static_cast<int64_t>(request.prompt_ids.size());
  if (length == 0) invalid("prompt", "empty prompt: need at least one token (this model has no start token to stand for it)");
  for (const int32_t id : request.prompt_ids) {
    if (id < 0 || id >= model_.vocab_size()) {
      invalid("prompt", "token id outside the vocabulary: got {}, need 0 to {}", id, model_.vocab_size() - 1);
    }
  }
  if (length > max_model_len_)
    invalid("prompt", "too long: got {} tokens, need at most {} (the model's context)", length, max_model_len_);
  if (!tokenizer_ && !request.params.stop_strings.empty())
    invalid("prompt", "stop strings need a tokenizer: this model has none");
  for (const int32_t id : request.logprob_token_ids) {
    if (id < 0 || id >= model_.vocab_size()) {
      invalid("logprob_token_ids", "outside the vocabulary: got {}, need 0 to {}", id, model_.vocab_size() - 1);
    }
  }
  if (request.repetition_detection && request.params.num_beams > 1) {
    invalid("repetition_detection", "not with beam search");
  }
  if (request.constraint && request.params.num_beams > 1) invalid("prompt", "structured outputs: not with beam search");
  if (request.pooling && (request.pooling->dimensions < 0 || request.pooling->dimensions > model_.hidden_size())) {
    invalid("dimensions", "got {}, need at most {} (the model's hidden size)", request.pooling->dimensions,
            model_.hidden_size());
  }
  const int64_t width = std::max(request.params.num_return_sequences, request.params.num_beams);
  if (width > options_.max_num_seqs) {
    invalid("sampling", "{} is too large: got {} sequences in one request, need at most {} (max_num_seqs)",
            request.params.num_beams > 1 ? "num_beams" : "num_return_sequences", width, options_.max_num_seqs);
  }
}

uint64_t Engine::add(Request request) {
  check(request);
  const auto length = static_cast<int64_t>(request.prompt_ids.size());
  settle_lengths(request.params, length);
  // At least one token comes out: the last position of the context still predicts one.
  request.params.max_new_tokens = std::min(request.params.max_new_tokens, std::max<int64_t>(1, max_model_len_ - length));
  request.params.min_new_tokens = std::min(request.params.min_new_tokens, request.params.max_new_tokens);
  if (!request.params.seed && options_.seed) {
    request.params.seed = RandomStream(*options_.seed, next_id_).bits(0);
  } else if (!request.params.seed) {
    std::random_device device;
    request.params.seed = (uint64_t{device()} << 32) | device();
  }
  auto group = std::make_unique<Group>(next_id_, std::move(request), blocks_, options_.enable_prefix_caching,
                                       model_.vocab_size(), tokenizer_);
  scheduler_.add(&group->state());
  groups_.emplace(next_id_, std::move(group));
  return next_id_++;
}

void Engine::finish(uint64_t request) {
  const auto found = groups_.find(request);
  if (found == groups_.end()) return;
  scheduler_.remove(&found->second->state());
  groups_.erase(found);
}

void Engine::abort(uint64_t request) { finish(request); }

void Engine::visit(const std::function<void(uint64_t request, const SequenceState& sequence)>& fn) const {
  for (const auto& [id, group] : groups_) {
    for (const SequenceState& sequence : group->state().sequences) fn(id, sequence);
  }
}

void Engine::fail(uint64_t request, const Error& error, std::vector<Event>& events) {
  if (groups_.find(request) == groups_.end()) return;
  finish(request);
  events.push_back(failed(request, error));
}

std::vector<Event> Engine::step() {
  std::vector<Event> events;
  Stopwatch watch;
  last_ = scheduler_.schedule();
  times_.schedule += watch.lap();
  totals_.num_preemptions += static_cast<int64_t>(last_.preempted.size());
  for (RequestState* request : last_.too_large) {
    const Error error(ErrorKind::kOutOfMemory,
                      fmt::format("[engine] the cache is full: the request alone needs more than its {} pages of {} bytes",
                                  cache_.num_pages(), cache_.page_bytes()));
    fail(request->id, error, events);
  }
  if (last_.items.empty() && held_.empty()) return events;
  note_times();
  try {
    watch.lap();
    StepResult result;
    if (!last_.items.empty()) {
      result = runner_.run(last_);
      times_.model += watch.lap();
      scheduler_.commit(last_);
      times_.schedule += watch.lap();
      count_prompts();
      ++totals_.num_steps;
      totals_.step_sizes.add(last_.num_new_tokens());
      failures_ = 0;
    }
    const std::vector<uint64_t> pooled = pool_prompts(result, events);
    sample(result, events);
    for (const uint64_t id : pooled) finish(id);
    times_.sample += watch.lap();
  } catch (...) {
    // No one request is to blame: all that took part end, their pages are freed, the others go on.
    const Error error = current_error();
    if (error.kind() == ErrorKind::kDevice || error.kind() == ErrorKind::kInternal) ++failures_;
    scheduler_.discard(last_);
    std::vector<uint64_t> ids;
    for (const SchedulerOutput::Item& item : last_.items) {
      if (ids.empty() || ids.back() != item.request->id) ids.push_back(item.request->id);
    }
    ids.insert(ids.end(), held_.begin(), held_.end());
    for (const uint64_t id : ids) fail(id, error, events);
    held_.clear();
  }
  return events;
}

void Engine::note_times() {
  const auto now = std::chrono::steady_clock::now();
  for (const SchedulerOutput::Item& item : last_.items) {
    if (!item.request->scheduled_at) item.request->scheduled_at = now;
  }
}

// Prompts whose last token this step computed, once each.
void Engine::count_prompts() {
  for (const SchedulerOutput::Item& item : last_.items) {
    const int64_t prompt = item.sequence->history.prompt_length(), to = item.from + item.num_new_tokens;
    if (item.request->num_preemptions > 0 || item.from >= prompt || to < prompt) continue;
    totals_.num_prompt_tokens += prompt;
    totals_.num_cached_prompt_tokens += std::max<int64_t>(0, item.request->num_cached_tokens);
  }
}

// Rows of hidden states to the requests that want them. Those that end are left for the caller to finish, since items of the
// step still point at them.
std::vector<uint64_t> Engine::pool_prompts(const StepResult& result, std::vector<Event>& events) {
  std::vector<uint64_t> ended;
  int64_t row = 0;
  for (const SchedulerOutput::Item& item : last_.items) {
    const int64_t first = std::exchange(row, row + item.num_new_tokens);
    if (!item.request->pools) continue;
    Group& group = *groups_.at(item.request->id);
    try {
      group.pool(item, result.hidden, first, events);
      if (!group.done()) continue;
    } catch (...) {
      events.push_back(failed(item.request->id, current_error()));
    }
    ended.push_back(item.request->id);
  }
  return ended;
}

// Every choice that is made in this step. Constraints take turns where there is more to do for them than a step has time for:
// every stream waits for the slowest.
void Engine::choose() {
  std::atomic<int64_t> spent{0};
  if (!choices_.empty()) choices_[0].group->enters_step(0);
  runtime_.pool().parallel_for(static_cast<int64_t>(choices_.size()), 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      Group::Choice& choice = choices_[static_cast<size_t>(i)];
      try {
        choice.waits = !choice.group->enters_step(spent.load(std::memory_order_relaxed));
        if (!choice.waits) choice.group->choose(choice, scratch_[static_cast<size_t>(thread)]);
      } catch (...) {
        choice.error = of_logits(current_error(), choice.logits, choice.rows * model_.vocab_size());
      }
      spent.fetch_add(choice.work, std::memory_order_relaxed);
    }
  });
}

// Keeps the choices that wait.
void Engine::hold() {
  std::vector<uint64_t> held;
  held.reserve(choices_.size());  // those that waited before are noted whatever fails
  held_.swap(held);
  for (size_t i = 0; i < choices_.size();) {
    Group* const group = choices_[i].group;
    size_t end = i;
    while (end < choices_.size() && choices_[end].group == group) ++end;
    if (choices_[i].waits) {
      held_.push_back(group->state().id);
      group->hold(&choices_[i], end - i);
    }
    i = end;
  }
}

void Engine::sample(const StepResult& result, std::vector<Event>& events) {
  choices_.clear();
  std::vector<uint64_t> broken;
  // Those that wait longest stand first, and the first is always served.
  for (const uint64_t id : held_) {
    if (const auto group = groups_.find(id); group != groups_.end()) group->second->take_held(choices_);
  }
  const float* rows = result.logits ? result.logits.data<float>() : nullptr;
  for (size_t i = 0; i < last_.items.size();) {
    size_t end = i;
    int64_t wanted = 0;
    for (; end < last_.items.size() && last_.items[end].request == last_.items[i].request; ++end) {
      wanted += last_.items[end].rows_wanted();
    }
    const uint64_t id = last_.items[i].request->id;
    const size_t before = choices_.size();
    try {
      if (wanted > 0) groups_.at(id)->take(&last_.items[i], end - i, rows, choices_);
    } catch (...) {
      choices_.resize(before);
      broken.push_back(id);
      events.push_back(failed(id, of_logits(current_error(), rows, wanted * model_.vocab_size())));
    }
    rows += wanted * model_.vocab_size();
    i = end;
  }
  choose();
  hold();
  std::vector<uint64_t> ended;
  for (Group::Choice& choice : choices_) {
    const uint64_t id = choice.group->state().id;
    if (choice.waits || (!broken.empty() && broken.back() == id)) continue;
    if (!choice.error) {
      try {
        choice.group->apply(choice, events);
        if (choice.group->done()) ended.push_back(id);
        continue;
      } catch (...) {
        choice.error = current_error();
      }
    }
    broken.push_back(id);
    events.push_back(failed(id, *choice.error));
  }
  for (const Event& event : events) totals_.num_generated_tokens += static_cast<int64_t>(event.token_ids.size());
  // Nothing that can throw follows: step() would look at items of requests that are gone.
  for (const uint64_t id : ended) finish(id);
  for (const uint64_t id : broken) finish(id);
}

EngineStats Engine::stats() const {
  EngineStats stats = totals_;
  stats.num_running = scheduler_.num_running();
  stats.num_waiting = scheduler_.num_waiting();
  stats.num_blocks = blocks_.pool().num_blocks();
  stats.num_allocated_blocks = stats.num_blocks - blocks_.pool().num_free();
  std::vector<bool> seen(static_cast<size_t>(stats.num_blocks));
  for (const auto& [id, group] : groups_) {
    for (const SequenceState& sequence : group->state().sequences) {
      for (size_t i = 0; i < sequence.table.blocks.size(); ++i) {
        const int32_t block = sequence.table.blocks[i];
        if (block < 0) continue;
        ++stats.num_table_blocks;
        if (seen[static_cast<size_t>(block)]) continue;
        seen[static_cast<size_t>(block)] = true;
        stats.num_held_tokens +=
            std::clamp<int64_t>(sequence.table.num_tokens - static_cast<int64_t>(i) * kPageTokens, 0, kPageTokens);
      }
    }
  }
  return stats;
}

CacheMap Engine::cache_map() const {
  CacheMap map;
  map.stats = stats();
  const BlockPool& pool = blocks_.pool();
  const auto count = static_cast<size_t>(pool.num_blocks());
  map.owners.resize(count);
  map.references.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const auto block = static_cast<int32_t>(i);
    map.references[i] = pool.references(block);
    map.owners[i] = map.references[i] == 0 && pool.published(block) ? CacheMap::kCached : CacheMap::kFree;
  }
  map.requests.reserve(groups_.size());
  for (const auto& [id, group] : groups_) {
    CacheMap::Open open;
    open.request = id;
    for (const SequenceState& sequence : group->state().sequences) {
      open.num_prompt_tokens = sequence.history.prompt_length();
      open.num_generated_tokens += sequence.history.length() - open.num_prompt_tokens;
      open.num_computed_tokens = std::max(open.num_computed_tokens, sequence.table.num_tokens);
      open.num_sequences += sequence.running ? 1 : 0;
      for (const int32_t block : sequence.table.blocks) {
        if (block < 0) continue;
        ++open.num_blocks;
        uint64_t& owner = map.owners[static_cast<size_t>(block)];
        if (owner == CacheMap::kFree || id < owner) owner = id;
      }
    }
    map.requests.push_back(open);
  }
  std::sort(map.requests.begin(), map.requests.end(),
            [](const CacheMap::Open& a, const CacheMap::Open& b) { return a.request < b.request; });
  return map;
}

StepRates measure_step_rates(Runtime& runtime, const Model& model, DType cache_dtype) {
  // A few rows more cost little, as their weights must be read anyhow; what a long prompt's tokens cost shows beyond that.
  constexpr int64_t kFew = 64, kMany = 256;
  const int64_t few = std::min(kFew, model.max_positions()), many = std::min(kMany, model.max_positions());
  KvCache cache(model.layer_states(), cache_dtype, 32);
  BlockManager blocks(cache.num_pages());
  Runner runner(runtime, model, cache);
  const std::vector<int32_t> ids(static_cast<size_t>(many), 0);
  // `sequences` of `count` tokens each; the best of a few.
  const auto seconds = [&](int64_t sequences, int64_t count, int repeats) {
    double best = 1e30;
    for (int repeat = 0; repeat < repeats; ++repeat) {
      std::vector<BlockTable> tables(static_cast<size_t>(sequences));
      SchedulerOutput step;
      for (BlockTable& table : tables) {
        blocks.reserve(table, count, step.copies);
        step.items.push_back({&ids, &table, 0, count, model.num_logits() > 0, false, nullptr, nullptr});
      }
      const auto start = std::chrono::steady_clock::now();
      runner.run(step);
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      for (BlockTable& table : tables) blocks.release(table, true);
    }
    return best;
  };
  StepRates rates;
  rates.step = seconds(1, 1, 3);
  rates.decode_row = std::max(0.0, (seconds(16, 1, 2) - rates.step) / 15);
  const auto a_token = [&](int64_t from, double from_seconds, int64_t to, double to_seconds) {
    return to > from ? (to_seconds - from_seconds) / static_cast<double>(to - from) : 0.0;
  };
  const double short_prompt = seconds(1, few, 2), long_prompt = seconds(1, many, 2);
  rates.prefill_row =
      std::max({1e-9, a_token(1, rates.step, few, short_prompt), a_token(few, short_prompt, many, long_prompt)});
  return rates;
}

}  // namespace pagoda
