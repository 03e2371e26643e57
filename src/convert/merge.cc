// Load, merge, write.
#include "convert/merge.h"

#include "base/error.h"
#include "base/file.h"
#include "convert/weight_names.h"
#include "formats/safetensors.h"
#include "models/adapter.h"
#include "models/model.h"

namespace pagoda {

namespace {

// Small files that say nothing of weights; what `out` has stays.
void copy_rest(const std::string& from, const std::string& out) {
  if (!directory_exists(from)) return;
  const Limits limits;
  for (const std::string& name : list_directory(from)) {
    const bool skip = name[0] == '.' || name == "config.json" || name == "README.md" || name.rfind("adapter_", 0) == 0 ||
                      name.rfind("trainer_state", 0) == 0 || name == "training_state.json" || name == "report.html" ||
                      is_weight_file(name);
    if (skip || !file_exists(join_path(from, name)) || file_exists(join_path(out, name))) continue;
    write_file_atomic(join_path(out, name), read_file(join_path(from, name), limits.max_json_bytes));
  }
}

}  // namespace

MergeReport merge_into_folder(Device& device, const ModelFolder& base, const std::string& adapter, const std::string& out) {
  if (base.quantization() != nullptr || file_exists(base.path())) {
    unsupported(base.path(), "quantised weights and GGUF files take no adapter: need a folder of plain weights");
  }
  const Json config = adapted_config(base.config(), adapter);
  const std::unique_ptr<Model> model = make_model(config, base.config_path());
  MergeReport report{load_adapted(device, *model, base, adapter)};
  make_directories(out);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const Parameter* parameter : model->parameters()) tensors.emplace_back(parameter->name, parameter->value);
  write_safetensors(join_path(out, "model.safetensors"), tensors, {{"format", "pt"}});
  copy_rest(adapter, out);
  copy_rest(base.path(), out);
  Json::DumpOptions pretty;
  pretty.indent = 2;
  pretty.key_separator = ": ";
  write_file_atomic(join_path(out, "config.json"), config.dump(pretty) + "\n");
  return report;
}

}  // namespace pagoda
