// Prompt, forks, sampling and beams of one request.
#include "engine/group.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace pagoda {

Group::Group(uint64_t id, Request request, BlockManager& blocks, bool shares_prefix, int64_t vocab_size,
             std::shared_ptr<const Tokenizer> tokenizer)
    : request_(std::move(request)),
      blocks_(blocks),
      vocab_size_(vocab_size),
      tokenizer_(std::move(tokenizer)),
      stops_(request_.stops ? request_.stops : std::make_shared<const StopAutomaton>(request_.params.stop_strings)),
      processors_(request_.params, request_.biases),
      seed_(request_.params.seed.value_or(0)) {
  state_.id = id;
  state_.priority = request_.priority;
  state_.width = request_.prompt_only ? 1 : std::max(request_.params.num_return_sequences, request_.params.num_beams);
  // Without sharing, names of pages still serve the request's own forks when it comes back from preemption.
  state_.forget_pages = !shares_prefix;
  state_.root = blocks.hasher().root(shares_prefix ? "shared:" + request_.cache_salt : "alone:" + std::to_string(id));
  state_.all_at_once = request_.params.num_beams > 1;
  if (request_.prompt_logprobs) state_.prompt_logits_from = 0;
  if (request_.pooling) {
    pooler_.emplace(*request_.pooling, static_cast<int64_t>(request_.prompt_ids.size()));
    state_.pools = true;
    state_.computes_all = Pooler::needs_all(*request_.pooling);
  }
  state_.sequences.emplace_back(TokenHistory(request_.prompt_ids));
  if (request_.params.num_beams > 1) beams_.emplace(request_.params, vocab_size, request_.prompt_ids, request_.biases);
}

// The text of an answer is what the whole sequence decodes to beyond what its prompt decodes to: a decoder that has read the
// prompt knows whether a leading space is a space, and does not tell the prompt's last characters again.
std::unique_ptr<StreamDecoder> Group::decoder_after_prompt() const {
  if (!tokenizer_) return nullptr;
  auto decoder = std::make_unique<StreamDecoder>(tokenizer_, request_.skip_special_tokens);
  for (const int32_t token : request_.prompt_ids) decoder->push(token);
  decoder->tell_no_more();
  return decoder;
}

void Group::take(const SchedulerOutput::Item* items, size_t count, const float* rows, std::vector<Choice>& choices) {
  const float* first = rows;
  begin_step();
  held_.clear();
  held_rows_.clear();
  for (size_t i = 0; i < count; ++i) {
    const SchedulerOutput::Item& item = items[i];
    if (item.wants_all_logits) take_prompt_logprobs(item, rows);
    const float* last = rows + (item.rows_wanted() - 1) * vocab_size_;
    rows += item.rows_wanted() * vocab_size_;
    if (!item.wants_logits || beams_ || request_.prompt_only) continue;
    if (answers_.empty()) {
      fork_prompt();
      for (size_t fork = 0; fork < answers_.size(); ++fork) choices.push_back({this, fork, last});
      continue;
    }
    const auto mine = [&](const Answer& answer) { return answer.sequence == item.sequence; };
    const auto answer = std::find_if(answers_.begin(), answers_.end(), mine);
    choices.push_back({this, static_cast<size_t>(answer - answers_.begin()), last});
  }
  if (!beams_ && !request_.prompt_only) return;
  // All sequences of beams stand at their last token in the same step; a chunk of the prompt wants nothing.
  if (items[count - 1].wants_logits) {
    const float* row = beams_ && count > 1 ? first : rows - vocab_size_;
    choices.push_back({this, 0, row, beams_ ? static_cast<int64_t>(count) : 1});
  }
}

void Group::take_prompt_logprobs(const SchedulerOutput::Item& item, const float* rows) {
  const auto prompt = static_cast<int64_t>(request_.prompt_ids.size());
  for (int64_t i = 0; i < item.num_new_tokens; ++i) {
    const int64_t position = item.from + i + 1;  // the row at from + i predicts it
    if (position >= prompt) break;
    if (position <= static_cast<int64_t>(prompt_logprobs_.size())) continue;  // known from before a preemption
    const float* row = rows + i * vocab_size_;
    prompt_logprobs_.push_back(
        position_of(row, request_.prompt_ids[static_cast<size_t>(position)], row_logprobs(row, *request_.prompt_logprobs, {})));
  }
}

