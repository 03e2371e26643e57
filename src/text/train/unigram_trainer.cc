// Seeds from repeated substrings, then in turns: two steps of expectation maximisation, and a quarter of the pieces dropped.
#include "text/train/unigram_trainer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/stable_sort.h"
#include "base/utf8.h"
#include "text/train/substrings.h"
#include "text/train/unigram_lattice.h"

namespace pagoda::text_train {

namespace {

// Sums are taken in this many parts, whatever the threads.
constexpr int64_t kParts = 16;
constexpr int64_t kBlock = 256;  // words
constexpr double kLeastExpected = 0.5;
constexpr double kPenaltyStep = 0.0001;  // keeps characters that have no score of their own apart

// The derivative of log-gamma, by its asymptotic series at x - 1/2.
double digamma(double x) {
  double shifted = 0;
  for (; x < 7; ++x) shifted -= 1 / x;
  x -= 0.5;
  const double x2 = 1 / (x * x), x4 = x2 * x2;
  return shifted + std::log(x) + x2 / 24 - 7 * x4 / 960 + 31 * x4 * x2 / 8064 - 127 * x4 * x4 / 30720;
}

std::string text_of(const uint32_t* codes, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) utf8_append(text, codes[i]);
  return text;
}

class Trainer {
 public:
  Trainer(const WordCounts& words, const UnigramTrainerOptions& options, ThreadPool& pool, const TaskHooks& hooks)
      : words_(words), options_(options), pool_(pool), hooks_(hooks) {}

  TrainedUnigram run() {
    choose_alphabet();
    check_room();
    pieces_ = seeds();
    // The vocabulary is brought down to a little more than there is room for; what is left over goes at the end. (Hugging Face
    // counts the special tokens as room here, and loses more pieces at the end, without another look at the rest.)
    const size_t wanted = static_cast<size_t>(room() * 11 / 10 + 1);
    const double rounds = std::log(static_cast<double>(wanted) / static_cast<double>(std::max(wanted, pieces_.size()))) /
                          std::log(options_.shrinking_factor);
    total_steps_ = (static_cast<int64_t>(rounds) + 2) * (options_.n_sub_iterations + 1);
    for (;;) {
      for (int64_t i = 0; i < options_.n_sub_iterations; ++i) maximise(expect());
      if (pieces_.size() <= wanted) break;
      const size_t before = pieces_.size();
      prune(wanted);
      if (pieces_.size() >= before) break;  // nothing can go: every piece is the only way to spell its text
    }
    return finish();
  }

 private:
  void choose_alphabet() {
    std::map<uint32_t, int64_t> counts;
    for (const WordCount& word : words_) {
      for (size_t pos = 0; pos < word.word.size();) counts[utf8_next(word.word, pos)] += word.count;
    }
    counts.erase(0);
    for (const auto& [code, count] : counts) alphabet_.emplace_back(count, code);
    std::sort(alphabet_.rbegin(), alphabet_.rend());
    if (options_.limit_alphabet >= 0 && static_cast<int64_t>(alphabet_.size()) > options_.limit_alphabet) {
      alphabet_.resize(static_cast<size_t>(options_.limit_alphabet));
    }
    for (const auto& [count, code] : alphabet_) required_.insert(code);
    known_ = required_;
    required_.insert(options_.initial_alphabet.begin(), options_.initial_alphabet.end());
  }

  bool adds_unk() const {
    const auto& specials = options_.special_tokens;
    return !options_.unk_token.empty() && std::count(specials.begin(), specials.end(), options_.unk_token) == 0;
  }
  // Pieces that are no special tokens and no bytes.
  int64_t room() const {
    return options_.vocab_size - static_cast<int64_t>(options_.special_tokens.size()) - (adds_unk() ? 1 : 0) -
           (options_.byte_fallback ? 256 : 0);
  }
  void check_room() const {
    const int64_t need = static_cast<int64_t>(required_.size());
    if (room() < need) {
      invalid("vocab_size", "got {}, need at least {} for the special tokens and the alphabet (or a limit_alphabet)",
              options_.vocab_size, options_.vocab_size - room() + need);
    }
  }

