// Front matter, what the model is, how to run it, how it was trained.
#include "hub/model_card.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace pagoda::hub {

namespace {

constexpr int64_t kMaxJsonBytes = 64 << 20;
constexpr size_t kRows = 20;  // of the table of evaluations

std::optional<Json> read_json(const std::string& folder, const char* file) {
  const std::string path = join_path(folder, file);
  if (!file_exists(path)) return {};
  try {
    return Json::parse(read_file(path, kMaxJsonBytes), path);
  } catch (const Error&) {
    return {};
  }
}

std::string text_of(const std::optional<Json>& json, const char* key) {
  const Json* value = json ? json->find(key) : nullptr;
  return value != nullptr && value->is_string() ? value->as_string(key) : "";
}

std::string architecture_of(const std::optional<Json>& config) {
  const Json* list = config ? config->find("architectures") : nullptr;
  if (list == nullptr || !list->is_array() || list->size() == 0) return "";
  const Json& first = list->as_array("architectures")[0];
  return first.is_string() ? first.as_string("architectures") : "";
}

struct Task {
  const char* ending;
  const char* tag;
};
constexpr std::array<Task, 5> kTasks{{{"ForCausalLM", "text-generation"},
                                      {"LMHeadModel", "text-generation"},
                                      {"ForSequenceClassification", "text-classification"},
                                      {"ForTokenClassification", "token-classification"},
                                      {"ForQuestionAnswering", "question-answering"}}};

std::string pipeline_tag(const std::string& architecture) {
  const auto ends_with = [&](std::string_view ending) {
    return architecture.size() >= ending.size() &&
           architecture.compare(architecture.size() - ending.size(), ending.size(), ending) == 0;
  };
  for (const Task& task : kTasks) {
    if (ends_with(task.ending)) return task.tag;
  }
  return ends_with("ForMaskedLM") ? "fill-mask" : ends_with("Model") ? "feature-extraction" : "";
}

// A double-quoted scalar of YAML is a JSON string.
std::string quoted(const std::string& text) {
  std::string out;
  append_json_string(out, text, false);
  return out;
}

// Product of the shapes in the headers of all safetensors files at the root.
CardWeights count_parameters(const std::string& folder) {
  CardWeights weights;
  if (!directory_exists(folder)) return weights;
  for (const std::string& name : list_directory(folder)) {
    if (name.size() < 12 || name.compare(name.size() - 12, 12, ".safetensors") != 0) continue;
    try {
      const auto file = MappedFile::open(join_path(folder, name));
      uint64_t size = 0;
      if (file->size() < 8) continue;
      std::memcpy(&size, file->data(), 8);
      if (size > static_cast<uint64_t>(file->size() - 8)) continue;
      const Json header = Json::parse(file->bytes().substr(8, size), name);
      for (const JsonMember& tensor : header.as_object(name)) {
        if (tensor.key == "__metadata__") continue;
        double count = 1;
        for (const Json& dim : tensor.value.at("shape", name).as_array(name)) count *= dim.as_double(name);
        weights.parameters += static_cast<int64_t>(std::min(count, 1e15));
        weights.dtype = tensor.value.get_string("dtype", "", name);
      }
    } catch (const Error&) {
      continue;
    }
  }
  return weights;
}

std::string count_text(int64_t count) {
  const auto value = static_cast<double>(count);
  if (count >= 1'000'000'000) return fmt::format("{:.2f} billion", value / 1e9);
  if (count >= 1'000'000) return fmt::format("{:.1f} million", value / 1e6);
  return fmt::format("{}", count);
}

std::string usage(const std::string& tag, const std::string& name, bool adapter) {
  std::string out = "## Use\n\n```\n";
  if (adapter) {
    out += "pagoda merge BASE_MODEL --adapter FOLDER --out merged\n";
  } else if (tag == "text-generation") {
    out += "pagoda generate " + name + " --prompt 'Once upon a time'\npagoda serve " + name + "\n";
  } else if (!tag.empty()) {
    out += "pagoda run " + tag + " " + name + (tag == "question-answering" ? " --question Q --context C\n" : " --text TEXT\n");
  } else {
    out += "pagoda info " + name + "\n";
  }
  return out + "```\n\nThe files are those of `" + std::string(adapter ? "peft" : "transformers") + "` and load there, too.\n";
}

std::string number_text(const Json* value) {
  if (value == nullptr || !value->is_number()) return "";
  return fmt::format("{:.6g}", value->as_double("log"));
}

std::string training(const std::optional<Json>& state) {
  if (!state || !state->is_object()) return "";
  const Json* history = state->find("log_history");
  if (history == nullptr || !history->is_array()) return "";
  std::string out = "\n## Training\n\n";
  const Json* steps = state->find("global_step");
  const Json* epochs = state->find("epoch");
  if (steps != nullptr && steps->is_int()) out += "Trained with Pagoda for " + steps->dump() + " steps";
  if (epochs != nullptr && epochs->is_number()) out += " (" + number_text(epochs) + " epochs)";
  out += ".\n";
  std::vector<std::array<std::string, 4>> rows;
  std::string loss;
  for (const Json& entry : history->as_array("log_history")) {
    if (const Json* value = entry.find("loss"); value != nullptr) loss = number_text(value);
    if (!entry.contains("eval_loss")) continue;
    const Json* step = entry.find("step");
    rows.push_back(
        {step == nullptr ? "" : step->dump(), number_text(entry.find("epoch")), loss, number_text(entry.find("eval_loss"))});
  }
  if (rows.empty()) return loss.empty() ? out : out + "Last training loss: " + loss + ".\n";
  out += "\n| step | epoch | training loss | validation loss |\n|---|---|---|---|\n";
  const size_t stride = (rows.size() + kRows - 1) / kRows;
  for (size_t i = rows.size() - 1 - (rows.size() - 1) / stride * stride; i < rows.size(); i += stride) {  // ends with the last
    out += fmt::format("| {} | {} | {} | {} |\n", rows[i][0], rows[i][1], rows[i][2], rows[i][3]);
  }
  return out;
}

}  // namespace

std::string make_model_card(const std::string& folder, const std::string& name, const std::optional<CardWeights>& weights) {
  const auto config = read_json(folder, "config.json"), adapter = read_json(folder, "adapter_config.json");
  const std::string architecture = architecture_of(config), type = text_of(config, "model_type"),
                    tag = pipeline_tag(architecture);
  const std::string base = text_of(adapter, "base_model_name_or_path");
  std::string out = fmt::format("---\nlibrary_name: {}\n", adapter ? "peft" : "transformers");
  if (!tag.empty()) out += "pipeline_tag: " + tag + "\n";
  if (!base.empty() && !directory_exists(base)) out += "base_model: " + quoted(base) + "\n";
  out += "tags:\n- pagoda\n";
  if (adapter) out += "- lora\n";
  if (!type.empty()) out += "- " + quoted(type) + "\n";
  out += "---\n\n# " + name + "\n\n";
  const auto& [parameters, dtype] = weights ? *weights : count_parameters(folder);
  out += architecture.empty() ? std::string(adapter ? "A LoRA adapter" : "A model") : "`" + architecture + "`";
  if (parameters > 0) out += " of " + count_text(parameters) + " parameters (" + dtype + ")";
  out += ".\n\n" + usage(tag, name, adapter.has_value()) + training(read_json(folder, "trainer_state.json"));
  return out;
}

}  // namespace pagoda::hub
