// The cuts of a distribution that is drawn from (temperature, top-k, top-p, min-p, typical, epsilon, eta), as HF defines them.
#pragma once

#include <cstdint>
#include <vector>

#include "generate/params.h"

namespace pagoda {

// Room that the processors and the draw use again at every step: one a thread, sized by itself.
struct LogitsScratch {
  struct Candidate {
    float logit;
    float weight;  // probability among the candidates
    float key;     // what the cut orders by
    int32_t id;
  };
  struct Bias {
    int32_t id;
    int32_t place;  // in the order given
    float bias;
  };
  std::vector<Candidate> candidates;
  std::vector<float> values;
  std::vector<float> room;
  std::vector<double> weights;
  std::vector<float> row;  // logits that may be changed
  std::vector<Bias> biases;
};

// Removed tokens get -inf. Probabilities are float32, as in HF; running sums are float64 rounded to float32, as torch has them.
// Ties: top-k keeps all that equal the k-th; top-p removes the lower id first. At least min_tokens_to_keep tokens stay.
class Warpers {
 public:
  explicit Warpers(const SamplingParams& params);
  bool empty() const { return !scales_ && !cuts_; }  // nothing to do, or tokens are not drawn
  // Throws kInvalidInput where a NaN or +inf is met.
  void apply(float* logits, int64_t vocab, LogitsScratch& scratch) const;

 private:
  void gather(float* logits, int64_t vocab, LogitsScratch& scratch) const;

  bool scales_ = false;
  bool cuts_ = false;
  float temperature_ = 1.0F;
  int64_t top_k_ = 0;
  double top_p_ = 1.0;
  double min_p_ = 0.0;
  double typical_p_ = 1.0;
  double epsilon_ = 0.0;
  double eta_ = 0.0;
  size_t keep_ = 1;
};

// The k-th largest of n values (1 <= k <= n), in one pass for small k.
float kth_largest(const float* values, int64_t n, int64_t k, std::vector<float>& room);

[[noreturn]] void fail_not_finite(float value);  // "[generate] logits are not finite: ..."

}  // namespace pagoda