  std::vector<UnigramPiece> seeds() {
    std::vector<uint32_t> text;
    for (const WordCount& word : words_) {
      for (size_t pos = 0; pos < word.word.size();) {
        const uint32_t code = utf8_next(word.word, pos);
        text.push_back(known_.count(code) != 0 ? code : 0);
      }
      text.push_back(0);
    }
    std::vector<Substring> found = repeated_substrings(text, options_.max_piece_length, pool_, hooks_);
    const auto better = [&](const Substring& a, const Substring& b) {
      const int64_t left = a.count * a.length, right = b.count * b.length;
      if (left != right) return left > right;
      return std::lexicographical_compare(&text[b.begin], &text[b.begin] + b.length, &text[a.begin], &text[a.begin] + a.length);
    };
    const size_t most = static_cast<size_t>(std::max<int64_t>(0, options_.seed_size - static_cast<int64_t>(alphabet_.size())));
    if (found.size() > most) {
      std::nth_element(found.begin(), found.begin() + static_cast<int64_t>(most), found.end(), better);
      found.resize(most);
    }
    std::sort(found.begin(), found.end(), better);

    std::vector<UnigramPiece> pieces{{"", 0}};  // the unknown character
    double sum = 0;
    for (const auto& [count, code] : alphabet_) pieces.push_back({text_of(&code, 1), static_cast<double>(count)});
    for (const Substring& piece : found) {
      pieces.push_back({text_of(&text[piece.begin], piece.length), static_cast<double>(piece.count * piece.length)});
    }
    for (const UnigramPiece& piece : pieces) sum += piece.score;
    for (size_t i = 1; i < pieces.size(); ++i) pieces[i].score = std::log(pieces[i].score) - std::log(sum);
    return pieces;
  }

  // Calls fn(part, word, lattice) for each word, the parts side by side; the order within a part is fixed.
  template <class Fn>
  void for_each_lattice(const PieceTable& table, Fn&& fn) {
    const int64_t blocks = (static_cast<int64_t>(words_.size()) + kBlock - 1) / kBlock;
    pool_.parallel_for(kParts, 1, [&](int64_t part, int64_t, int) {
      Lattice lattice;
      for (int64_t block = part; block < blocks; block += kParts) {
        hooks_.check();
        const size_t end = std::min(words_.size(), static_cast<size_t>((block + 1) * kBlock));
        for (size_t i = static_cast<size_t>(block * kBlock); i < end; ++i) {
          lattice.build(words_[i].word, table);
          fn(static_cast<size_t>(part), words_[i], lattice);
        }
      }
    });
  }

  void next_step() {
    hooks_.at("EM and pruning", step_, std::max(total_steps_, step_));
    ++step_;
  }

  std::vector<double> expect() {
    next_step();
    const PieceTable table(pieces_);
    std::vector<std::vector<double>> parts(kParts, std::vector<double>(pieces_.size(), 0.0));
    for_each_lattice(table, [&](size_t part, const WordCount& word, Lattice& lattice) {
      lattice.add_expected(table, static_cast<double>(word.count), parts[part]);
    });
    for (int64_t part = 1; part < kParts; ++part) {
      for (size_t i = 0; i < pieces_.size(); ++i) parts[0][i] += parts[static_cast<size_t>(part)][i];
    }
    return std::move(parts[0]);
  }

  // The Bayesian form, whose digamma works as a prior for few pieces.
  void maximise(const std::vector<double>& expected) {
    std::vector<UnigramPiece> kept{pieces_[0]};
    double sum = 0;
    for (size_t i = 1; i < pieces_.size(); ++i) {
      if (expected[i] < kLeastExpected) continue;
      kept.push_back({std::move(pieces_[i].token), expected[i]});
      sum += expected[i];
    }
    const double whole = digamma(sum);
    for (size_t i = 1; i < kept.size(); ++i) kept[i].score = digamma(kept[i].score) - whole;
    pieces_.swap(kept);
  }

