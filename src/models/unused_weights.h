// Weights of a checkpoint that the model of its config.json has no place for.
#pragma once

#include <set>
#include <string>

#include "formats/model_folder.h"

namespace pagoda {

// One line that names those that nothing used, as transformers tells its UNEXPECTED keys; "" where there are none. Not told are
// tables that transformers computes anew (rotary frequencies, masks, position ids), heads and poolers (of another task, or
// tied), biases of zeros, and of quantised checkpoints what is no weight. used: of weights.find().
std::string unused_weights(const WeightSource& weights, const std::set<const TensorEntry*>& used,
                           const std::string& base_prefix, bool quantised);

}  // namespace pagoda
