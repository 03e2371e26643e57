// Merges by count. A pair keeps the list of words that held it when it was found: only those are looked at when it is merged.
#include "text/train/bpe_trainer.h"

#include <algorithm>
#include <map>
#include <queue>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/stable_sort.h"
#include "base/utf8.h"
#include "text/vocab.h"

namespace pagoda::text_train {

namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}
int32_t left_of(uint64_t key) { return static_cast<int32_t>(key >> 32); }
int32_t right_of(uint64_t key) { return static_cast<int32_t>(key & 0xFFFFFFFFu); }

class Trainer {
 public:
  Trainer(const WordCounts& words, const BpeTrainerOptions& options, ThreadPool& pool, const TaskHooks& hooks)
      : words_(words), options_(options), pool_(pool), hooks_(hooks) {}

  TrainedBpe run() {
    for (const std::string& token : options_.special_tokens) add_token(token, 1);
    const std::set<uint32_t> alphabet = choose_alphabet();
    spell_words(alphabet);
    if (static_cast<int64_t>(tokens_.size()) > options_.vocab_size) {
      invalid("vocab_size", "got {}, need at least {} for the special tokens and the alphabet (or a limit_alphabet)",
              options_.vocab_size, tokens_.size());
    }
    count_pairs();
    merge_pairs();
    return result();
  }

 private:
  // A pair to be merged, with the words that held it when its count was taken.
  struct Candidate {
    int64_t count;
    uint64_t pair;
    size_t words;                                   // into lists_
    bool operator<(const Candidate& other) const {  // the top of a priority queue is the largest
      if (count != other.count) return count < other.count;
      return pair != other.pair ? pair > other.pair : words > other.words;
    }
  };
  struct Change {
    uint64_t pair;
    uint32_t word;
    bool more;
  };

  int32_t add_token(const std::string& text, int64_t characters) {
    const auto [at, fresh] = ids_.emplace(text, static_cast<int32_t>(tokens_.size()));
    if (fresh) {
      tokens_.push_back(text);
      characters_.push_back(characters);
    }
    return at->second;
  }

  std::set<uint32_t> choose_alphabet() {
    std::map<uint32_t, int64_t> counts;
    for (const WordCount& word : words_) {
      for (size_t pos = 0; pos < word.word.size();) counts[utf8_next(word.word, pos)] += word.count;
    }
    for (const uint32_t code : options_.initial_alphabet) counts[code] = INT64_MAX;
    std::vector<std::pair<uint32_t, int64_t>> kept(counts.begin(), counts.end());
    if (options_.limit_alphabet >= 0 && static_cast<int64_t>(kept.size()) > options_.limit_alphabet) {
      stable_sort(kept, [](const auto& a, const auto& b) { return a.second > b.second; });
      kept.resize(static_cast<size_t>(options_.limit_alphabet));
    }
    std::set<uint32_t> alphabet;
    for (const auto& [code, count] : kept) alphabet.insert(code);
    for (const uint32_t code : alphabet) {
      std::string text;
      utf8_append(text, code);
      add_token(text, 1);
    }
    return alphabet;
  }

  // Calls fn(text) for each symbol of the word: its characters with prefix and suffix; those outside of the alphabet vanish.
  template <class Fn>
  void for_each_symbol(const std::string& word, const std::set<uint32_t>& alphabet, std::string& text, Fn&& fn) const {
    for (size_t pos = 0; pos < word.size();) {
      const bool first = pos == 0;
      const uint32_t code = utf8_next(word, pos);
      text.clear();
      utf8_append(text, code);
      // A special token of one character counts as known, as it does for Hugging Face.
      if (alphabet.count(code) == 0 && ids_.count(text) == 0) continue;
      if (!first) text.insert(0, options_.continuing_subword_prefix);
      if (pos == word.size()) text += options_.end_of_word_suffix;
      fn(text);
    }
  }