  // How each piece's own text is cut: by itself (with the next best cut), or otherwise.
  struct Own {
    bool alone = true;                  // no other cut
    bool best = false;                  // the best cut is the piece itself
    std::vector<int32_t> alternatives;  // then: the next best one
  };

  std::vector<Own> own_cuts(const PieceTable& table) {
    std::vector<Own> own(pieces_.size());
    pool_.parallel_for(static_cast<int64_t>(pieces_.size()), 4096, [&](int64_t begin, int64_t end, int) {
      hooks_.check();
      Lattice lattice;
      for (int64_t i = std::max<int64_t>(begin, 1); i < end; ++i) {
        Own& mine = own[static_cast<size_t>(i)];
        lattice.build(pieces_[static_cast<size_t>(i)].token, table);
        double other = 0;
        mine.alone = !lattice.best(table, static_cast<int32_t>(i), mine.alternatives, other);
        mine.best = mine.alone || table.score(static_cast<int32_t>(i)) >= other;
        if (!mine.best) mine.alternatives.clear();
        // First to last: the order of the sum in which equal losses come out equal, as they do for Hugging Face.
        std::reverse(mine.alternatives.begin(), mine.alternatives.end());
      }
    });
    return own;
  }

  // How often each piece is in the best cuts of the words.
  std::vector<double> best_counts(const PieceTable& table) {
    // Whole numbers: exact in any order.
    std::vector<std::vector<double>> parts(kParts, std::vector<double>(pieces_.size(), 0.0));
    std::vector<std::vector<int32_t>> cut(kParts);
    for_each_lattice(table, [&](size_t part, const WordCount& word, Lattice& lattice) {
      double score = 0;
      lattice.best(table, -1, cut[part], score);
      for (const int32_t piece : cut[part]) parts[part][static_cast<size_t>(piece)] += static_cast<double>(word.count);
    });
    for (int64_t part = 1; part < kParts; ++part) {
      for (size_t i = 0; i < pieces_.size(); ++i) parts[0][i] += parts[static_cast<size_t>(part)][i];
    }
    return std::move(parts[0]);
  }

  // Keeps what cannot be spelled otherwise, then the pieces whose loss costs most: each is thought replaced by its next best
  // cut wherever it stands.
  void prune(size_t wanted) {
    next_step();
    const PieceTable table(pieces_);
    const std::vector<Own> own = own_cuts(table);
    const std::vector<double> counts = best_counts(table);
    double sum = 0, texts = 0;
    for (const double count : counts) sum += count;
    for (const WordCount& word : words_) texts += static_cast<double>(word.count);

    std::vector<UnigramPiece> kept{pieces_[0]};
    std::vector<std::pair<double, size_t>> candidates;  // loss, piece
    for (size_t i = 1; i < pieces_.size(); ++i) {
      if (counts[i] == 0 && !own[i].best) continue;
      if (own[i].alternatives.empty()) {
        kept.push_back(pieces_[i]);
        continue;
      }
      if (counts[i] == 0) continue;
      const double logarithm = std::log(counts[i]) - std::log(sum);
      const double whole = std::log(sum + counts[i] * static_cast<double>(own[i].alternatives.size() - 1));
      double replaced = 0;
      for (const int32_t other : own[i].alternatives) {
        replaced += std::log(counts[static_cast<size_t>(other)] + counts[i]) - whole;
      }
      candidates.emplace_back(counts[i] / texts * (logarithm - replaced), i);
    }
    stable_sort(candidates, [](const auto& a, const auto& b) { return a.first > b.first; });
    const size_t target =
        std::max(wanted, static_cast<size_t>(static_cast<double>(pieces_.size()) * options_.shrinking_factor));
    for (const auto& [loss, piece] : candidates) {
      if (kept.size() >= target) break;
      kept.push_back(pieces_[piece]);
    }
    pieces_.swap(kept);
  }

