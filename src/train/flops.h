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
  // pairs that its mask leaves. What a checkpointed block computes again does not count, nor gradients of frozen weights.
  double of(const Layout& layout) const;

 private:
  // Multiply-adds of all passes: of a row by the weights that meet every row, and by those that meet the wanted rows; of a pair
  // of rows.
  double body_ = 0, head_ = 0, attention_ = 0;
};

}  // namespace pagoda::train
