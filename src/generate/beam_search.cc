// Beam bookkeeping. Placeholders score -1e9 as in HF, whose float32 sums swallow everything else beside that number.
#include "generate/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/random.h"
#include "generate/sampler.h"
#include "generate/top_k.h"

namespace pagoda {
namespace {

constexpr float kNever = -1.0e9F;
const char* const kWhere = "beam search";

}  // namespace

BeamSearch::BeamSearch(const SamplingParams& params, int64_t vocab_size, std::vector<int32_t> prompt,
                       std::shared_ptr<const TokenBiases> biases)
    : params_(params),
      processors_(params, std::move(biases)),
      vocab_(vocab_size),
      num_beams_(params.num_beams),
      end_ids_(params.end_token_ids()) {
  validate(params, vocab_size);
  std::sort(end_ids_.begin(), end_ids_.end());
  // Enough that num_beams candidates remain even where every end id of every beam is among them.
  const int64_t per_beam = std::max<int64_t>(2, 1 + static_cast<int64_t>(end_ids_.size()));
  if (vocab_size < per_beam) {
    invalid(kWhere, "the vocabulary is too small: got {} tokens, need {} (one more than the end ids, at least 2)", vocab_size,
            per_beam);
  }
  num_candidates_ = per_beam * num_beams_;
  // All beams begin as the prompt; only the first may be continued, else all would be the same.
  const TokenHistory start(std::move(prompt));
  for (int64_t beam = 0; beam < num_beams_; ++beam) {
    running_.push_back({start, beam == 0 ? 0.0F : kNever});
    finished_.push_back({{{}, {}, kNever, false}, kNever, false});
  }
  scores_.resize(static_cast<size_t>(num_beams_ * vocab_));
}

const std::vector<BeamCandidate>& BeamSearch::propose(const float* logits) {
  if (done_) fail(ErrorKind::kInternal, kWhere, "a step after the end: got another row of logits, need none");
  for (int64_t beam = 0; beam < num_beams_; ++beam) {
    float* row = scores_.data() + beam * vocab_;
    if (started_ || beam == 0) {
      log_softmax(logits + beam * vocab_, vocab_, row);
      processors_.apply(row, vocab_, running_[static_cast<size_t>(beam)].history, scratch_);
    }
  }
  for (int64_t beam = num_beams_ - 1; beam >= 0; --beam) {
    float* row = scores_.data() + beam * vocab_;
    const float* from = started_ ? row : scores_.data();
    const float score = running_[static_cast<size_t>(beam)].score;
    for (int64_t token = 0; token < vocab_; ++token) row[token] = from[token] + score;
  }

  candidates_.clear();
  if (params_.do_sample()) {
    draw(num_candidates_);
  } else {
    for (const Scored& best : torch_top_k(scores_.data(), num_beams_ * vocab_, num_candidates_)) {
      candidates_.push_back(
          {static_cast<int32_t>(best.index / vocab_), static_cast<int32_t>(best.index % vocab_), best.score, false});
    }
  }
  const bool is_last = length_ + 1 >= params_.max_new_tokens;
  for (BeamCandidate& candidate : candidates_) {
    candidate.ends = is_last || is_end(candidate.token);
  }
  return candidates_;
}

// `count` continuations of all beams, drawn one after another from softmax(scores), each from what the earlier ones left.
// Where fewer have any probability, the best of the others fill up.
void BeamSearch::draw(int64_t count) {
  const auto n = static_cast<int64_t>(scores_.size());
  const float largest = scores_[static_cast<size_t>(argmax(scores_.data(), n))];
  std::vector<std::pair<int64_t, double>> left;
  double total = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double weight = std::exp(static_cast<double>(scores_[static_cast<size_t>(i)]) - largest);
    if (weight > 0) {
      left.emplace_back(i, weight);
      total += weight;
    }
  }
  const RandomStream random(params_.seed.value_or(0), 0);
  std::vector<int64_t> drawn;
  while (static_cast<int64_t>(drawn.size()) < count && drawn.size() < left.size()) {
    const double target = total * random.uniform(static_cast<uint64_t>(length_ * count) + drawn.size());
    double passed = 0.0;
    size_t chosen = left.size();
    for (size_t i = 0; i < left.size(); ++i) {
      if (left[i].second == 0) continue;
      chosen = i;  // the last one where rounding put the target past the end
      passed += left[i].second;
      if (passed > target) break;
    }
    drawn.push_back(left[chosen].first);
    left[chosen].second = 0;
    // Summed anew: subtracting would leave the rounding of the largest weights behind.
    total = 0.0;
    for (const auto& [index, weight] : left) total += weight;
  }
  if (static_cast<int64_t>(drawn.size()) < count) {
    std::vector<bool> taken(static_cast<size_t>(n), false);
    for (const int64_t index : drawn) taken[static_cast<size_t>(index)] = true;
    std::vector<int64_t> others;
    for (int64_t i = 0; i < n; ++i) {
      if (!taken[static_cast<size_t>(i)]) others.push_back(i);
    }
    std::sort(others.begin(), others.end(), [&](int64_t a, int64_t b) {
      const float score_a = scores_[static_cast<size_t>(a)];
      const float score_b = scores_[static_cast<size_t>(b)];
      return score_a != score_b ? score_a > score_b : a < b;
    });
    const size_t missing = static_cast<size_t>(count) - drawn.size();
    drawn.insert(drawn.end(), others.begin(), others.begin() + static_cast<std::ptrdiff_t>(std::min(missing, others.size())));
  }
  for (const int64_t index : drawn) {
    candidates_.push_back({static_cast<int32_t>(index / vocab_), static_cast<int32_t>(index % vocab_),
                           scores_[static_cast<size_t>(index)], false});
  }
  std::sort(candidates_.begin(), candidates_.end(), [](const BeamCandidate& a, const BeamCandidate& b) {
    return a.score != b.score ? a.score > b.score : std::tie(a.parent, a.token) < std::tie(b.parent, b.token);
  });
}

