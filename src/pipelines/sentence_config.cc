// Reads sentence-transformers' folders; pools in double, as rows are few beside what made them.
#include "pipelines/sentence_config.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"

namespace pagoda {

namespace {

constexpr int64_t kMostTokens = 1 << 24;
constexpr size_t kMostModes = 16;

struct Mode {
  const char* name;
  const char* key;
  RowPooling pooling;
};

constexpr Mode kModes[] = {
    {"cls", "pooling_mode_cls_token", RowPooling::kCls},
    {"max", "pooling_mode_max_tokens", RowPooling::kMax},
    {"mean", "pooling_mode_mean_tokens", RowPooling::kMean},
    {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", RowPooling::kMeanSqrtLen},
    {"weightedmean", "pooling_mode_weightedmean_tokens", RowPooling::kWeightedMean},
    {"lasttoken", "pooling_mode_lasttoken", RowPooling::kLastToken},
};

// What such folders say is short; a file that is not is none of theirs.
Json read_short_json(const std::string& path) {
  Limits limits;
  limits.max_json_bytes = 1 << 20;
  return read_json(path, limits);
}

// The modules in order as (last part of the type, folder).
std::vector<std::pair<std::string, std::string>> modules_of(const std::string& folder) {
  std::vector<std::pair<std::string, std::string>> modules;
  const std::string path = join_path(folder, "modules.json");
  if (!file_exists(path)) return modules;
  const Json json = read_short_json(path);
  for (const Json& module : json.as_array(path)) {
    const std::string type = module.at("type", path).as_string(path);
    const std::string place = module.get_string("path", "", path);
    if (!place.empty() && !is_safe_relative_path(place)) invalid(path, "module outside the folder: got '{}'", place);
    modules.emplace_back(type.substr(type.rfind('.') + 1), place.empty() ? folder : join_path(folder, place));
  }
  return modules;
}

// Keys of older versions; what none of them is called may be a mode to come.
std::vector<RowPooling> modes_by_key(const Json& config, const std::string& path) {
  std::vector<RowPooling> pooling;
  bool said = false;
  for (const JsonMember& member : config.as_object(path)) {
    if (member.key.rfind("pooling_mode_", 0) != 0) continue;
    const auto known =
        std::find_if(std::begin(kModes), std::end(kModes), [&](const Mode& mode) { return member.key == mode.key; });
    if (known == std::end(kModes) && !(member.value.is_bool() && !member.value.as_bool(path)))
      unsupported(path, "pooling: got '{}', which is not known", member.key.substr(0, 64));
    said = true;
  }
  if (!said) return {RowPooling::kMean};
  for (const Mode& mode : kModes) {
    if (config.get_bool(mode.key, false, path)) pooling.push_back(mode.pooling);
  }
  if (pooling.empty()) invalid(path, "no pooling mode: need one of pooling_mode_cls_token, pooling_mode_mean_tokens ...");
  return pooling;
}

void read_pooling(const std::string& folder, SentenceConfig& into) {
  const std::string path = join_path(folder, "config.json");
  const Json config = read_short_json(path);
  into.pools = true;
  into.include_prompt = config.get_bool("include_prompt", true, path);
  const Json* mode = config.find("pooling_mode");
  if (mode == nullptr || mode->is_null()) {
    into.pooling = modes_by_key(config, path);
    return;
  }
  into.pooling.clear();
  if (mode->is_string()) {
    into.pooling.push_back(parse_row_pooling(mode->as_string(path), path));
    return;
  }
  for (const Json& each : mode->as_array(path + ": pooling_mode")) {
    into.pooling.push_back(parse_row_pooling(each.as_string(path + ": pooling_mode"), path));
  }
  if (into.pooling.empty() || into.pooling.size() > kMostModes) {
    invalid(path, "pooling_mode: got {} modes, need 1 to {}", into.pooling.size(), kMostModes);
  }
}

// Newer versions say which of the model's outputs the next module reads.
void check_outputs(const Json& json, const std::string& path) {
  struct Outputs {
    const char *task, *output, *module_output;
  };
  constexpr Outputs kKnown[] = {{"feature-extraction", "last_hidden_state", "token_embeddings"},
                                {"sequence-classification", "logits", "scores"}};
  const std::string task = json.get_string("transformer_task", kKnown[0].task, path);
  const auto known = std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Outputs& each) { return task == each.task; });
  if (known == std::end(kKnown)) {
    unsupported(path, "transformer_task: got '{}', need {} or {}", utf8_cut(task, 64), kKnown[0].task, kKnown[1].task);
  }
  const auto check = [&](const Json& object, const char* key, const std::string& need) {
    const std::string got = object.get_string(key, need, path);
    if (got != need) unsupported(path, "{}: got '{}', need {}", key, utf8_cut(got, 64), need);
  };
  check(json, "module_output_name", known->module_output);
  if (const Json* modalities = json.find("modality_config"); modalities != nullptr && !modalities->is_null()) {
    const Json* text = modalities->find("text");
    if (text == nullptr) unsupported(path, "modality_config: no text, which is all that is read");
    check(*text, "method", "forward");
    check(*text, "method_output_name", known->output);
  }
  const Json* processing = json.find("processing_kwargs");
  if (processing != nullptr && !processing->is_null() && processing->size() > 0) {
    unsupported(path, "processing_kwargs: got {}, need none", utf8_cut(processing->dump(), 64));
  }
}

// max_seq_length and do_lower_case of the Transformer, under the names that its file has had.
void read_transformer(const std::string& folder, SentenceConfig& into) {
  for (const char* kind : {"bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"}) {
    const std::string path = join_path(folder, "sentence_" + std::string(kind) + "_config.json");
    if (!file_exists(path)) continue;
    const Json json = read_short_json(path);
    if (json.size() == 0) continue;
    check_outputs(json, path);
    into.max_seq_length = json.get_int("max_seq_length", 0, path);
    into.do_lower_case = json.get_bool("do_lower_case", false, path);
    if (into.max_seq_length < 0 || into.max_seq_length > kMostTokens) {
      invalid(path, "max_seq_length: got {}, need 1 to {}", into.max_seq_length, kMostTokens);
    }
    return;
  }
}

// Newer versions say what a Normalize is for.
void check_normalize(const std::string& folder) {
  const std::string path = join_path(folder, "config.json");
  if (!file_exists(path)) return;
  const Json json = read_short_json(path);
  for (const char* key : {"module_input_name", "module_output_name"}) {
    const std::string name = json.get_string(key, "sentence_embedding", path);
    if (name != "sentence_embedding") unsupported(path, "{}: got '{}', need sentence_embedding", key, name.substr(0, 64));
  }
}

// config_sentence_transformers.json: prompts, truncate_dim, a CrossEncoder's activation.
void read_model_config(const std::string& folder, SentenceConfig& into) {
  const std::string path = join_path(folder, "config_sentence_transformers.json");
  if (!file_exists(path)) return;
  const Json json = read_short_json(path);
  if (const Json* prompts = json.find("prompts"); prompts != nullptr && !prompts->is_null()) {
    for (const JsonMember& member : prompts->as_object(path + ": prompts")) {
      into.prompts.emplace_back(member.key, member.value.is_null() ? "" : member.value.as_string(path + ": prompts"));
    }
  }
  into.default_prompt_name = json.get_string("default_prompt_name", "", path);
  if (!into.default_prompt_name.empty()) prompt_text(into, into.default_prompt_name);
  into.score_activation = json.get_string("activation_fn", "", path);
  into.truncate_dim = json.get_int("truncate_dim", 0, path);
  if (into.truncate_dim < 0) invalid(path, "truncate_dim: got {}, need at least 1", into.truncate_dim);
}

// The weight of row i of `rows`, of which those from `from` on are pooled.
double weight_of(RowPooling pooling, int64_t i, int64_t from, int64_t rows) {
  const double count = static_cast<double>(rows - from);
  switch (pooling) {
    case RowPooling::kCls: return i == from ? 1 : 0;
    case RowPooling::kLastToken: return i + 1 == rows ? 1 : 0;
    case RowPooling::kMeanSqrtLen: return 1 / std::sqrt(count);
    // Positions from the first row on: their sum over the pooled ones.
    case RowPooling::kWeightedMean: return static_cast<double>(i + 1) / (count * static_cast<double>(from + 1 + rows) / 2);
    default: return 1 / count;
  }
}

}  // namespace

