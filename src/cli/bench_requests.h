// The requests of a benchmark: random ids at given or drawn lengths, or texts from a file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/bench_lengths.h"
#include "cli/cli.h"
#include "text/tokenizer.h"

namespace pagoda::cli {

// Under the names of vLLM's flags.
struct DatasetFlags {
  std::string dataset_name = "random", dataset_path;
  int64_t num_prompts = 1000;
  int64_t input_len = 0, output_len = 0;  // 0: what the data set has
  int64_t random_input_len = 1024, random_output_len = 128, random_prefix_len = 0;
  double random_range_ratio = 0;
  int64_t sharegpt_output_len = 0, custom_output_len = 256;
  uint64_t seed = 0;
};
void add_dataset_flags(Verb verb, DatasetFlags& flags);

struct BenchRequest {
  std::vector<int32_t> prompt_ids;  // empty: a text that nobody tokenized
  std::string prompt;               // empty: ids alone
  int64_t output_len = 0;
  int64_t input_len() const { return static_cast<int64_t>(prompt_ids.size()); }
};

struct RequestSource {
  int64_t vocab_size = 0;                // random ids lie below
  int64_t context = 0;                   // prompt and answer together are no longer; 0: not known
  const Tokenizer* tokenizer = nullptr;  // null: texts stay texts
};
// Depends on flags and source alone. Throws kInvalidInput for files that hold no such requests, and lengths beyond the context.
std::vector<BenchRequest> make_requests(const DatasetFlags& flags, const RequestSource& source);

Json ids_json(const std::vector<int32_t>& ids);

}  // namespace pagoda::cli
