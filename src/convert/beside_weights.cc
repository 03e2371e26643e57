// The list by names, and the copy.
#include "convert/beside_weights.h"

#include <algorithm>
#include <string_view>

#include "base/file.h"
#include "convert/weight_names.h"

namespace pagoda {

namespace {

template <size_t kCount>
bool ends_with_one(std::string_view name, const std::string_view (&ends)[kCount]) {
  return std::any_of(std::begin(ends), std::end(ends), [&](std::string_view end) { return name.ends_with(end); });
}

template <size_t kCount>
bool begins_with_one(std::string_view name, const std::string_view (&begins)[kCount]) {
  return std::any_of(std::begin(begins), std::end(begins), [&](std::string_view begin) { return name.starts_with(begin); });
}

bool is_text_of_a_model(std::string_view name) {
  constexpr std::string_view kEnds[] = {".json", ".jinja", ".txt", ".model", ".tiktoken", ".md", ".py"};
  constexpr std::string_view kBegins[] = {"LICENSE", "LICENCE", "NOTICE"};
  return ends_with_one(name, kEnds) || begins_with_one(name, kBegins);
}

bool belongs(std::string_view name) {
  constexpr std::string_view kOther[] = {".", "adapter_", "trainer_state", "training_state"};
  return name != "config.json" && !begins_with_one(name, kOther) && !is_weight_file(name) && is_text_of_a_model(name);
}

bool belongs_to_module(std::string_view name) {
  constexpr std::string_view kWeights[] = {".safetensors", ".bin"};
  return name[0] != '.' && (is_text_of_a_model(name) || ends_with_one(name, kWeights));
}

}  // namespace

std::vector<std::string> files_beside_weights(const std::string& folder) {
  std::vector<std::string> files;
  if (!directory_exists(folder)) return files;
  for (const std::string& name : list_directory(folder)) {
    const std::string path = join_path(folder, name);
    if (file_exists(path)) {
      if (belongs(name)) files.push_back(name);
      continue;
    }
    // Templates, and modules: 1_Pooling.
    const bool wanted = name == "additional_chat_templates" || (name[0] >= '0' && name[0] <= '9');
    if (!wanted || !directory_exists(path)) continue;
    for (const std::string& inner : list_directory(path)) {
      if (belongs_to_module(inner) && file_exists(join_path(path, inner))) files.push_back(join_path(name, inner));
    }
  }
  return files;
}

void copy_beside_weights(const std::string& folder, const std::string& name, const std::string& out) {
  const std::string to = join_path(out, name);
  make_directories(parent_path(to));
  const auto from = MappedFile::open(join_path(folder, name));
  AtomicFile file(to);
  file.write(from->bytes());
  file.commit();
}

}  // namespace pagoda