RowPooling parse_row_pooling(const std::string& name, const std::string& where) {
  std::string known;
  for (const Mode& mode : kModes) {
    if (name == mode.name) return mode.pooling;
    known += (known.empty() ? "" : ", ") + std::string(mode.name);
  }
  invalid(where, "pooling: got '{}', need one of {}", utf8_cut(name, 64), known);
}

std::string transformer_folder(const std::string& folder) {
  const auto modules = modules_of(folder);
  return modules.empty() || modules[0].first != "Transformer" ? folder : modules[0].second;
}

std::string prompt_text(const SentenceConfig& config, const std::string& name) {
  const std::string& wanted = name.empty() ? config.default_prompt_name : name;
  if (wanted.empty()) return "";
  std::string known;
  for (const auto& [each, text] : config.prompts) {
    if (each == wanted) return text;
    known += (known.empty() ? "" : ", ") + each;
  }
  invalid("prompt_name", "got '{}', need one of: {}", wanted.substr(0, 64), known);
}

SentenceConfig read_sentence_config(const std::string& folder) {
  SentenceConfig config;
  const std::string modules = join_path(folder, "modules.json");
  for (const auto& [type, place] : modules_of(folder)) {
    if (type == "Transformer") {
      read_transformer(place, config);
      continue;
    }
    if (type == "Pooling") {
      if (config.pools) unsupported(modules, "a second Pooling");
      read_pooling(place, config);
      continue;
    }
    if (type != "Dense" && type != "LayerNorm" && type != "Normalize" && type != "Dropout") {
      unsupported(modules, "module: got '{}', need Transformer, Pooling, Dense, LayerNorm, Dropout or Normalize",
                  type.substr(0, 64));
    }
    if (!config.pools) unsupported(modules, "{} before a Pooling", type);
    if (type == "Dropout") continue;  // of training
    if (type == "Normalize") check_normalize(place);
    // The last one is apart, as a request may do without.
    if (config.normalize) config.layers.push_back(normalize_layer());
    config.normalize = type == "Normalize";
    if (type == "Dense") config.layers.push_back(open_dense(place));
    if (type == "LayerNorm") config.layers.push_back(open_layer_norm(place));
  }
  read_model_config(folder, config);
  return config;
}

