// Cuts over a shrinking list of candidates: the vocabulary is walked once or twice, everything after sees survivors only.
#include "generate/warpers.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <tuple>

#include "base/error.h"

namespace pagoda {
namespace {

using Candidate = LogitsScratch::Candidate;
using Candidates = std::vector<Candidate>;
constexpr size_t kFewCandidates = 1024;  // so few are ordered without a histogram
constexpr float kRemoved = -std::numeric_limits<float>::infinity();

bool before(const Candidate& a, const Candidate& b) { return std::tie(a.key, a.id) < std::tie(b.key, b.id); }

float largest_logit(const Candidates& candidates) {
  float largest = kRemoved;
  for (const Candidate& c : candidates) largest = std::max(largest, c.logit);
  return largest;
}

// Sets the weights to the softmax of the candidates; returns the log of the sum of exp(logit - largest).
double set_probabilities(Candidates& candidates, float largest) {
  double sum = 0.0;
  for (Candidate& c : candidates) {
    c.weight = std::exp(c.logit - largest);
    sum += c.weight;
  }
  for (Candidate& c : candidates) c.weight = static_cast<float>(c.weight / sum);
  return std::log(sum);
}

// Narrows [first, last) to the part of the keys' range in which the running sum, started at `sum`, comes to satisfy `reached`;
// what is below or above that part moves to the left or right of it. Linear: a vocabulary is neither sorted nor halved.
template <class Reached>
void narrow_by_key(LogitsScratch& scratch, size_t& first, size_t& last, double& sum, Reached reached) {
  constexpr size_t kParts = 2048;
  const auto begin = scratch.candidates.begin() + static_cast<std::ptrdiff_t>(first);
  const auto end = scratch.candidates.begin() + static_cast<std::ptrdiff_t>(last);
  const auto by_key = [](const Candidate& a, const Candidate& b) { return a.key < b.key; };
  const auto [least, most] = std::minmax_element(begin, end, by_key);
  const double low = least->key;
  const double scale = static_cast<double>(kParts) / (static_cast<double>(most->key) - low);
  if (!std::isfinite(scale)) return;  // all keys are equal, or nearly
  const auto part_of = [&](const Candidate& x) { return std::min(kParts - 1, static_cast<size_t>((x.key - low) * scale)); };
  scratch.weights.assign(kParts, 0.0);
  for (auto x = begin; x != end; ++x) scratch.weights[part_of(*x)] += x->weight;
  size_t part = 0;
  for (; part < kParts && !reached(static_cast<float>(sum + scratch.weights[part])); ++part) sum += scratch.weights[part];
  const auto above = std::partition(begin, end, [&](const Candidate& x) { return part_of(x) <= part; });
  const auto below = std::partition(begin, above, [&](const Candidate& x) { return part_of(x) < part; });
  first = static_cast<size_t>(below - scratch.candidates.begin());
  last = static_cast<size_t>(above - scratch.candidates.begin());
}

// Orders [first, last) as far as needed to find, in ascending order of (key, id), the first candidate at which the running
// sum of weights, started at `sum`, satisfies `reached`. Returns its place, or `last`; everything left of the place comes
// before it, everything right after it. `reached` must stay true once it is.
template <class Reached>
size_t find_border(LogitsScratch& scratch, size_t first, size_t last, double sum, Reached reached) {
  Candidates& c = scratch.candidates;
  if (last - first > kFewCandidates) narrow_by_key(scratch, first, last, sum, reached);
  // Halving on the weights before a pivot; the bound on rounds keeps an unlucky order from costing quadratic time.
  for (int round = 0; round < 60 && last - first > 64; ++round) {
    const size_t middle = first + (last - first) / 2;
    Candidate ends[3] = {c[first], c[middle], c[last - 1]};
    std::sort(ends, ends + 3, before);
    const Candidate pivot = ends[1];
    const auto begin = c.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = c.begin() + static_cast<std::ptrdiff_t>(last);
    const auto split =
        static_cast<size_t>(std::partition(begin, end, [&](const Candidate& x) { return before(x, pivot); }) - c.begin());
    double below = sum;
    for (size_t i = first; i < split; ++i) below += c[i].weight;
    if (split > first && reached(static_cast<float>(below))) {
      last = split;  // reached before the pivot
    } else {
      first = split;
      sum = below;
    }
  }
  std::sort(c.begin() + static_cast<std::ptrdiff_t>(first), c.begin() + static_cast<std::ptrdiff_t>(last), before);
  for (; first < last; ++first) {
    sum += c[first].weight;
    if (reached(static_cast<float>(sum))) break;
  }
  return first;
}

// Keeps the `count` candidates that come last in order.
void keep_last(Candidates& c, size_t count) {
  if (count >= c.size()) return;
  std::nth_element(c.begin(), c.end() - static_cast<std::ptrdiff_t>(count), c.end(), before);
  c.erase(c.begin(), c.end() - static_cast<std::ptrdiff_t>(count));
}

void cut_top_p(LogitsScratch& scratch, double top_p, size_t keep) {
  Candidates& c = scratch.candidates;
  if (c.size() <= keep) return;
  set_probabilities(c, largest_logit(c));
  for (Candidate& candidate : c) candidate.key = candidate.logit;
  const auto limit = static_cast<float>(1.0 - top_p);
  // Tokens so unlikely that all of them together stay below the limit go first: most of a vocabulary.
  const auto unlikely = static_cast<float>(0.5 * limit / static_cast<double>(c.size()));
  const auto tail = std::partition(c.begin(), c.end(), [&](const Candidate& x) { return x.weight < unlikely; });
  double sum = 0.0;
  for (auto i = c.begin(); i != tail; ++i) sum += i->weight;
  const auto first = static_cast<size_t>(tail - c.begin());
  const size_t border = find_border(scratch, first, c.size(), sum, [&](float cumulative) { return cumulative > limit; });
  if (c.size() - border >= keep) {
    c.erase(c.begin(), c.begin() + static_cast<std::ptrdiff_t>(border));
  } else {
    keep_last(c, keep);
  }
}

void cut_min_p(Candidates& c, double min_p, size_t keep) {
  if (c.size() <= keep) return;
  set_probabilities(c, largest_logit(c));
  float top = 0.0F;
  for (const Candidate& candidate : c) top = std::max(top, candidate.weight);
  const float limit = static_cast<float>(min_p) * top;
  const auto likely =
      static_cast<size_t>(std::count_if(c.begin(), c.end(), [&](const Candidate& x) { return !(x.weight < limit); }));
  if (likely < keep) {
    for (Candidate& candidate : c) candidate.key = candidate.weight;
    keep_last(c, keep);
  } else {
    c.erase(std::remove_if(c.begin(), c.end(), [&](const Candidate& x) { return x.weight < limit; }), c.end());
  }
}

// Locally typical sampling (Meister et al. 2022): tokens whose surprise is nearest the entropy, up to a mass.
void cut_typical(LogitsScratch& scratch, double mass, size_t keep) {
  Candidates& c = scratch.candidates;
  if (c.size() <= keep) return;
  const float largest = largest_logit(c);
  const auto log_sum = static_cast<float>(set_probabilities(c, largest));
  double negative_entropy = 0.0;
  for (Candidate& candidate : c) {
    candidate.key = candidate.logit - largest - log_sum;
    negative_entropy += static_cast<double>(candidate.key) * std::exp(candidate.key);
  }
  const auto entropy = static_cast<float>(-negative_entropy);
  for (Candidate& candidate : c) candidate.key = std::fabs(-candidate.key - entropy);
  const auto limit = static_cast<float>(mass);
  const size_t border = find_border(scratch, 0, c.size(), 0.0, [&](float cumulative) { return cumulative >= limit; });
  if (border == c.size()) return;  // rounding kept the whole mass below the limit
  const float key = c[border].key;
  const auto kept = std::partition(c.begin(), c.end(), [&](const Candidate& x) { return x.key <= key; });
  if (static_cast<size_t>(kept - c.begin()) >= keep) {
    c.erase(kept, c.end());
  } else {
    std::nth_element(c.begin(), c.begin() + static_cast<std::ptrdiff_t>(keep), c.end(), before);
    c.resize(keep);
  }
}

// Removes tokens less likely than `limit`, but none of the `keep` largest logits and their ties.
void cut_below(LogitsScratch& scratch, float limit, size_t keep) {
  Candidates& c = scratch.candidates;
  if (c.size() <= keep) return;
  scratch.values.clear();
  for (const Candidate& candidate : c) scratch.values.push_back(candidate.logit);
  const float spared =
      kth_largest(scratch.values.data(), static_cast<int64_t>(c.size()), static_cast<int64_t>(keep), scratch.room);
  c.erase(std::remove_if(c.begin(), c.end(), [&](const Candidate& x) { return x.weight < limit && x.logit < spared; }),
          c.end());
}

void cut_epsilon(LogitsScratch& scratch, double epsilon, size_t keep) {
  set_probabilities(scratch.candidates, largest_logit(scratch.candidates));
  cut_below(scratch, static_cast<float>(epsilon), keep);
}

// Eta sampling (Hewitt et al. 2022): the limit falls with the entropy.
void cut_eta(LogitsScratch& scratch, double epsilon, size_t keep) {
  Candidates& c = scratch.candidates;
  const float largest = largest_logit(c);
  const double log_sum = set_probabilities(c, largest);
  double entropy = 0.0;
  for (const Candidate& candidate : c) entropy -= candidate.weight * (static_cast<double>(candidate.logit) - largest - log_sum);
  const double limit = std::min(epsilon, std::sqrt(epsilon) * std::exp(-entropy));
  cut_below(scratch, static_cast<float>(limit), keep);
}

}  // namespace

void fail_not_finite(float value) {
  invalid("generate", "logits are not finite: got {}, need finite (NaN weights?)",
          std::isnan(value) ? "NaN" : (value > 0 ? "+inf" : "-inf for every token"));
}

float kth_largest(const float* values, int64_t n, int64_t k, std::vector<float>& room) {
  // `room` collects what may be among the k largest; when full, the k largest stay and the smallest of them is the bar.
  const auto wanted = static_cast<size_t>(k);
  const size_t full = std::max<size_t>(2 * wanted, wanted + 512);
  room.clear();
  float bar = -std::numeric_limits<float>::infinity();
  const auto shrink = [&] {
    std::nth_element(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(wanted - 1), room.end(), std::greater<>());
    room.resize(wanted);
    bar = room[wanted - 1];
  };
  for (int64_t i = 0; i < n; ++i) {
    if (!(values[i] > bar)) continue;
    room.push_back(values[i]);
    if (room.size() == full) shrink();
  }
  if (room.size() < wanted) return bar;  // the rest equal the bar: only then were they left out
  if (room.size() > wanted) shrink();
  return *std::min_element(room.begin(), room.end());
}

Warpers::Warpers(const SamplingParams& params) {
  if (!params.do_sample()) return;
  temperature_ = static_cast<float>(params.temperature);
  top_k_ = params.top_k;
  top_p_ = params.top_p;
  min_p_ = params.min_p;
  typical_p_ = params.typical_p;
  epsilon_ = params.epsilon_cutoff;
  eta_ = params.eta_cutoff;
  if (params.num_beams > 1) {
    // A beam needs a token that is no end besides all the ends.
    const size_t ends = params.end_token_ids().size();
    keep_ = ends == 0 ? 2 : ends + 1;
  }
  scales_ = params.temperature != 1.0;
  cuts_ = top_k_ > 0 || top_p_ < 1 || min_p_ > 0 || typical_p_ < 1 || epsilon_ > 0 || eta_ > 0;
}

void Warpers::gather(float* logits, int64_t vocab, LogitsScratch& scratch) const {
  float bar = kRemoved;
  if (top_k_ > 0) {
    const int64_t k = std::max(top_k_, static_cast<int64_t>(keep_));
    if (k < vocab) bar = kth_largest(logits, vocab, k, scratch.room);
  }
  scratch.candidates.clear();
  for (int64_t i = 0; i < vocab; ++i) {
    const float logit = logits[i];
    if (logit < bar || logit == kRemoved) continue;
    if (!std::isfinite(logit)) fail_not_finite(logit);
    scratch.candidates.push_back({logit, 0.0F, 0.0F, static_cast<int32_t>(i)});
  }
}

void Warpers::apply(float* logits, int64_t vocab, LogitsScratch& scratch) const {
  if (scales_) {
    for (int64_t i = 0; i < vocab; ++i) logits[i] /= temperature_;
  }
  if (!cuts_) return;
  gather(logits, vocab, scratch);
  Candidates& candidates = scratch.candidates;
  if (candidates.empty()) return;
  if (top_p_ < 1) cut_top_p(scratch, top_p_, keep_);
  if (min_p_ > 0) cut_min_p(candidates, min_p_, keep_);
  if (typical_p_ < 1) cut_typical(scratch, typical_p_, keep_);
  if (epsilon_ > 0) cut_epsilon(scratch, epsilon_, keep_);
  if (eta_ > 0) cut_eta(scratch, eta_, keep_);
  std::fill(logits, logits + vocab, kRemoved);
  for (const Candidate& c : candidates) logits[c.id] = c.logit;
}

}  // namespace pagoda