// Of the `count` likeliest tokens, or of `ids` where there are any.
Group::RowLogprobs Group::row_logprobs(const float* logits, int64_t count, const std::vector<int32_t>& ids) const {
  RowLogprobs row{log_sum_exp(logits, vocab_size_), {}};
  if (ids.empty()) row.top = top_logprobs(logits, vocab_size_, count, row.total);
  for (const int32_t id : ids) row.top.push_back({id, logits[id] - row.total});
  return row;
}

Group::RowLogprobs Group::answer_row(const float* logits) const {
  return row_logprobs(logits, *request_.logprobs, request_.logprob_token_ids);
}

PositionLogprobs Group::position_of(const float* logits, int32_t token, RowLogprobs row) const {
  return {token, logits[token] - row.total, token_rank(logits, vocab_size_, token), std::move(row.top)};
}

void Group::fork_prompt() {
  SequenceState& prompt = state_.sequences.front();
  for (int64_t i = 1; i < request_.params.num_return_sequences; ++i) {
    state_.sequences.emplace_back(prompt.history);
    state_.sequences.back().table = blocks_.fork(prompt.table);
  }
  const std::unique_ptr<StreamDecoder> decoder = decoder_after_prompt();
  for (SequenceState& sequence : state_.sequences) {
    Answer answer{&sequence, decoder ? std::make_unique<StreamDecoder>(*decoder) : nullptr,
                  StopMatcher(stops_, request_.params.include_stop_str), nullptr};
    if (request_.constraint) answer.constraint = request_.constraint->clone();
    answers_.push_back(std::move(answer));
  }
  request_.constraint.reset();  // holds memory of its grammar
}

void Group::begin_step() {
  entry_.store(Entry::kOpen, std::memory_order_relaxed);
  work_.store(0, std::memory_order_relaxed);
}

bool Group::enters_step(int64_t spent) {
  if (answers_.empty() || !answers_[0].constraint) return true;
  // Whichever of its sequences comes first decides for all.
  Entry entry = Entry::kOpen;
  const Entry mine = spent < kConstraintWorkOfAStep ? Entry::kEnters : Entry::kWaits;
  if (entry_.compare_exchange_strong(entry, mine, std::memory_order_relaxed)) entry = mine;
  return entry == Entry::kEnters;
}

void Group::hold(const Choice* choices, size_t count) {
  state_.holds = true;
  if (!held_.empty()) return;  // they have waited before
  const float* last = nullptr;
  for (size_t i = 0; i < count; ++i) {
    // Forks of a prompt begin with one row.
    if (choices[i].logits != last) held_rows_.emplace_back(choices[i].logits, choices[i].logits + vocab_size_);
    last = choices[i].logits;
    held_.push_back({choices[i].sequence, held_rows_.size() - 1});
  }
}

void Group::take_held(std::vector<Choice>& choices) {
  if (!std::exchange(state_.holds, false)) return;
  begin_step();
  for (const Held& held : held_) choices.push_back({this, held.sequence, held_rows_[held.row].data()});
}

// What the request's constraints have taken in this step, that of `choice` included, is within its bound.
void Group::charge(TokenConstraint& constraint, Choice& choice) {
  const int64_t more = constraint.take_work();
  choice.work += more;
  const int64_t all = work_.fetch_add(more, std::memory_order_relaxed) + more;
  if (all <= kMostConstraintWork) return;
  invalid("grammar",
          "too many ways to read the texts of the request's {} answers: their next tokens need more than {} steps together",
          state_.num_running(), kMostConstraintWork);
}

