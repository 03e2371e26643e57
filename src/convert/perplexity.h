// Perplexity of a text, by the strided method of Hugging Face's guide ("Perplexity of fixed-length models").
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "models/model.h"

namespace pagoda {

struct PerplexityOptions {
  int64_t max_length = 0;  // tokens of a window; 0: the model's context, at most 2048
  int64_t stride = 0;      // tokens from one window to the next, 1 to max_length; 0: 512, or max_length where that is less
  int64_t max_logit_bytes = int64_t{64} << 20;  // that exist at once: a window's logits could be larger than the model
  std::function<void(int64_t done, int64_t total)> progress;  // tokens
  const std::atomic<bool>* cancel = nullptr;                  // when it turns true: ends early, with what there is
};

struct Perplexity {
  double perplexity = 0;  // exp(nll)
  double nll = 0;         // mean negative log-likelihood of a token
  int64_t tokens = 0;     // that the mean is over
  int64_t windows = 0, max_length = 0, stride = 0;
};

// Each window of max_length tokens counts only those that the window before did not, with all others as their context. As in
// the guide, a window of n new tokens counts n - 1 in the mean, though its own loss is over all of the n that have a token
// before them. kInvalidInput: a text of less than two tokens, an id outside the vocabulary, a stride or length out of range.
Perplexity perplexity(Device& device, const Model& model, const std::vector<int32_t>& ids,
                      const PerplexityOptions& options = {});

}  // namespace pagoda
