// Load, merge, write.
#include "convert/merge.h"

#include <set>

#include "base/error.h"
#include "base/file.h"
#include "convert/beside_weights.h"
#include "formats/safetensors.h"
#include "models/adapter.h"
#include "models/model.h"

namespace pagoda {

MergeReport merge_into_folder(Device& device, const ModelFolder& base, const std::string& adapter, const std::string& out,
                              const TaskHooks& hooks) {
  if (base.quantization() != nullptr || file_exists(base.path())) {
    unsupported(base.path(), "quantised weights and GGUF files take no adapter: need a folder of plain weights");
  }
  const Json config = adapted_config(base.config(), adapter);
  const std::unique_ptr<Model> model = make_model(config, base.config_path());
  hooks.check();
  MergeReport report{load_adapted(device, *model, base, adapter)};
  hooks.check();
  clear_for_model(out, {base.path(), adapter});
  std::set<std::string> copied{"README.md"};  // of neither: it tells of another model
  for (const std::string& folder : {adapter, base.path()}) {
    for (const std::string& name : files_beside_weights(folder)) {
      if (copied.insert(name).second) copy_beside_weights(folder, name, out);
    }
  }
  std::vector<TensorSpec> specs;
  for (const Parameter* parameter : model->parameters()) {
    specs.push_back({parameter->name, parameter->value.dtype(), parameter->shape});
  }
  SafetensorsWriter writer(join_path(out, "model.safetensors"), specs, {{"format", "pt"}});
  int64_t done = 0;
  for (const Parameter* parameter : model->parameters()) {
    hooks.at("writing", done++, static_cast<int64_t>(specs.size()));
    writer.append(parameter->value);
  }
  writer.finish();
  write_file_atomic(join_path(out, "config.json"), config.pretty() + "\n");
  return report;
}

}  // namespace pagoda
