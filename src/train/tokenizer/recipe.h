// From a recipe and rows of text to the files of a tokenizer that Hugging Face's libraries load.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/task_hooks.h"
#include "base/thread_pool.h"
#include "train/data/rows.h"

namespace pagoda::train {

// Names are those of Hugging Face's trainers. Fields left at their first value take the default of the type.
struct TokenizerRecipe {
  std::string type;        // bpe, unigram, wordpiece
  int64_t vocab_size = 0;  // 0: 30000 (unigram: 8000)
  int64_t min_frequency = 0;
  bool default_special_tokens = true;  // special_tokens are not given
  std::vector<std::string> special_tokens;
  int64_t limit_alphabet = -1;
  std::string initial_alphabet;           // every character of it; a byte-level tokenizer has its 256 anyway
  std::string continuing_subword_prefix;  // wordpiece: "##"
  bool default_prefix = true;
  std::string end_of_word_suffix;
  int64_t max_token_length = 0;
  std::string unk_token;  // empty: the special token "<unk>" or "[UNK]" where there is one
  double shrinking_factor = 0.75;
  int64_t n_sub_iterations = 2, max_piece_length = 16, seed_size = 1'000'000;
  bool byte_fallback = false;
  // Steps in order: names (see normalizer_names) or objects as tokenizer.json has them; empty: the default of the type, "none":
  // none.
  std::vector<std::string> normalizers, pre_tokenizers;
  bool add_prefix_space = false;          // of byte_level
  std::string prepend_scheme = "always";  // of metaspace
  std::string post_processor = "auto";    // auto, template, none or an object; auto: template where there are [CLS] and [SEP]
  int64_t model_max_length = 0;           // of tokenizer_config.json; 0: not said
};

const std::vector<std::string>& normalizer_names();     // nfc, nfd, nfkc, nfkd, nmt, lowercase, strip, strip_accents, bert
const std::vector<std::string>& pre_tokenizer_names();  // byte_level, whitespace, whitespace_split, bert, metaspace, ...

struct TrainedTokenizer {
  Json tokenizer, config;  // tokenizer.json, tokenizer_config.json
  int64_t vocab_size = 0;
  int64_t rows = 0, words = 0, distinct_words = 0;
  double bits_per_character = 0;  // unigram only
};

// Everything that can be known to be wrong is told before the first row is read. Rows that are tokenised already are refused.
// Throws Cancelled.
TrainedTokenizer train_tokenizer(const TokenizerRecipe& recipe, RowReader& rows, ThreadPool& pool, const TaskHooks& hooks = {});

// tokenizer.json and tokenizer_config.json; makes the folder.
void write_tokenizer(const TrainedTokenizer& trained, const std::string& folder);

}  // namespace pagoda::train
