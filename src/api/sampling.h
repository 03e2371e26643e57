// The API's sampling parameters as the engine's.
#pragma once

#include "generate/grammar/grammar.h"
#include "generate/params.h"
#include "pagoda/sampling_params.h"

namespace pagoda::api {

// What is set stands over the defaults, which are the model's.
pagoda::SamplingParams sampling_params(const SamplingParams& params, pagoda::SamplingParams defaults);
// kInvalidInput where there is not exactly one form.
GrammarSource grammar_source(const StructuredOutputs& outputs);

}  // namespace pagoda::api