void Group::choose(Choice& choice, LogitsScratch& scratch) {
  if (request_.prompt_only) return;
  if (beams_) return choose_beams(choice.logits);
  Answer& answer = answers_[choice.sequence];
  const TokenHistory& history = answer.sequence->history;
  const float* chosen_from = choice.logits;
  if (!processors_.empty() || answer.constraint) {
    scratch.row.assign(choice.logits, choice.logits + vocab_size_);
    if (answer.constraint) {
      charge(*answer.constraint, choice);  // others of the request may have spent it all
      answer.constraint->mask(scratch.row.data(), vocab_size_);
      charge(*answer.constraint, choice);
    }
    processors_.apply(scratch.row.data(), vocab_size_, history, scratch);
    chosen_from = scratch.row.data();
  }
  const DrawKey key{seed_, choice.sequence, static_cast<uint64_t>(history.output_length())};
  choice.token =
      request_.params.do_sample() ? sample(chosen_from, vocab_size_, key, scratch) : argmax(chosen_from, vocab_size_);
  if (request_.logprobs) choice.logprobs = position_of(choice.logits, choice.token, answer_row(choice.logits));
  if (!answer.constraint) return;
  answer.constraint->accept(choice.token);
  choice.completes = answer.constraint->complete();
  charge(*answer.constraint, choice);
}

void Group::apply(Choice& choice, std::vector<Event>& events) {
  if (request_.prompt_only) return finish_prompt(events);
  if (beams_) return advance_beams(events);
  Answer& answer = answers_[choice.sequence];
  Event event;
  event.index = static_cast<int>(choice.sequence);
  if (choice.logprobs) event.logprobs.push_back(std::move(*choice.logprobs));
  append(answer, choice, event);
  if (event.finish != FinishReason::kNone) end(answer);
  done_ = state_.num_running() == 0;
  push(std::move(event), events);
}

void Group::push(Event event, std::vector<Event>& events) {
  event.request = state_.id;
  event.request_done = done_;
  event.scheduled_at = state_.scheduled_at.value_or(event.scheduled_at);
  event.num_cached_tokens = std::max<int64_t>(0, state_.num_cached_tokens);
  if (!told_) event.prompt_logprobs = std::move(prompt_logprobs_);
  told_ = true;
  events.push_back(std::move(event));
}

// As vLLM has it, a token that ends the answer is no part of its text, unless what ends it is to be in there.
bool Group::hides_text(FinishReason of_token) const {
  return of_token == FinishReason::kStop && !request_.params.include_stop_str;
}

void Group::append(Answer& answer, const Choice& choice, Event& event) {
  const int32_t token = choice.token;
  TokenHistory& history = answer.sequence->history;
  history.append(token);
  event.token_ids.push_back(token);
  event.finish = check_token(request_.params, token, history.output_length());
  const bool hidden = hides_text(event.finish);
  const std::vector<int32_t>& stop_ids = request_.params.stop_token_ids;
  if (event.finish == FinishReason::kStop && std::find(stop_ids.begin(), stop_ids.end(), token) != stop_ids.end()) {
    event.stop_reason = token;
  }
  if (choice.completes) event.finish = FinishReason::kStop;
  const std::optional<RepetitionDetection>& detection = request_.repetition_detection;
  if (event.finish == FinishReason::kNone && detection &&
      ends_in_repetition(history.ids(), history.prompt_length(), *detection)) {
    event.finish = FinishReason::kRepetition;
    event.stop_reason = "repetition_detected";
  }
  if (answer.decoder == nullptr) return;
  StopMatcher& stops = answer.stops;
  const bool may_end = history.output_length() > request_.params.min_new_tokens;
  if (!hidden) event.text += stops.feed(answer.decoder->push(token), may_end);
  if (!stops.matched() && event.finish != FinishReason::kNone) {
    event.text += stops.feed(answer.decoder->finish(), may_end);
    if (!stops.matched()) event.text += stops.flush();
  }
  if (stops.matched()) {
    event.finish = FinishReason::kStop;
    event.stop_reason = request_.params.stop_strings[*stops.match()];
  }
}

void Group::end(Answer& answer) {
  answer.sequence->running = false;
  state_.resume_one();
  blocks_.release(answer.sequence->table, state_.forget_pages);
}

void Group::pool(const SchedulerOutput::Item& item, const Tensor& hidden, int64_t row, std::vector<Event>& events) {
  pooler_->take(hidden, row, item.from, item.num_new_tokens);
  if (!pooler_->done()) return;
  Event event;
  event.pooled = pooler_->finish();
  event.finish = FinishReason::kStop;
  done_ = true;
  push(std::move(event), events);
}

void Group::finish_prompt(std::vector<Event>& events) {
  for (int64_t i = 0; i < request_.params.num_return_sequences; ++i) {
    Event event;
    event.index = static_cast<int>(i);
    event.finish = FinishReason::kLength;
    done_ = i + 1 == request_.params.num_return_sequences;
    push(std::move(event), events);
  }
}

