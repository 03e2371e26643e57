// Forward and backward sums over one word. Short words take plain products, long ones logarithms.
#include "text/train/unigram_lattice.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/utf8.h"

namespace pagoda::text_train {

namespace {

constexpr double kUnknownPenalty = 10.0;
// Products of probabilities above exp(-600) are exact enough in double; below they run out of exponents.
constexpr double kSmallestLogarithm = 600.0;
constexpr double kImpossible = -std::numeric_limits<double>::infinity();

double log_add(double a, double b) {
  if (a == kImpossible) return b;
  if (b == kImpossible) return a;
  const double high = std::max(a, b), low = std::min(a, b);
  return high + std::log1p(std::exp(low - high));
}

}  // namespace

PieceTable::PieceTable(const std::vector<UnigramPiece>& pieces) : scores_(pieces.size()), probabilities_(pieces.size()) {
  double lowest = 0;
  for (size_t i = 1; i < pieces.size(); ++i) {
    scores_[i] = pieces[i].score;
    lowest = i == 1 ? scores_[i] : std::min(lowest, scores_[i]);
    trie_.add(pieces[i].token, static_cast<int32_t>(i));
  }
  scores_[0] = lowest - kUnknownPenalty;
  for (size_t i = 0; i < scores_.size(); ++i) probabilities_[i] = std::exp(scores_[i]);
}

void Lattice::build(std::string_view word, const PieceTable& table) {
  edges_.clear();
  size_ = word.size();
  characters_ = 0;
  for (size_t pos = 0; pos < word.size(); ++characters_) {
    size_t next = pos;
    utf8_next(word, next);
    const size_t character = next - pos;
    bool single = false;
    table.trie().prefixes(word.substr(pos), [&](size_t length, int32_t piece) {
      edges_.push_back({static_cast<uint32_t>(pos), static_cast<uint32_t>(pos + length), piece});
      single = single || length == character;
    });
    if (!single) edges_.push_back({static_cast<uint32_t>(pos), static_cast<uint32_t>(next), 0});
    pos = next;
  }
}

double Lattice::add_expected(const PieceTable& table, double count, std::vector<double>& expected) {
  if (static_cast<double>(characters_) * -table.lowest() > kSmallestLogarithm) return add_by_logarithms(table, count, expected);
  forward_.assign(size_ + 1, 0.0);
  backward_.assign(size_ + 1, 0.0);
  forward_[0] = backward_[size_] = 1.0;
  for (const Edge& edge : edges_) forward_[edge.end] += forward_[edge.begin] * table.probability(edge.piece);
  const double share = count / forward_[size_];
  for (size_t i = edges_.size(); i-- > 0;) {
    const Edge& edge = edges_[i];
    const double onward = table.probability(edge.piece) * backward_[edge.end];
    backward_[edge.begin] += onward;
    expected[static_cast<size_t>(edge.piece)] += forward_[edge.begin] * onward * share;
  }
  return std::log(forward_[size_]);
}

double Lattice::add_by_logarithms(const PieceTable& table, double count, std::vector<double>& expected) {
  forward_.assign(size_ + 1, kImpossible);
  backward_.assign(size_ + 1, kImpossible);
  forward_[0] = backward_[size_] = 0.0;
  for (const Edge& edge : edges_) {
    forward_[edge.end] = log_add(forward_[edge.end], forward_[edge.begin] + table.score(edge.piece));
  }
  const double whole = forward_[size_];
  for (size_t i = edges_.size(); i-- > 0;) {
    const Edge& edge = edges_[i];
    const double onward = table.score(edge.piece) + backward_[edge.end];
    backward_[edge.begin] = log_add(backward_[edge.begin], onward);
    expected[static_cast<size_t>(edge.piece)] += count * std::exp(forward_[edge.begin] + onward - whole);
  }
  return whole;
}

bool Lattice::best(const PieceTable& table, int32_t without, std::vector<int32_t>& pieces, double& score) {
  forward_.assign(size_ + 1, kImpossible);
  through_.assign(size_ + 1, -1);
  forward_[0] = 0.0;
  for (size_t i = 0; i < edges_.size(); ++i) {
    const Edge& edge = edges_[i];
    if (edge.piece == without && edge.begin == 0 && edge.end == size_) continue;
    const double candidate = forward_[edge.begin] + table.score(edge.piece);
    if (candidate > forward_[edge.end]) {
      forward_[edge.end] = candidate;
      through_[edge.end] = static_cast<int32_t>(i);
    }
  }
  pieces.clear();
  score = forward_[size_];
  if (score == kImpossible) return false;
  for (size_t end = size_; end > 0;) {
    const Edge& edge = edges_[static_cast<size_t>(through_[end])];
    pieces.push_back(edge.piece);
    end = edge.begin;
  }
  return true;
}

}  // namespace pagoda::text_train
