// Words and how often they occur: all that the trainers see of a corpus.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/task_hooks.h"
#include "base/thread_pool.h"
#include "text/normalizers.h"
#include "text/pre_tokenizers.h"

namespace pagoda::text_train {

struct WordCount {
  std::string word;
  int64_t count = 0;
};
// Sorted by the words' bytes, each word once: the same whatever the threads and the order of the texts.
using WordCounts = std::vector<WordCount>;

// Counts the words of texts as a tokenizer with this normaliser and pre-tokenizer (either may be null) would cut them; added
// tokens are not looked for, as in Hugging Face's trainers. Holds the distinct words only, twice while it ends: texts may be
// far larger than memory, as long as a pre-tokenizer makes words repeat.
class WordCounter {
 public:
  WordCounter(NormalizerPtr normalizer, PreTokenizerPtr pre_tokenizer, ThreadPool& pool);
  ~WordCounter();
  // Texts must be valid UTF-8.
  void add(const std::vector<std::string>& texts);
  int64_t distinct_words() const;  // an upper bound while threads count by themselves
  WordCounts finish();             // once

 private:
  class Table;
  NormalizerPtr normalizer_;
  PreTokenizerPtr pre_tokenizer_;
  ThreadPool& pool_;
  std::vector<std::unique_ptr<Table>> tables_;  // one a thread
  std::vector<std::unique_ptr<RegexScratch>> scratch_;
};

}  // namespace pagoda::text_train
