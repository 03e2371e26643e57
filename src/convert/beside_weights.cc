// The list by names, and the copy.
#include "convert/beside_weights.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string_view>

#include "base/error.h"
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
  constexpr std::string_view kEnds[] = {".json",  ".jinja", ".txt", ".model", ".tiktoken",
                                        ".codes", ".vocab", ".spm", ".md",    ".py"};
  constexpr std::string_view kBegins[] = {"LICENSE", "LICENCE", "NOTICE"};
  return ends_with_one(name, kEnds) || begins_with_one(name, kBegins);
}

bool belongs(std::string_view name) {
  constexpr std::string_view kOther[] = {".", "adapter_", "trainer_state", "training_state", "optimizer"};
  const bool other = begins_with_one(name, kOther) || name.ends_with("_results.json") || is_weight_file(name);
  return name != "config.json" && !other && is_text_of_a_model(name);
}

// Folders of templates, and of sentence-transformers' modules: 1_Pooling. As hub/select.h takes them.
bool is_folder_of_a_model(std::string_view name) {
  const bool module = name.size() > 2 && name[0] >= '0' && name[0] <= '9' && name[1] == '_';
  return module || name == "additional_chat_templates";
}

bool belongs_to_module(std::string_view name) {
  constexpr std::string_view kWeights[] = {".safetensors", ".bin"};
  return name[0] != '.' && (is_text_of_a_model(name) || ends_with_one(name, kWeights));
}

// What a model is loaded with; notes and licences are not.
bool speaks_for_model(std::string_view name) {
  constexpr std::string_view kNames[] = {"added_tokens.json",
                                         "bpe.codes",
                                         "chat_template.json",
                                         "config_sentence_transformers.json",
                                         "generation_config.json",
                                         "merges.txt",
                                         "modules.json",
                                         "sentence_bert_config.json",
                                         "special_tokens_map.json",
                                         "tokenizer.json",
                                         "tokenizer_config.json",
                                         "vocab.json",
                                         "vocab.txt"};
  constexpr std::string_view kEnds[] = {".jinja", ".model", ".tiktoken", ".spm"};
  constexpr std::string_view kWeights[] = {"model", "pytorch_model", "adapter_model"};
  constexpr std::string_view kWeightEnds[] = {".safetensors", ".bin", ".index.json", ".pagoda"};
  if (std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames) || ends_with_one(name, kEnds)) return true;
  return begins_with_one(name, kWeights) && ends_with_one(name, kWeightEnds);
}

void remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail_errno(path, "cannot remove", errno);
}

// A folder within a model's that is a link leads to what others share: the link goes, and nothing behind it is touched.
void own_folder(const std::string& file) {
  std::error_code missing;
  const std::string folder = parent_path(file);
  if (std::filesystem::is_symlink(folder, missing)) remove_file(folder);
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
    if (!is_folder_of_a_model(name) || !directory_exists(path)) continue;
    for (const std::string& inner : list_directory(path)) {
      if (belongs_to_module(inner) && file_exists(join_path(path, inner))) files.push_back(join_path(name, inner));
    }
  }
  return files;
}

void copy_beside_weights(const std::string& folder, const std::string& name, const std::string& out) {
  const std::string to = join_path(out, name);
  if (name.find('/') != std::string::npos) own_folder(to);
  make_directories(parent_path(to));
  const auto from = MappedFile::open(join_path(folder, name));
  AtomicFile file(to);
  file.write(from->bytes());
  file.commit();
}

void clear_for_model(const std::string& out, const std::vector<std::string>& sources) {
  for (const std::string& source : sources) {
    std::error_code missing;
    if (std::filesystem::equivalent(out, source, missing))
      invalid(out, "the model is read from this folder: need another one to write to");
  }
  make_directories(out);
  const bool model = file_exists(join_path(out, "config.json")) || file_exists(join_path(out, "adapter_config.json"));
  if (!model) return;
  for (const char* config : {"config.json", "adapter_config.json"}) remove_file(join_path(out, config));
  for (const std::string& name : list_directory(out)) {
    if (speaks_for_model(name) && !directory_exists(join_path(out, name))) remove_file(join_path(out, name));
  }
  for (const std::string& name : files_beside_weights(out)) {
    if (name.find('/') == std::string::npos) continue;
    own_folder(join_path(out, name));
    remove_file(join_path(out, name));
    ::rmdir(parent_path(join_path(out, name)).c_str());  // once it is empty
  }
}

}  // namespace pagoda
