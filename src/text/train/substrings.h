// Substrings that occur more than once, by a sorted array of suffixes: the seeds of a Unigram vocabulary.
#pragma once

#include <cstdint>
#include <vector>

#include "base/task_hooks.h"
#include "base/thread_pool.h"

namespace pagoda::text_train {

struct Substring {
  uint32_t begin = 0;  // one of its places in the text
  uint32_t length = 0;
  int64_t count = 0;  // places in all
};

// `text`: code points, each word closed by a 0. Gives the substrings of 2 to max_length code points without a 0 that occur at
// least twice and go on in at least two ways (inner nodes of the suffix tree), where all ends of words go on in the same way:
// what SentencePiece and Hugging Face start from. At most 2^32 - 1 code points. Order: that of the sorted suffixes.
std::vector<Substring> repeated_substrings(const std::vector<uint32_t>& text, int64_t max_length, ThreadPool& pool,
                                           const TaskHooks& hooks = {});

}  // namespace pagoda::text_train
