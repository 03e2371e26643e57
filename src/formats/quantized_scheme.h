// What quantization_config of compressed-tensors says of the weights, to be held against what the file has.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace pagoda {

// A quantised weight as the file has it.
struct QuantizedWeightFacts {
  std::string tensor;   // its name, for errors
  const char* storage;  // "packed", "int8", "float8", "mxfp4"
  int64_t n = 0, k = 0;
  int64_t scale_rows = 1, scale_columns = 1;
};

class QuantizationSchemes {
 public:
  // config: quantization_config; its config_groups and format. What it leaves open is not checked.
  QuantizationSchemes(const Json& config, std::string where);
  // kInvalidInput where no group of the configuration describes such a weight: format, type, strategy, group_size or blocks.
  void check(const QuantizedWeightFacts& facts) const;
  // Columns of a group where a row of k has so many scales: by the group_size that gives so many, the last group being what is
  // left; where none does, k / columns if that is whole. 0: neither, or several group sizes would.
  int64_t columns_of_group(int64_t k, int64_t columns) const;
  bool symmetric() const;  // every group says so: there are no zero points but zeros

 private:
  struct Scheme {
    std::string format, type, strategy;  // "": not said
    int64_t group_size = 0;              // 0: not said
    int64_t block_rows = 0, block_columns = 0;
    bool symmetric = false;
    auto operator<=>(const Scheme&) const = default;
  };
  static std::string contradiction(const Scheme& scheme, const QuantizedWeightFacts& facts);  // "": none
  std::vector<Scheme> schemes_;
  std::string where_;
};

}  // namespace pagoda
