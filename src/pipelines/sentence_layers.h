// The modules of sentence-transformers that stand after its Pooling: Dense, LayerNorm, Normalize.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pagoda {

// One of them, over vectors of `in` values. Thread-safe.
class SentenceLayer {
 public:
  virtual ~SentenceLayer() = default;
  virtual int64_t width(int64_t in) const = 0;  // of what it gives
  virtual std::vector<double> apply(const std::vector<double>& in) const = 0;
};

// Throws what ModelFolder throws; kInvalidInput where the weights do not fit the configuration (or `in`), kUnsupported for an
// activation that is not known or an input other than the sentence's vector.
std::shared_ptr<const SentenceLayer> open_dense(const std::string& folder);
std::shared_ptr<const SentenceLayer> open_layer_norm(const std::string& folder);
// As torch.nn.functional.normalize: a vector of zeros stays one. Values that are not finite stay so: a
// sequence beside others in a pass fails alone, where its output is looked at.
std::shared_ptr<const SentenceLayer> normalize_layer();

}  // namespace pagoda
