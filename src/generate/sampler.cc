// Argmax, draws and log-probabilities of one row.
#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.h"

namespace pagoda {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// The largest logit, which must be finite.
float finite_largest(const float* logits, int64_t n) {
  const float largest = n > 0 ? logits[argmax(logits, n)] : kLowest;
  if (!std::isfinite(largest)) fail_not_finite(largest);
  return largest;
}

// log(sum(exp(logits - largest))).
double log_sum_above(const float* logits, int64_t n, double largest) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    if (logits[i] != kLowest) sum += std::exp(logits[i] - largest);
  }
  return std::log(sum);
}

}  // namespace

// Of a vocabulary's logits for every token of every stream: lanes that do not wait for each other, chunk by chunk, and only the
// chunk with the largest is searched for its place.
int32_t argmax(const float* logits, int64_t n) {
  constexpr int64_t kChunk = 1024;
  constexpr int64_t kLanes = 16;
  float largest = kLowest, not_a_number = 0.0F;
  int64_t found = -1;
  for (int64_t chunk = 0; chunk < n; chunk += kChunk) {
    const int64_t count = std::min(kChunk, n - chunk), whole = count / kLanes * kLanes;
    const float* from = logits + chunk;
    float lanes[kLanes], unclean[kLanes] = {};
    std::fill(lanes, lanes + kLanes, kLowest);
    for (int64_t i = 0; i < whole; i += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l) {
        const float logit = from[i + l];
        unclean[l] += logit - logit;  // NaN once a NaN or an infinity was met
        lanes[l] = logit > lanes[l] ? logit : lanes[l];
      }
    }
    for (int64_t i = whole; i < count; ++i) {
      unclean[0] += from[i] - from[i];
      lanes[0] = from[i] > lanes[0] ? from[i] : lanes[0];
    }
    for (int64_t l = 0; l < kLanes; ++l) {
      not_a_number += unclean[l];
      if (lanes[l] > largest) {
        largest = lanes[l];
        found = chunk;
      }
    }
  }
  if (std::isnan(not_a_number)) {
    for (int64_t i = 0; i < n; ++i) {
      if (std::isnan(logits[i])) fail_not_finite(logits[i]);
    }
  }
  if (found < 0) fail_not_finite(kLowest);
  while (logits[found] != largest) ++found;
  return static_cast<int32_t>(found);
}

int32_t sample_at(const float* logits, int64_t n, double uniform, LogitsScratch& scratch) {
  const double largest = finite_largest(logits, n);
  std::vector<double>& weights = scratch.weights;
  weights.resize(static_cast<size_t>(n));
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double weight = logits[i] == kLowest ? 0.0 : std::exp(logits[i] - largest);
    weights[static_cast<size_t>(i)] = weight;
    sum += weight;
  }
  const double target = uniform * sum;
  double passed = 0.0;
  int64_t last = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double weight = weights[static_cast<size_t>(i)];
    if (weight == 0.0) continue;
    passed += weight;
    if (passed > target) return static_cast<int32_t>(i);
    last = i;
  }
  return static_cast<int32_t>(last);  // target rounded up to the whole sum
}

int32_t sample(const float* logits, int64_t n, const DrawKey& key, LogitsScratch& scratch) {
  return sample_at(logits, n, RandomStream(key.seed, key.sequence).uniform(key.step), scratch);
}

double log_sum_exp(const float* logits, int64_t n) {
  const double largest = finite_largest(logits, n);
  return largest + log_sum_above(logits, n, largest);
}

// torch subtracts the largest first, then the logarithm, in float32: followed, so that sums of equal terms tie as there.
void log_softmax(const float* logits, int64_t n, float* out) {
  const float largest = finite_largest(logits, n);
  const auto log_sum = static_cast<float>(log_sum_above(logits, n, largest));
  for (int64_t i = 0; i < n; ++i) out[i] = (logits[i] - largest) - log_sum;
}

std::vector<TokenLogprob> top_logprobs(const float* logits, int64_t n, int64_t k, double total) {
  k = std::min(k, n);
  std::vector<TokenLogprob> best;
  if (k <= 0) return best;
  std::vector<float> room;
  const float bar = kth_largest(logits, n, k, room);
  for (int64_t i = 0; i < n; ++i) {
    if (logits[i] >= bar) best.push_back({static_cast<int32_t>(i), logits[i] - total});
  }
  std::sort(best.begin(), best.end(), [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.id < b.id;
  });
  best.resize(static_cast<size_t>(k));
  return best;
}

int64_t token_rank(const float* logits, int64_t n, int32_t id) {
  return 1 + std::count_if(logits, logits + n, [&](float logit) { return logit > logits[id]; });
}

}  // namespace pagoda
