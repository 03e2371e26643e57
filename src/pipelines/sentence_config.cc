// Reads sentence-transformers' folders; pools in double, as rows are few beside what made them.
#include "pipelines/sentence_config.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"

namespace pagoda {

namespace {

constexpr int64_t kMostBytes = 1 << 20;
constexpr int64_t kMostTokens = 1 << 24;

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

Json read_json(const std::string& path) { return Json::parse(read_file(path, kMostBytes), path); }

// The modules in order as (last part of the type, folder).
std::vector<std::pair<std::string, std::string>> modules_of(const std::string& folder) {
  std::vector<std::pair<std::string, std::string>> modules;
  const std::string path = join_path(folder, "modules.json");
  if (!file_exists(path)) return modules;
  const Json json = read_json(path);
  for (const Json& module : json.as_array(path)) {
    const std::string type = module.at("type", path).as_string(path);
    const std::string place = module.get_string("path", "", path);
    if (!place.empty() && !is_safe_relative_path(place)) invalid(path, "module outside the folder: got '{}'", place);
    modules.emplace_back(type.substr(type.rfind('.') + 1), place.empty() ? folder : join_path(folder, place));
  }
  return modules;
}

std::vector<RowPooling> read_pooling(const std::string& folder) {
  const std::string path = join_path(folder, "config.json");
  const Json config = read_json(path);
  std::vector<RowPooling> pooling;
  if (const Json* mode = config.find("pooling_mode"); mode != nullptr && mode->is_string()) {
    return {parse_row_pooling(mode->as_string(path), path)};
  }
  bool said = false;
  for (const Mode& mode : kModes) {
    said = said || config.contains(mode.key);
    if (config.get_bool(mode.key, false, path)) pooling.push_back(mode.pooling);
  }
  if (!said) return {RowPooling::kMean};
  if (pooling.empty()) invalid(path, "no pooling mode: need one of pooling_mode_cls_token, pooling_mode_mean_tokens ...");
  return pooling;
}

// The weight of row i of `rows`.
double weight_of(RowPooling pooling, int64_t i, int64_t rows) {
  const double count = static_cast<double>(rows);
  switch (pooling) {
    case RowPooling::kCls: return i == 0 ? 1 : 0;
    case RowPooling::kLastToken: return i + 1 == rows ? 1 : 0;
    case RowPooling::kMeanSqrtLen: return 1 / std::sqrt(count);
    case RowPooling::kWeightedMean: return static_cast<double>(i + 1) / (count * (count + 1) / 2);
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

SentenceConfig read_sentence_config(const std::string& folder) {
  SentenceConfig config;
  for (const auto& [type, place] : modules_of(folder)) {
    if (type == "Transformer") {
      const std::string path = join_path(place, "sentence_bert_config.json");
      if (!file_exists(path)) continue;
      const Json json = read_json(path);
      config.max_seq_length = json.get_int("max_seq_length", 0, path);
      config.do_lower_case = json.get_bool("do_lower_case", false, path);
      if (config.max_seq_length < 0 || config.max_seq_length > kMostTokens) {
        invalid(path, "max_seq_length: got {}, need 1 to {}", config.max_seq_length, kMostTokens);
      }
    } else if (type == "Pooling") {
      config.pooling = read_pooling(place);
      config.pools = true;
    } else if (type == "Normalize") {
      config.normalize = true;
    } else {
      unsupported(join_path(folder, "modules.json"), "module: got '{}', need Transformer, Pooling and Normalize", type);
    }
  }
  return config;
}

std::vector<float> pool_rows(const float* values, int64_t rows, int64_t columns, const std::vector<RowPooling>& pooling,
                             bool normalize) {
  std::vector<double> all;
  for (const RowPooling mode : pooling) {
    std::vector<double> sum(static_cast<size_t>(columns), 0.0);
    for (int64_t i = 0; i < rows; ++i) {
      const float* row = values + i * columns;
      const double weight = weight_of(mode, i, rows);
      for (int64_t c = 0; c < columns; ++c) {
        double& into = sum[static_cast<size_t>(c)];
        if (mode == RowPooling::kMax) {
          into = i == 0 ? static_cast<double>(row[c]) : std::max(into, static_cast<double>(row[c]));
        } else {
          into += weight * static_cast<double>(row[c]);
        }
      }
    }
    all.insert(all.end(), sum.begin(), sum.end());
  }
  double squares = 0;
  for (const double value : all) squares += value * value;
  if (normalize && !std::isfinite(squares)) fail(ErrorKind::kInternal, "pooling", "the hidden states are not finite");
  // As torch.nn.functional.normalize: a vector of zeros stays one.
  const double scale = normalize ? 1 / std::max(std::sqrt(squares), 1e-12) : 1;
  std::vector<float> result;
  result.reserve(all.size());
  for (const double value : all) result.push_back(static_cast<float>(value * scale));
  return result;
}

}  // namespace pagoda
