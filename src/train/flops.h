// Floating point operations that a training step really needs: what MFU is a share of.
#pragma once

#include "models/model.h"

namespace pagoda::train {

// Whether it is the table of an embedding (a head that is tied to it counts as one too).
bool is_embedding(const Parameter& parameter);

class StepFlops {
 public:
  explicit StepFlops(Model& model);
  // Forward and backward of a batch: products of weights with all rows, logits of the wanted rows alone, attention over the
  // pairs that its mask leaves. What a checkpointed block computes again does not count.
  double of(const Layout& layout) const;

 private:
  double body_ = 0, head_ = 0;  // weights that meet every row, and those that meet the wanted rows
  double attention_ = 0;        // a pair of rows, all layers
};

}  // namespace pagoda::train
