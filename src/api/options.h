// The API's options as the engine's.
#pragma once

#include "engine/engine.h"
#include "pagoda/options.h"
#include "pipelines/loaded_model.h"

namespace pagoda::api {

// Throw kInvalidInput or kUnsupported for values that there are not.
LoadOptions load_options(const ModelOptions& options);
pagoda::EngineOptions engine_options(const EngineOptions& options);

}  // namespace pagoda::api
