// How a folder of sentence-transformers makes one vector of a text's rows: modules.json and the modules' own files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda {

// sentence-transformers' names: pooling_mode_cls_token ... Several are joined end to end.
enum class RowPooling : uint8_t { kCls, kMean, kMax, kMeanSqrtLen, kWeightedMean, kLastToken };

struct SentenceConfig {
  std::vector<RowPooling> pooling = {RowPooling::kMean};
  bool pools = false;          // there is a Pooling module: this is a model of sentences
  bool normalize = false;      // to length 1
  int64_t max_seq_length = 0;  // 0: not said
  bool do_lower_case = false;
};

// "cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"; throws kInvalidInput.
RowPooling parse_row_pooling(const std::string& name, const std::string& where);
// The folder of the Transformer module: `folder` itself, or a folder in it.
std::string transformer_folder(const std::string& folder);
// The defaults where there is no modules.json; kUnsupported names a module that is not known.
SentenceConfig read_sentence_config(const std::string& folder);

// values [rows, columns] to one vector. Throws kInternal where it is to be normalized and is not finite.
std::vector<float> pool_rows(const float* values, int64_t rows, int64_t columns, const std::vector<RowPooling>& pooling,
                             bool normalize);

}  // namespace pagoda
