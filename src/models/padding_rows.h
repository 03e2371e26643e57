// Rows of new embeddings that begin as zeros: those of padding (torch.nn.Embedding's padding_idx in transformers' modules).
#pragma once

#include "base/json.h"
#include "models/model.h"

namespace pagoda {

// After Model::initialize_parameter(): zeros the row of padding where `parameter` (float32, bfloat16 or float16) is an
// embedding that has one by the model's config.json. A padding id that is no row is as good as none.
void zero_padding_row(const Json& config, Parameter& parameter);

}  // namespace pagoda
