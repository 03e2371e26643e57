// The walk back over the tape with word of every leaf whose gradient is complete: to send it off while the walk goes on.
#pragma once

#include <functional>

#include "ops/tape.h"

namespace pagoda {

// Called once for each leaf that requires gradients, when the last node that uses it is done. Leaves used inside
// ops::checkpoint alone are not told.
using GradientHook = std::function<void(const Tensor& leaf)>;
void backward(const Tensor& loss, const GradientHook& ready);

}  // namespace pagoda
