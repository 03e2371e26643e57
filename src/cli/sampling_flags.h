// One flag for every sampling parameter, under HF's name where HF has one, else vLLM's.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cli/cli.h"
#include "generate/params.h"

namespace pagoda::cli {

// Flags that were given override the model's defaults; the others leave them.
class SamplingFlags {
 public:
  SamplingParams apply(SamplingParams defaults) const;  // throws kInvalidInput for values that do not parse
  void check() const { apply(SamplingParams()); }       // so that a wrong flag is told before a model is loaded
  // Takes those away that `wanted` is false for.
  void keep(Verb verb, const std::function<bool(Flag option)>& wanted);

 private:
  friend void add_sampling_flags(Verb verb, SamplingFlags& flags);
  class Adder;
  static void add_lengths(const Adder& add);
  static void add_cuts(const Adder& add);
  static void add_penalties(const Adder& add);
  static void add_ends(const Adder& add);
  static void add_answers(const Adder& add);
  std::vector<std::pair<Flag, std::function<void(SamplingParams&)>>> setters_;
};

void add_sampling_flags(Verb verb, SamplingFlags& flags);

}  // namespace pagoda::cli
