// Training of BPE and WordPiece vocabularies, with the options and the ties of Hugging Face's trainers.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/task_hooks.h"
#include "base/thread_pool.h"
#include "text/train/word_counts.h"

namespace pagoda::text_train {

struct BpeTrainerOptions {
  int64_t vocab_size = 30000;               // special tokens and alphabet included
  int64_t min_frequency = 0;                // of a pair that is merged
  std::vector<std::string> special_tokens;  // first in the vocabulary; each once
  int64_t limit_alphabet = -1;              // characters kept, most frequent first; -1: all
  std::vector<uint32_t> initial_alphabet;   // code points that are kept whatever the words hold
  std::string continuing_subword_prefix, end_of_word_suffix;
  int64_t max_token_length = 0;  // a merge's tokens stay under this many characters (two may always join); 0: no bound
};

struct TrainedBpe {
  std::vector<std::string> vocab;                   // by id: special tokens, alphabet by code point, merges
  std::vector<std::pair<int32_t, int32_t>> merges;  // ids, in order of rank
};

// The pair that occurs most often is merged first, of equal ones that of the lower ids, as Hugging Face does it: the same
// merges for the same words. Where Hugging Face's own order is that of a hash table (ids of prefixed characters, equal
// characters at the border of limit_alphabet) it is by code point here. Results do not depend on the threads.
// Throws kInvalidInput where vocab_size has no room for special tokens and alphabet.
TrainedBpe train_bpe(const WordCounts& words, const BpeTrainerOptions& options, ThreadPool& pool, const TaskHooks& hooks = {});

}  // namespace pagoda::text_train
