// A model folder with an adapter's weights added to its own.
#pragma once

#include <string>
#include <vector>

#include "base/task_hooks.h"
#include "formats/model_folder.h"
#include "tensor/device.h"

namespace pagoda {

struct MergeReport {
  std::vector<std::string> changed;  // parameters
};

// Writes `out`: the base's config (labels and head by the adapter's own config.json, where it has one), weights in the dtypes
// of the base, and what belongs beside them (convert/beside_weights.h), the adapter's own first. Errors as merge_adapter's; a
// quantised base is kUnsupported. A model that `out` holds goes first: cancelled, it leaves none behind, the old one neither.
MergeReport merge_into_folder(Device& device, const ModelFolder& base, const std::string& adapter, const std::string& out,
                              const TaskHooks& hooks = {});

}  // namespace pagoda