float BeamSearch::penalized(float score, int64_t length) const {
  return score / static_cast<float>(std::pow(static_cast<double>(length), params_.length_penalty));
}

bool BeamSearch::is_end(int32_t token) const { return std::binary_search(end_ids_.begin(), end_ids_.end(), token); }

BeamSearch::Ends BeamSearch::find_ends(const AlsoEnds& also_ends) const {
  Ends ends;
  size_t going_on = 0;
  float last_score = 0;  // of the num_beams-th that goes on
  const auto beams = static_cast<size_t>(num_beams_);
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const BeamCandidate& candidate = candidates_[i];
    // A candidate that cannot finish matters where it might go on: while there are too few, or it ties with the last of them.
    const bool may_finish = i < beams;
    const bool may_go_on = !candidate.ends && (going_on < beams || candidate.score == last_score);
    const bool also = also_ends && (may_finish || may_go_on) && also_ends(candidate);
    ends.hits.push_back(candidate.ends || also);
    ends.stopped.push_back(also || is_end(candidate.token));
    if (!ends.hits.back() && ++going_on == beams) last_score = candidate.score;
  }
  return ends;
}

const BeamStep& BeamSearch::commit(const AlsoEnds& also_ends, const MakeNote& note) {
  if (candidates_.empty()) fail(ErrorKind::kInternal, kWhere, "commit without propose");
  const Ends ends = find_ends(also_ends);
  keep_finished(ends, note);
  keep_running(ends, note);
  const bool no_way_on = std::all_of(ends.hits.begin(), ends.hits.end(), [](bool hit) { return hit; });
  candidates_.clear();
  started_ = true;
  ++length_;

  // Can a running beam still beat the worst of the finished?
  const bool by_last_length = params_.early_stopping == EarlyStopping::kNever && params_.length_penalty > 0;
  const float best_possible = penalized(running_[0].score, by_last_length ? params_.max_new_tokens : length_);
  float worst = std::numeric_limits<float>::infinity();
  for (const Finished& place : finished_) worst = std::min(worst, place.score);
  bool all_finished = true;
  bool beats = false;
  for (const Finished& place : finished_) {
    all_finished = all_finished && place.is_finished;
    beats = beats || best_possible > (place.is_finished ? worst : kNever);
  }
  improvable_ = improvable_ && beats;
  const bool full = all_finished && params_.early_stopping == EarlyStopping::kTrue;
  done_ = !improvable_ || full || no_way_on;
  return step_;
}