// Of `length` new tokens, the last of them `token`.
Group::BeamText Group::beam_text(int32_t parent, int32_t token, int64_t length) const {
  BeamText text = beam_texts_[static_cast<size_t>(parent)];
  text.stops.feed(text.decoder.push(token), length > request_.params.min_new_tokens);
  return text;
}

void Group::choose_beams(const float* logits) {
  beams_->propose(logits);
  const auto parent_of = [begins = beams_->rows() == 1](const BeamCandidate& candidate) {
    return begins ? 0 : candidate.parent;  // all beams begin as the one prompt
  };
  const auto length = static_cast<int64_t>(beams_->ids(0).size() - request_.prompt_ids.size()) + 1;
  BeamSearch::AlsoEnds also_ends;
  if (!stops_->empty()) {
    if (beam_texts_.empty()) beam_texts_.push_back({*decoder_after_prompt(), StopMatcher(stops_)});
    also_ends = [&, this](const BeamCandidate& candidate) {
      return beam_text(parent_of(candidate), candidate.token, length).stops.matched();
    };
  }
  BeamSearch::MakeNote note;
  std::vector<std::optional<RowLogprobs>> rows(static_cast<size_t>(beams_->rows()));
  if (request_.logprobs) {
    note = [&, this](const BeamCandidate& candidate) {
      const int32_t parent = parent_of(candidate);
      const float* row_logits = logits + parent * vocab_size_;
      std::optional<RowLogprobs>& row = rows[static_cast<size_t>(parent)];
      if (!row) row = answer_row(row_logits);
      return std::make_shared<const PositionLogprobs>(position_of(row_logits, candidate.token, *row));
    };
  }
  beam_step_ = beams_->commit(also_ends, note);
  if (!also_ends || beams_->done()) return;
  std::vector<BeamText> texts;
  for (size_t i = 0; i < beam_step_.parents.size(); ++i) {
    texts.push_back(beam_text(beam_step_.parents[i], beam_step_.tokens[i], length));
  }
  beam_texts_ = std::move(texts);
}

void Group::advance_beams(std::vector<Event>& events) {
  if (beams_->done()) return finish_beams(events);
  std::vector<SequenceState*> parents;
  for (SequenceState& sequence : state_.sequences) parents.push_back(&sequence);
  std::list<SequenceState> next;
  for (size_t i = 0; i < beam_step_.parents.size(); ++i) {
    next.emplace_back(beams_->history(static_cast<int64_t>(i)));
    next.back().table = blocks_.fork(parents[static_cast<size_t>(beam_step_.parents[i])]->table);
  }
  // What no beam continues is forgotten; what another sequence holds stays.
  for (SequenceState& sequence : state_.sequences) blocks_.release(sequence.table, true);
  state_.sequences = std::move(next);
}

void Group::finish_beams(std::vector<Event>& events) {
  const std::vector<BeamHypothesis> hypotheses = beams_->finish();
  const std::unique_ptr<StreamDecoder> after_prompt = decoder_after_prompt();
  for (size_t i = 0; i < hypotheses.size(); ++i) {
    const BeamHypothesis& hypothesis = hypotheses[i];
    Event event;
    event.index = static_cast<int>(i);
    event.token_ids = hypothesis.ids;
    event.score = hypothesis.score;
    for (const BeamNote& note : hypothesis.notes) event.logprobs.push_back(*note);
    event.finish = hypothesis.stopped ? FinishReason::kStop : FinishReason::kLength;
    if (after_prompt) {
      StreamDecoder decoder = *after_prompt;
      StopMatcher stops(stops_, request_.params.include_stop_str);
      int64_t length = 0;
      for (const int32_t token : hypothesis.ids) {
        const bool hidden = hides_text(check_token(request_.params, token, ++length));
        if (!hidden) event.text += stops.feed(decoder.push(token), length > request_.params.min_new_tokens);
      }
      event.text += stops.feed(decoder.finish(), length > request_.params.min_new_tokens);
      event.text += stops.flush();
      if (stops.matched()) event.stop_reason = request_.params.stop_strings[*stops.match()];
    }
    done_ = i + 1 == hypotheses.size();
    push(std::move(event), events);
  }
}

}  // namespace pagoda
