// Looks one folder down.
#include "cli/model_below.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "hub/select.h"
#include "models/adapter_config.h"

namespace pagoda::cli {

namespace {

constexpr size_t kMostNamed = 4;

// A module of sentence-transformers has a config.json and weights too, but names no model.
bool is_model(const std::string& folder) {
  const std::string config = join_path(folder, "config.json");
  if (!file_exists(config) || hub::weights_entry(list_directory(folder)).empty()) return false;
  const Json json = pagoda::read_json(config);
  return json.is_object() && (json.contains("model_type") || json.contains("architectures"));
}

// Whoever named this named a model, whatever lies below it: checkpoints of its training, say.
bool is_complete(const std::string& folder) {
  return is_model(folder) || is_adapter(folder) || file_exists(join_path(folder, "modules.json"));
}

std::vector<std::string> models_in(const std::string& folder) {
  std::vector<std::string> found;
  for (const std::string& name : list_directory(folder)) {
    const std::string below = join_path(folder, name);
    if (directory_exists(below) && is_model(below)) found.push_back(below);
  }
  return found;
}

}  // namespace

std::string model_below(const std::vector<std::string>& folders) {
  for (const std::string& folder : folders) {
    try {
      if (!directory_exists(folder) || is_complete(folder)) continue;
      const std::vector<std::string> found = models_in(folder);
      std::string text;
      for (size_t i = 0; i < std::min(found.size(), kMostNamed); ++i) text += (i == 0 ? "" : ", ") + found[i];
      if (!text.empty()) return "; a folder below it holds a model: " + text + (found.size() > kMostNamed ? " ..." : "");
    } catch (const Error&) {
      // What cannot be read is no hint.
    }
  }
  return "";
}

}  // namespace pagoda::cli