  void spell_words(const std::set<uint32_t>& alphabet) {
    std::string text;
    if (!options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty()) {
      std::set<std::string> formed;
      for (const WordCount& word : words_) {
        for_each_symbol(word.word, alphabet, text, [&](const std::string& symbol) {
          if (ids_.count(symbol) == 0) formed.insert(symbol);
        });
      }
      for (const std::string& symbol : formed) add_token(symbol, 1);
    }
    begins_.reserve(words_.size() + 1);
    for (size_t i = 0; i < words_.size(); ++i) {
      if (i % 65536 == 0) hooks_.at("words", static_cast<int64_t>(i), static_cast<int64_t>(words_.size()));
      begins_.push_back(symbols_.size());
      for_each_symbol(words_[i].word, alphabet, text, [&](const std::string& symbol) { symbols_.push_back(ids_.at(symbol)); });
      lengths_.push_back(static_cast<uint32_t>(symbols_.size() - begins_.back()));
    }
  }

  void count_pairs() {
    for (size_t i = 0; i < words_.size(); ++i) {
      if (i % 65536 == 0) hooks_.at("pairs", static_cast<int64_t>(i), static_cast<int64_t>(words_.size()));
      const int32_t* const symbols = symbols_.data() + begins_[i];
      for (uint32_t k = 0; k + 1 < lengths_[i]; ++k) {
        const uint64_t pair = pair_key(symbols[k], symbols[k + 1]);
        counts_[pair] += words_[i].count;
        note_word(pair, static_cast<uint32_t>(i));
      }
    }
    queue_found();
  }

  // Words come in rising order, so that a word already noted for the pair is the last of its list.
  void note_word(uint64_t pair, uint32_t word) {
    size_t& list = found_[pair];
    if (list == 0) {
      if (free_.empty()) {
        lists_.emplace_back();
        list = lists_.size();
      } else {
        list = free_.back() + 1;
        free_.pop_back();
      }
      found_order_.push_back(pair);
    }
    std::vector<uint32_t>& words = lists_[list - 1];
    if (words.empty() || words.back() != word) words.push_back(word);
  }

  void queue_found() {
    for (const uint64_t pair : found_order_) {
      const size_t list = found_[pair] - 1;
      const int64_t count = counts_[pair];
      if (count > 0) {
        queue_.push({count, pair, list});
      } else {
        release(list);
      }
    }
    found_order_.clear();
    found_ = {};
  }

  void release(size_t list) {
    std::vector<uint32_t>().swap(lists_[list]);
    free_.push_back(list);
  }

  std::string joined(uint64_t pair) const {
    const std::string& left = tokens_[static_cast<size_t>(left_of(pair))];
    std::string_view right = tokens_[static_cast<size_t>(right_of(pair))];
    const std::string& prefix = options_.continuing_subword_prefix;
    if (right.substr(0, prefix.size()) == prefix) right.remove_prefix(prefix.size());
    return left + std::string(right);
  }

  void merge_pairs() {
    const int64_t begun = static_cast<int64_t>(tokens_.size());
    const int64_t least = std::max<int64_t>(1, options_.min_frequency);
    while (static_cast<int64_t>(tokens_.size()) < options_.vocab_size && !queue_.empty()) {
      hooks_.at("merges", static_cast<int64_t>(tokens_.size()) - begun, options_.vocab_size - begun);
      Candidate top = queue_.top();
      queue_.pop();
      const int64_t count = counts_[top.pair];
      if (count != top.count) {  // some of it was merged away since
        top.count = count;
        if (count > 0) {
          queue_.push(top);
        } else {
          release(top.words);
        }
        continue;
      }
      if (top.count < least) break;
      const size_t left = static_cast<size_t>(left_of(top.pair)), right = static_cast<size_t>(right_of(top.pair));
      const int64_t characters = characters_[left] + characters_[right];
      const int32_t merged = add_token(joined(top.pair), characters);
      characters_[static_cast<size_t>(merged)] = characters;
      merges_.emplace_back(top.pair, merged);
      merge_in_words(top.pair, merged, lists_[top.words]);
      release(top.words);
      queue_found();
    }
  }

