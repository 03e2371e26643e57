// How a folder of sentence-transformers makes one vector of a text's rows: modules.json and the modules' own files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pipelines/sentence_layers.h"

namespace pagoda {

// sentence-transformers' names: pooling_mode_cls_token ... Several are joined end to end.
enum class RowPooling : uint8_t { kCls, kMean, kMax, kMeanSqrtLen, kWeightedMean, kLastToken };

struct SentenceConfig {
  std::vector<RowPooling> pooling = {RowPooling::kMean};
  bool pools = false;                                        // there is a Pooling module: this is a model of sentences
  std::vector<std::shared_ptr<const SentenceLayer>> layers;  // after the pooling, in order
  bool normalize = false;                                    // to length 1, after them
  int64_t truncate_dim = 0;                                  // values that are kept of that; 0: all
  bool include_prompt = true;                                // a prompt's rows are pooled too
  std::vector<std::pair<std::string, std::string>> prompts;  // by name
  std::string default_prompt_name;                           // "": none
  int64_t max_seq_length = 0;                                // 0: not said
  bool do_lower_case = false;
  std::string score_activation;  // of a CrossEncoder, as a class of torch; "": not said there
};

// "cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"; throws kInvalidInput.
RowPooling parse_row_pooling(const std::string& name, const std::string& where);
// The folder of the Transformer module: `folder` itself, or a folder in it.
std::string transformer_folder(const std::string& folder);
// The defaults where there is no modules.json; kUnsupported names a module that is not known.
SentenceConfig read_sentence_config(const std::string& folder);

// The prompt of that name, "": the folder's default, which may be none; kInvalidInput names those there are.
std::string prompt_text(const SentenceConfig& config, const std::string& name);

// values [rows, columns] to one vector; those before row `from` are left out, but count as positions. Not normalized.
std::vector<double> pool_rows(const float* values, int64_t rows, int64_t columns, const std::vector<RowPooling>& pooling,
                              int64_t from = 0);
// What the folder's modules make of it: the layers, then normalized where `normalize` and the folder say so, then truncate_dim.
std::vector<double> apply_layers(const SentenceConfig& config, std::vector<double> vector, bool normalize);
// Values of what they make of so many; kInvalidInput where they are for another number.
int64_t layers_width(const SentenceConfig& config, int64_t in);

}  // namespace pagoda
