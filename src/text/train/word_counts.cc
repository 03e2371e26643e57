// One hash table a thread, joined and sorted at the end.
#include "text/train/word_counts.h"

#include <algorithm>

#include "text/vocab.h"

namespace pagoda::text_train {

// Open addressing over words that lie one behind the other in memory.
class WordCounter::Table {
 public:
  void add(std::string_view word, int64_t count) {
    if ((entries_.size() + 1) * 2 > slots_.size()) grow();
    const uint64_t hash = hash_bytes(word);
    for (size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
      const uint32_t index = slots_[at];
      if (index == 0) {
        entries_.push_back({hash, bytes_.size(), word.size(), count});
        bytes_.append(word);
        slots_[at] = static_cast<uint32_t>(entries_.size());
        return;
      }
      Entry& entry = entries_[index - 1];
      if (entry.hash == hash && this->word(entry) == word) {
        entry.count += count;
        return;
      }
    }
  }
  size_t size() const { return entries_.size(); }
  template <class Fn>
  void for_each(Fn&& fn) const {
    for (const Entry& entry : entries_) fn(word(entry), entry.count);
  }

 private:
  struct Entry {
    uint64_t hash;
    size_t begin, length;
    int64_t count;
  };
  std::string_view word(const Entry& entry) const { return std::string_view(bytes_).substr(entry.begin, entry.length); }
  void grow() {
    std::vector<uint32_t> fresh(slots_.empty() ? 1 << 12 : slots_.size() * 2, 0);
    for (size_t i = 0; i < entries_.size(); ++i) {
      size_t at = entries_[i].hash & (fresh.size() - 1);
      while (fresh[at] != 0) at = (at + 1) & (fresh.size() - 1);
      fresh[at] = static_cast<uint32_t>(i + 1);
    }
    slots_.swap(fresh);
  }
  std::vector<uint32_t> slots_;  // entry + 1; 0: free
  std::vector<Entry> entries_;
  std::string bytes_;
};

WordCounter::WordCounter(NormalizerPtr normalizer, PreTokenizerPtr pre_tokenizer, ThreadPool& pool)
    : normalizer_(std::move(normalizer)), pre_tokenizer_(std::move(pre_tokenizer)), pool_(pool) {
  for (int i = 0; i < pool.num_threads(); ++i) {
    tables_.push_back(std::make_unique<Table>());
    scratch_.push_back(std::make_unique<RegexScratch>());
  }
}

WordCounter::~WordCounter() = default;

void WordCounter::add(const std::vector<std::string>& texts) {
  pool_.parallel_for(static_cast<int64_t>(texts.size()), 16, [&](int64_t begin, int64_t end, int thread) {
    Table& table = *tables_[static_cast<size_t>(thread)];
    RegexScratch& scratch = *scratch_[static_cast<size_t>(thread)];
    for (int64_t i = begin; i < end; ++i) {
      const std::string& text = texts[static_cast<size_t>(i)];
      AlignedText aligned = AlignedText::from_original(text, 0, text.size(), false);
      if (normalizer_ != nullptr) normalizer_->apply(aligned, scratch);
      PreTokenized pre;
      pre.append(aligned);
      if (pre_tokenizer_ != nullptr) pre_tokenizer_->apply(pre, scratch);
      for (const PreTokenized::Piece& piece : pre.pieces) {
        if (piece.end > piece.begin) table.add(std::string_view(pre.text).substr(piece.begin, piece.end - piece.begin), 1);
      }
    }
  });
}

int64_t WordCounter::distinct_words() const {
  size_t sum = 0;
  for (const auto& table : tables_) sum += table->size();
  return static_cast<int64_t>(sum);
}

WordCounts WordCounter::finish() {
  Table& all = *tables_[0];
  for (size_t i = 1; i < tables_.size(); ++i) {
    tables_[i]->for_each([&](std::string_view word, int64_t count) { all.add(word, count); });
    tables_[i].reset();
  }
  WordCounts counts;
  counts.reserve(all.size());
  all.for_each([&](std::string_view word, int64_t count) { counts.push_back({std::string(word), count}); });
  tables_.clear();
  std::sort(counts.begin(), counts.end(), [](const WordCount& a, const WordCount& b) { return a.word < b.word; });
  return counts;
}

}  // namespace pagoda::text_train
