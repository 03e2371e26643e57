// Bounds that every parser of foreign bytes works under.
#pragma once

#include <cstdint>

namespace pagoda {

// One object goes to every parser. Each field is a ceiling; a parser that reaches one throws kInvalidInput and names it.
struct Limits {
  int64_t max_bytes = int64_t{1} << 40;       // size of one input file
  int64_t max_json_bytes = int64_t{1} << 29;  // JSON texts: configs, tokenizers, safetensors headers
  int64_t max_depth = 256;                    // nesting of values, blocks, expressions
  int64_t max_items = int64_t{1} << 24;       // entries of one list, object, vocabulary or tensor table
  int64_t max_string_bytes = int64_t{1} << 28;
  int64_t max_steps = 50'000'000;               // interpreter steps (templates, pickle, patterns)
  int64_t max_output_bytes = int64_t{1} << 26;  // text that a template may produce
  int64_t max_milliseconds = 30'000;            // wall time of one untrusted computation
};

}  // namespace pagoda
