// One flag for every sampling parameter, under HF's name where HF has one, else vLLM's.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "generate/params.h"

namespace pagoda::cli {

// Flags that were given override the model's defaults; the others leave them.
class SamplingFlags {
 public:
  SamplingParams apply(SamplingParams defaults) const;  // throws kInvalidInput for values that do not parse
  void check() const { apply(SamplingParams()); }       // so that a wrong flag is told before a model is loaded

 private:
  friend void add_sampling_flags(CLI::App* verb, SamplingFlags& flags);
  std::vector<std::function<void(SamplingParams&)>> setters_;
};

void add_sampling_flags(CLI::App* verb, SamplingFlags& flags);

}  // namespace pagoda::cli
