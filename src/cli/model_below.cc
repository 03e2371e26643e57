// Looks one folder down.
#include "cli/model_below.h"

#include "base/file.h"
#include "base/json.h"
#include "hub/select.h"

namespace pagoda::cli {

namespace {

constexpr int kMostNamed = 4;

// A module of sentence-transformers has a config.json and weights too, but names no model.
bool is_model(const std::string& folder) {
  const std::string config = join_path(folder, "config.json");
  if (!file_exists(config) || hub::weights_entry(list_directory(folder)).empty()) return false;
  const Json json = pagoda::read_json(config);
  return json.is_object() && (json.contains("model_type") || json.contains("architectures"));
}

}  // namespace

std::string model_below(const Error& error) {
  const std::string& text = error.message();
  const size_t end = text.find("] ");
  if (error.kind() != ErrorKind::kNotFound || text.empty() || text[0] != '[' || end == std::string::npos) return "";
  const std::string folder = text.substr(1, end - 1);
  std::string found;
  try {
    int named = 0;
    for (const std::string& name : directory_exists(folder) ? list_directory(folder) : std::vector<std::string>()) {
      const std::string below = join_path(folder, name);
      if (!directory_exists(below) || !is_model(below)) continue;
      if (++named > kMostNamed) return found + " ...";
      found += (found.empty() ? "; a folder below it holds a model: " : ", ") + below;
    }
  } catch (const Error&) {
    // What cannot be read is no hint.
  }
  return found;
}

}  // namespace pagoda::cli
