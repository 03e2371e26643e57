// All ways to cut one word into pieces: expected counts of pieces, and the best way.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/model.h"
#include "text/trie.h"

namespace pagoda::text_train {

// Pieces with their scores, for look-ups. Piece 0 stands for a character that no piece is.
class PieceTable {
 public:
  explicit PieceTable(const std::vector<UnigramPiece>& pieces);
  size_t size() const { return scores_.size(); }
  double score(int32_t piece) const { return scores_[static_cast<size_t>(piece)]; }
  double probability(int32_t piece) const { return probabilities_[static_cast<size_t>(piece)]; }
  double lowest() const { return scores_[0]; }  // of all, piece 0 included
  const Trie& trie() const { return trie_; }

 private:
  std::vector<double> scores_, probabilities_;
  Trie trie_;
};

class Lattice {
 public:
  void build(std::string_view word, const PieceTable& table);
  // Adds to `expected` how often each piece is expected, times `count`; returns the logarithm of the word's probability.
  double add_expected(const PieceTable& table, double count, std::vector<double>& expected);
  // The pieces of the best cut, last first, of equal ones that with the longer last piece; its score. `without`: an edge
  // of that piece over the whole word is not used (-1: all are). False: there is no cut.
  bool best(const PieceTable& table, int32_t without, std::vector<int32_t>& pieces, double& score);

 private:
  struct Edge {
    uint32_t begin, end;
    int32_t piece;
  };
  double add_by_logarithms(const PieceTable& table, double count, std::vector<double>& expected);
  std::vector<Edge> edges_;  // by begin, then by end
  size_t size_ = 0, characters_ = 0;
  std::vector<double> forward_, backward_;
  std::vector<int32_t> through_;  // edge by which a place is best reached
};

}  // namespace pagoda::text_train