  TrainedUnigram finish() {
    TrainedUnigram trained;
    std::unordered_map<std::string, double> scores;
    double lowest = 0;
    for (size_t i = 1; i < pieces_.size(); ++i) {
      scores.emplace(pieces_[i].token, pieces_[i].score);
      lowest = i == 1 ? pieces_[i].score : std::min(lowest, pieces_[i].score);
    }
    std::vector<UnigramPiece> chosen;
    std::set<std::string> taken(options_.special_tokens.begin(), options_.special_tokens.end());
    if (adds_unk()) taken.insert(options_.unk_token);
    double penalty = 0;
    for (const uint32_t code : required_) {
      const std::string text = text_of(&code, 1);
      if (!taken.insert(text).second) continue;
      const auto known = scores.find(text);
      chosen.push_back({text, known != scores.end() ? known->second : lowest + penalty});
      if (known == scores.end()) penalty += kPenaltyStep;
    }
    const size_t most = static_cast<size_t>(room());
    for (size_t i = 1; i < pieces_.size() && chosen.size() < most; ++i) {
      if (taken.insert(pieces_[i].token).second) chosen.push_back(pieces_[i]);
    }
    stable_sort(chosen, [](const auto& a, const auto& b) { return a.score > b.score; });
    trained.bits_per_character = bits_per_character(chosen);
    if (adds_unk()) trained.pieces.push_back({options_.unk_token, 0});
    for (const std::string& token : options_.special_tokens) trained.pieces.push_back({token, 0});
    for (size_t i = 0; i < trained.pieces.size(); ++i) {
      if (!options_.unk_token.empty() && trained.pieces[i].token == options_.unk_token) {
        trained.unk_id = static_cast<int64_t>(i);
      }
    }
    // Bytes are never worth spelling out where they stand in a text as they are written.
    for (int b = 0; options_.byte_fallback && b < 256; ++b) trained.pieces.push_back({fmt::format("<0x{:02X}>", b), lowest});
    trained.pieces.insert(trained.pieces.end(), chosen.begin(), chosen.end());
    return trained;
  }

  double bits_per_character(const std::vector<UnigramPiece>& chosen) {
    std::vector<UnigramPiece> pieces{{"", 0}};
    pieces.insert(pieces.end(), chosen.begin(), chosen.end());
    const PieceTable table(pieces);
    std::vector<double> bits(kParts, 0.0), characters(kParts, 0.0);
    std::vector<std::vector<int32_t>> cut(kParts);
    for_each_lattice(table, [&](size_t part, const WordCount& word, Lattice& lattice) {
      double score = 0;
      lattice.best(table, -1, cut[part], score);
      bits[part] -= static_cast<double>(word.count) * score / std::log(2.0);
      characters[part] += static_cast<double>(word.count) * static_cast<double>(utf8_length(word.word));
    });
    double all_bits = 0, all_characters = 0;
    for (size_t part = 0; part < bits.size(); ++part) {
      all_bits += bits[part];
      all_characters += characters[part];
    }
    return all_characters > 0 ? all_bits / all_characters : 0;
  }

  const WordCounts& words_;
  const UnigramTrainerOptions& options_;
  ThreadPool& pool_;
  const TaskHooks& hooks_;
  std::vector<std::pair<int64_t, uint32_t>> alphabet_;  // counts and characters, most frequent first
  std::set<uint32_t> known_, required_;
  std::vector<UnigramPiece> pieces_;  // the first stands for unknown characters
  int64_t step_ = 0, total_steps_ = 1;
};

}  // namespace

TrainedUnigram train_unigram(const WordCounts& words, const UnigramTrainerOptions& options, ThreadPool& pool,
                             const TaskHooks& hooks) {
  if (!(options.shrinking_factor > 0 && options.shrinking_factor < 1)) {
    invalid("shrinking_factor", "got {}, need a number between 0 and 1", options.shrinking_factor);
  }
  return Trainer(words, options, pool, hooks).run();
}

}  // namespace pagoda::text_train