// Only the best num_beams candidates may finish; the others are there so that enough beams go on.
void BeamSearch::keep_finished(const Ends& ends, const MakeNote& note) {
  const bool full = params_.early_stopping == EarlyStopping::kTrue &&
                    std::all_of(finished_.begin(), finished_.end(), [](const Finished& place) { return place.is_finished; });
  std::vector<float> merged;
  for (const Finished& place : finished_) merged.push_back(place.score);
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const bool finishes = ends.hits[i] && i < static_cast<size_t>(num_beams_);
    float score = penalized(candidates_[i].score, length_ + 1);
    if (full) score += kNever;
    if (!improvable_) score += kNever;
    if (!finishes) score += kNever;
    merged.push_back(score);
  }
  std::vector<Finished> next;
  for (const Scored& best : torch_top_k(merged.data(), static_cast<int64_t>(merged.size()), num_beams_)) {
    const auto index = static_cast<size_t>(best.index);
    if (index < finished_.size()) {
      next.push_back(finished_[index]);
      continue;
    }
    const size_t from = index - finished_.size();
    const BeamCandidate& candidate = candidates_[from];
    const Running& beam = running_[static_cast<size_t>(candidate.parent)];
    const TokenHistory& parent = beam.history;
    BeamHypothesis hypothesis;
    if (note) {
      hypothesis.notes = beam.notes;
      hypothesis.notes.push_back(note(candidate));
    }
    hypothesis.ids.assign(parent.ids().begin() + static_cast<std::ptrdiff_t>(parent.prompt_length()), parent.ids().end());
    hypothesis.ids.push_back(candidate.token);
    hypothesis.score = best.score;
    hypothesis.stopped = ends.stopped[from];
    next.push_back({std::move(hypothesis), best.score, ends.hits[from] && from < static_cast<size_t>(num_beams_)});
  }
  finished_ = std::move(next);
}

void BeamSearch::keep_running(const Ends& ends, const MakeNote& note) {
  std::vector<float> scores;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    scores.push_back(ends.hits[i] ? candidates_[i].score + kNever : candidates_[i].score);
  }
  std::vector<Running> next;
  step_.parents.clear();
  step_.tokens.clear();
  for (const Scored& best : torch_top_k(scores.data(), static_cast<int64_t>(scores.size()), num_beams_)) {
    const BeamCandidate& candidate = candidates_[static_cast<size_t>(best.index)];
    const Running& parent = running_[static_cast<size_t>(candidate.parent)];
    next.push_back({parent.history, best.score, parent.notes});
    next.back().history.append(candidate.token);
    if (note) next.back().notes.push_back(note(candidate));
    step_.parents.push_back(started_ ? candidate.parent : 0);  // at first all beams share one row
    step_.tokens.push_back(candidate.token);
  }
  running_ = std::move(next);
}

std::vector<BeamHypothesis> BeamSearch::finish() const {
  std::vector<BeamHypothesis> best;
  const auto count = static_cast<size_t>(params_.num_return_sequences);
  for (const Finished& place : finished_) {
    if (best.size() < count && (done_ || place.is_finished)) best.push_back(place.hypothesis);
  }
  for (const Running& beam : running_) {
    if (done_ || best.size() >= count) break;
    const std::vector<int32_t>& ids = beam.history.ids();
    best.push_back({{ids.begin() + static_cast<std::ptrdiff_t>(beam.history.prompt_length()), ids.end()},
                    beam.notes,
                    length_ == 0 ? 0.0 : penalized(beam.score, length_),
                    false});
  }
  return best;
}

}  // namespace pagoda
