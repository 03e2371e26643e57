// The walk back over the tape with word of every leaf whose gradient is complete: to send it off while the walk goes on.
#pragma once

#include <functional>

#include "ops/tape.h"

namespace pagoda {

// Called with a leaf that requires gradients when the last node that uses it is done.
using GradientHook = std::function<void(const Tensor& leaf)>;
// `ready` is called once for each leaf. One that is used inside ops::checkpoint is told of once more for each such block, the
// last time when its gradient is complete.
void backward(const Tensor& loss, const GradientHook& ready);

}  // namespace pagoda
