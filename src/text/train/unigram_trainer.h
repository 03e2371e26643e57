// Training of Unigram vocabularies: seeds, expectation maximisation, pruning by what the likelihood loses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/task_hooks.h"
#include "base/thread_pool.h"
#include "text/model.h"
#include "text/train/word_counts.h"

namespace pagoda::text_train {

struct UnigramTrainerOptions {
  int64_t vocab_size = 8000;  // special tokens and alphabet included
  std::vector<std::string> special_tokens;
  std::string unk_token;  // put first where it is not among the special tokens; empty: none
  std::vector<uint32_t> initial_alphabet;
  int64_t limit_alphabet = -1;  // characters that become pieces, most frequent first; -1: all
  double shrinking_factor = 0.75;
  int64_t n_sub_iterations = 2;
  int64_t max_piece_length = 16;  // characters
  int64_t seed_size = 1'000'000;
  bool byte_fallback = false;  // <0x00> to <0xFF> behind the special tokens
};

struct TrainedUnigram {
  std::vector<UnigramPiece> pieces;  // special tokens (score 0), bytes, then by falling score
  int64_t unk_id = -1;
  double bits_per_character = 0;  // of the words as the pieces cut them best
};

// The algorithm of SentencePiece (Kudo 2018) with the constants of Hugging Face's trainer. Sums are taken in an order that
// threads do not change. Throws kInvalidInput where vocab_size has no room for special tokens and alphabet.
TrainedUnigram train_unigram(const WordCounts& words, const UnigramTrainerOptions& options, ThreadPool& pool,
                             const TaskHooks& hooks = {});

}  // namespace pagoda::text_train
