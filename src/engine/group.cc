// Prompt, forks, sampling and beams of one request.
#include "engine/group.h"

#include <algorithm>

#include "base/error.h"

namespace pagoda {

GroupState::GroupState(uint64_t id, Request request, KvCache& cache, int64_t vocab_size,
                       std::shared_ptr<const Tokenizer> tokenizer)
    : id_(id),
      request_(std::move(request)),
      cache_(cache),
      vocab_size_(vocab_size),
      tokenizer_(std::move(tokenizer)),
      processors_(request_.params),
      seed_(request_.params.seed.value_or(0)) {
  sequences_.emplace_back(TokenHistory(request_.prompt_ids));
  if (request_.params.num_beams > 1) beams_.emplace(request_.params, vocab_size, request_.prompt_ids);
}

GroupState::~GroupState() {
  for (Sequence& sequence : sequences_) cache_.release(sequence.table);
}

// The text of an answer is what the whole sequence decodes to beyond what its prompt decodes to: a decoder that has read the
// prompt knows whether a leading space is a space.
std::unique_ptr<StreamDecoder> GroupState::decoder_after_prompt() const {
  if (!tokenizer_) return nullptr;
  auto decoder = std::make_unique<StreamDecoder>(tokenizer_, true);
  for (const int32_t token : request_.prompt_ids) decoder->push(token);
  return decoder;
}

SchedulerOutput GroupState::schedule(int64_t max_prefill_tokens) {
  SchedulerOutput step;
  for (Sequence& sequence : sequences_) {
    if (!sequence.running) continue;
    const int64_t missing = sequence.history.length() - sequence.table.num_tokens;
    const int64_t count = std::min(missing, max_prefill_tokens);
    if (!cache_.reserve(sequence.table, sequence.table.num_tokens + count)) {
      fail(ErrorKind::kOutOfMemory, "engine", "the cache is full: {} pages of {} bytes are in use, need one more for {} tokens",
           cache_.pool().num_blocks(), cache_.page_bytes(), sequence.history.length());
    }
    step.items.push_back({&sequence.history.ids(), &sequence.table, count, count == missing, false});
  }
  return step;
}

std::vector<Event> GroupState::update(const StepResult& result) {
  if (!result.logits) return {};  // a chunk of the prompt that is not the last
  if (beams_) return advance_beams(result);
  if (!prompt_done_) fork_prompt(request_.params.num_return_sequences);
  return sample_all(result);
}

void GroupState::fork_prompt(int64_t count) {
  prompt_done_ = true;
  for (int64_t i = 1; i < count; ++i) {
    sequences_.emplace_back(sequences_[0].history);
    sequences_.back().table = cache_.fork(sequences_[0].table);
  }
  if (beams_) return;
  for (Sequence& sequence : sequences_) {
    sequence.decoder = decoder_after_prompt();
    sequence.stops = std::make_unique<StopMatcher>(request_.params.stop_strings, request_.params.include_stop_str);
  }
}

void GroupState::append(Sequence& sequence, int32_t token, Event& event) {
  sequence.history.append(token);
  event.token_ids.push_back(token);
  event.finish = check_token(request_.params, token, sequence.history.output_length());
  if (sequence.decoder == nullptr) return;
  event.text += sequence.stops->feed(sequence.decoder->push(token));
  if (sequence.stops->matched()) {
    event.finish = FinishReason::kStop;
  } else if (event.finish != FinishReason::kNone) {
    event.text += sequence.stops->feed(sequence.decoder->finish());
    if (sequence.stops->matched()) {
      event.finish = FinishReason::kStop;
    } else {
      event.text += sequence.stops->flush();
    }
  }
}

std::vector<Event> GroupState::sample_all(const StepResult& result) {
  const bool shared_row = result.logits.dim(0) == 1;  // the prompt's last row serves every fork
  std::vector<Event> events;
  std::vector<float> copy;
  int64_t row = 0;
  int64_t running = 0;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    Sequence& sequence = sequences_[i];
    if (!sequence.running) continue;
    const float* raw = result.logits.data<float>() + (shared_row ? 0 : row++) * vocab_size_;
    const float* chosen_from = raw;
    if (!processors_.empty()) {
      copy.assign(raw, raw + vocab_size_);
      processors_.apply(copy.data(), vocab_size_, sequence.history, scratch_);
      chosen_from = copy.data();
    }
    const DrawKey key{seed_, i, static_cast<uint64_t>(sequence.history.output_length())};
    const int32_t token =
        request_.params.do_sample() ? sample(chosen_from, vocab_size_, key, scratch_) : argmax(chosen_from, vocab_size_);
    Event event;
    event.request = id_;
    event.index = static_cast<int>(i);
    append(sequence, token, event);
    if (event.finish != FinishReason::kNone) {
      sequence.running = false;
      cache_.release(sequence.table);
    } else {
      ++running;
    }
    events.push_back(std::move(event));
  }
  if (running == 0) {
    done_ = true;
    events.back().request_done = true;
  }
  return events;
}

std::vector<Event> GroupState::advance_beams(const StepResult& result) {
  if (!prompt_done_) prompt_done_ = true;
  const std::vector<BeamCandidate>& candidates = beams_->propose(result.logits.data<float>());
  std::vector<bool> also_ends;
  if (!request_.params.stop_strings.empty()) {
    // A candidate ends where its text, decoded anew, holds a stop string: beams change parents, so no stream can be kept.
    for (const BeamCandidate& candidate : candidates) {
      StreamDecoder decoder(tokenizer_, true);
      StopMatcher stops(request_.params.stop_strings, request_.params.include_stop_str);
      const std::vector<int32_t>& ids = beams_->ids(candidate.parent);
      for (size_t i = 0; i < ids.size(); ++i) {
        const std::string piece = decoder.push(ids[i]);
        if (i >= request_.prompt_ids.size()) stops.feed(piece);
      }
      stops.feed(decoder.push(candidate.token));
      also_ends.push_back(stops.matched());
    }
  }
  const BeamStep& step = beams_->commit(also_ends);
  if (beams_->done()) return finish_beams();
  std::vector<Sequence> next;
  for (size_t i = 0; i < step.parents.size(); ++i) {
    Sequence& parent = sequences_[static_cast<size_t>(step.parents[i])];
    next.emplace_back(TokenHistory(beams_->ids(static_cast<int64_t>(i))));
    next.back().table = cache_.fork(parent.table);
  }
  for (Sequence& sequence : sequences_) cache_.release(sequence.table);
  sequences_ = std::move(next);
  return {};
}

std::vector<Event> GroupState::finish_beams() {
  std::vector<Event> events;
  for (const BeamHypothesis& hypothesis : beams_->finish()) {
    Event event;
    event.request = id_;
    event.index = static_cast<int>(events.size());
    event.token_ids = hypothesis.ids;
    event.finish = hypothesis.stopped ? FinishReason::kStop : FinishReason::kLength;
    if (const std::unique_ptr<StreamDecoder> decoder = decoder_after_prompt()) {
      StopMatcher stops(request_.params.stop_strings, request_.params.include_stop_str);
      for (const int32_t token : hypothesis.ids) event.text += stops.feed(decoder->push(token));
      event.text += stops.feed(decoder->finish());
      event.text += stops.flush();
    }
    events.push_back(std::move(event));
  }
  done_ = true;
  events.back().request_done = true;
  return events;
}

}  // namespace pagoda
