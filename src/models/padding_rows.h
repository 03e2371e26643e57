// Rows of padding in embeddings (torch.nn.Embedding's padding_idx in transformers' modules): they begin as zeros, and what is
// read of them has no gradient.
#pragma once

#include "base/json.h"
#include "models/model.h"

namespace pagoda {

// After Model::initialize_parameter(): zeros the row of padding where `parameter` (float32, bfloat16 or float16) is an
// embedding that has one by the model's config.json. A padding id that is no row is as good as none.
void zero_padding_row(const Json& config, Parameter& parameter);

// Before training: tells the model's embeddings their rows of padding, by its config.json.
void set_padding_rows(const Json& config, Model& model);

}  // namespace pagoda