std::vector<double> pool_rows(const float* values, int64_t rows, int64_t columns, const std::vector<RowPooling>& pooling,
                              int64_t from) {
  from = std::clamp<int64_t>(from, 0, rows - 1);
  std::vector<double> all;
  for (const RowPooling mode : pooling) {
    std::vector<double> sum(static_cast<size_t>(columns), 0.0);
    for (int64_t i = from; i < rows; ++i) {
      const float* row = values + i * columns;
      const double weight = weight_of(mode, i, from, rows);
      for (int64_t c = 0; c < columns; ++c) {
        double& into = sum[static_cast<size_t>(c)];
        if (mode == RowPooling::kMax) {
          into = i == from ? static_cast<double>(row[c]) : std::max(into, static_cast<double>(row[c]));
        } else {
          into += weight * static_cast<double>(row[c]);
        }
      }
    }
    all.insert(all.end(), sum.begin(), sum.end());
  }
  return all;
}

std::vector<double> apply_layers(const SentenceConfig& config, std::vector<double> vector, bool normalize) {
  for (const auto& layer : config.layers) vector = layer->apply(vector);
  if (normalize && config.normalize) vector = normalize_layer()->apply(vector);
  if (config.truncate_dim > 0 && config.truncate_dim < static_cast<int64_t>(vector.size())) {
    vector.resize(static_cast<size_t>(config.truncate_dim));
  }
  return vector;
}

int64_t layers_width(const SentenceConfig& config, int64_t in) {
  for (const auto& layer : config.layers) in = layer->width(in);
  return config.truncate_dim > 0 ? std::min(config.truncate_dim, in) : in;
}

}  // namespace pagoda