  void merge_in_words(uint64_t pair, int32_t merged, const std::vector<uint32_t>& words) {
    // Pieces of fixed size, so that the order of changes is that of the words whatever the threads.
    constexpr int64_t kWords = 2048;
    const int64_t count = static_cast<int64_t>(words.size());
    const size_t pieces = static_cast<size_t>((count + kWords - 1) / kWords);
    if (changes_.size() < pieces) changes_.resize(pieces);
    pool_.parallel_for(count, kWords, [&](int64_t begin, int64_t end, int) {
      std::vector<Change>& changes = changes_[static_cast<size_t>(begin / kWords)];
      changes.clear();
      for (int64_t i = begin; i < end; ++i) merge_in_word(pair, merged, words[static_cast<size_t>(i)], changes);
    });
    for (size_t piece = 0; piece < pieces; ++piece) {
      for (const Change& change : changes_[piece]) {
        const int64_t times = words_[change.word].count;
        counts_[change.pair] += change.more ? times : -times;
        if (change.more) note_word(change.pair, change.word);
      }
    }
  }

  void merge_in_word(uint64_t pair, int32_t merged, uint32_t word, std::vector<Change>& changes) {
    int32_t* const symbols = symbols_.data() + begins_[word];
    const uint32_t length = lengths_[word];
    const int32_t left = left_of(pair), right = right_of(pair);
    const int64_t characters = characters_[static_cast<size_t>(merged)];
    const int64_t bound = options_.max_token_length > 0 ? options_.max_token_length : INT64_MAX;
    const auto fits = [&](int32_t other) { return characters_[static_cast<size_t>(other)] + characters < bound; };
    uint32_t out = 0;
    for (uint32_t in = 0; in < length; ++in, ++out) {
      if (symbols[in] != left || in + 1 >= length || symbols[in + 1] != right) {
        symbols[out] = symbols[in];
        continue;
      }
      ++in;
      if (out > 0) {
        const int32_t before = symbols[out - 1];
        changes.push_back({pair_key(before, left), word, false});
        if (fits(before)) changes.push_back({pair_key(before, merged), word, true});
      }
      if (in + 1 < length) {
        const int32_t after = symbols[in + 1];
        changes.push_back({pair_key(right, after), word, false});
        if (fits(after)) changes.push_back({pair_key(merged, after), word, true});
      }
      symbols[out] = merged;
    }
    lengths_[word] = out;
  }

  TrainedBpe result() const {
    TrainedBpe trained;
    trained.vocab = tokens_;
    // A pair can be merged twice where two merges spell one token; the later rank counts, as for Hugging Face.
    FlatMap<size_t> last;
    for (size_t i = 0; i < merges_.size(); ++i) last[merges_[i].first] = i;
    for (size_t i = 0; i < merges_.size(); ++i) {
      const uint64_t pair = merges_[i].first;
      if (*last.find(pair) == i) trained.merges.emplace_back(left_of(pair), right_of(pair));
    }
    return trained;
  }

  const WordCounts& words_;
  const BpeTrainerOptions& options_;
  ThreadPool& pool_;
  const TaskHooks& hooks_;
  std::vector<std::string> tokens_;
  std::vector<int64_t> characters_;  // of tokens_
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<int32_t> symbols_;  // of all words, one behind the other
  std::vector<size_t> begins_;
  std::vector<uint32_t> lengths_;
  // Not lowered when the pair itself is merged: Hugging Face's counts are these, and equal merges need equal counts.
  FlatMap<int64_t> counts_;
  std::priority_queue<Candidate> queue_;
  std::vector<std::vector<uint32_t>> lists_;
  std::vector<size_t> free_;  // of lists_
  FlatMap<size_t> found_;     // pair to its list + 1, of pairs not yet queued
  std::vector<uint64_t> found_order_;
  std::vector<std::vector<Change>> changes_;
  std::vector<std::pair<uint64_t, int32_t>> merges_;
};

}  // namespace

TrainedBpe train_bpe(const WordCounts& words, const BpeTrainerOptions& options, ThreadPool& pool, const TaskHooks& hooks) {
  return Trainer(words, options, pool, hooks).run();
}

}  // namespace pagoda::text_train
