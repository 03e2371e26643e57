// Folders of models for tests of the API, and what the engine makes of them without it. Std only: the API's names and the
// engine's do not meet in one file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda::testing {

inline const std::string kStories = PAGODA_SOURCE_DIR "/models/stories/llama";
inline const std::string kMaskedLm = PAGODA_SOURCE_DIR "/models/masked_lm/stories";
inline const std::string kLlama = PAGODA_SOURCE_DIR "/tests/fixtures/llama";  // without a tokenizer
inline const std::string kBert = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/bert";

std::string word_model();                                // tests/word_model.h
std::string sentence_model(const std::string& modules);  // kBert with the modules of a folder of tests/fixtures/sentences

// A new folder: files of `from`, and one of `name` over them.
std::string with_file(const std::string& from, const std::string& name, const std::string& text);

// What `pagoda generate` does with these flags.
struct Generated {
  std::vector<int32_t> prompt_ids, token_ids;
  std::string text, finish;
};
Generated engine_generates(const std::string& model, const std::string& prompt, int64_t max_new_tokens, double temperature,
                           uint64_t seed);
// What `pagoda run` does: JSON text.
std::string pipeline_runs(const std::string& task, const std::string& model, const std::string& inputs,
                          const std::string& parameters);
std::vector<float> numbers(const std::string& json);  // a list of numbers
bool is_json_object(const std::string& text);
bool is_utf8(const std::string& text);

}  // namespace pagoda::testing
