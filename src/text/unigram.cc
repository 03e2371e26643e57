// Unigram as Hugging Face's library computes it: best path by double scores, the first of equal ones kept.

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "text/model.h"
#include "text/trie.h"

namespace pagoda {

namespace {

constexpr double kUnknownPenalty = 10.0;

class Unigram final : public TokenModel {
 public:
  Unigram(Vocab vocab, std::vector<double> scores, int32_t unk_id, bool byte_fallback)
      : TokenModel(std::move(vocab)), scores_(std::move(scores)), unk_(unk_id), byte_fallback_(byte_fallback) {
    double lowest = 0;
    for (size_t i = 0; i < scores_.size(); ++i) lowest = i == 0 ? scores_[i] : std::min(lowest, scores_[i]);
    unk_score_ = lowest - kUnknownPenalty;
    for (int64_t id = 0; id < vocab_.id_limit(); ++id) {
      const std::string* token = vocab_.token(id);
      if (token != nullptr && !token->empty()) trie_.add(*token, vocab_.find(*token));
    }
    for (int b = 0; b < 256; ++b) byte_ids_[b] = vocab_.find(fmt::format("<0x{:02X}>", b));
  }

  bool value_is_surface() const override { return true; }
  int64_t vocab_size() const override { return static_cast<int64_t>(scores_.size()); }

  void tokenize(std::string_view word, std::vector<ModelToken>& out, EncodeScratch& scratch) const override {
    if (word.empty()) return;
    const auto emit = [&](const WordCache::Entry* entries, size_t count) {
      uint32_t at = 0;
      for (size_t i = 0; i < count; ++i) unit(word, at, entries[i], out);
    };
    const bool small = word.size() <= WordCache::kMaxWordBytes;
    const uint64_t hash = small ? hash_bytes(word, seed_) : 0;
    WordCache::Hit hit;
    if (small && scratch.cache.find(word, hash, hit)) return emit(hit.entries, hit.count);
    best_path(word, scratch);
    emit(scratch.entries.data(), scratch.entries.size());
    if (small) scratch.cache.insert(word, hash, scratch.entries.data(), scratch.entries.size());
  }

 private:
  void unit(std::string_view word, uint32_t& at, const WordCache::Entry& entry, std::vector<ModelToken>& out) const {
    const uint32_t begin = at, end = at + entry.length;
    at = end;
    if (entry.id >= 0) {
      out.push_back({entry.id, begin, end});
      return;
    }
    // An unknown stretch: as bytes where every byte is a token.
    const std::string_view surface = word.substr(begin, entry.length);
    if (byte_fallback_ &&
        std::all_of(surface.begin(), surface.end(), [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; })) {
      for (char c : surface) out.push_back({byte_ids_[static_cast<unsigned char>(c)], begin, end});
      return;
    }
    out.push_back({unk_, begin, end});
  }

  // Fills scratch.entries; id -1 marks a stretch of unknown characters.
  void best_path(std::string_view word, EncodeScratch& scratch) const {
    constexpr uint32_t kNone = ~uint32_t{0};
    auto& score = scratch.scores;
    auto& start = scratch.best_start;
    auto& id = scratch.best_id;
    score.assign(word.size() + 1, 0.0);
    start.assign(word.size() + 1, kNone);
    id.assign(word.size() + 1, 0);
    for (size_t pos = 0; pos < word.size();) {
      size_t next = pos;
      utf8_next(word, next);
      const size_t character = next - pos;
      const double here = score[pos];
      bool single = false;
      const auto offer = [&](size_t length, int32_t token, double candidate) {
        const size_t end = pos + length;
        if (start[end] != kNone && !(candidate > score[end])) return false;
        score[end] = candidate;
        start[end] = static_cast<uint32_t>(pos);
        id[end] = token;
        return true;
      };
      trie_.prefixes(word.substr(pos), [&](size_t length, int32_t token) {
        offer(length, token, scores_[static_cast<size_t>(token)] + here);
        single = single || length == character;
      });
      if (!single && offer(character, unk_, unk_score_ + here) && unk_ < 0)
        invalid("unigram", "the text needs an unknown token, but the model has no unk_id");
      pos = next;
    }
    auto& entries = scratch.entries;
    entries.clear();
    for (size_t end = word.size(); end > 0;) {
      const size_t begin = start[end];
      const uint32_t length = static_cast<uint32_t>(end - begin);
      if (id[end] == unk_ && unk_ >= 0) {
        if (!entries.empty() && entries.back().id == -1) {
          entries.back().length += length;
        } else {
          entries.push_back({-1, length});
        }
      } else {
        entries.push_back({id[end], length});
      }
      end = begin;
    }
    std::reverse(entries.begin(), entries.end());
    // A stretch joined from unknown characters may spell a token after all.
    size_t at = 0;
    for (auto& entry : entries) {
      if (entry.id == -1) {
        const int32_t known = vocab_.find(word.substr(at, entry.length));
        if (known >= 0) entry.id = known;
      }
      at += entry.length;
    }
  }

  std::vector<double> scores_;
  int32_t unk_;  // -1: none
  bool byte_fallback_;
  double unk_score_ = 0;
  Trie trie_;
  int32_t byte_ids_[256];
};

}  // namespace

ModelPtr make_unigram(std::vector<UnigramPiece> pieces, std::optional<int64_t> unk_id, bool byte_fallback,
                      std::string_view where) {
  if (unk_id && (*unk_id < 0 || *unk_id >= static_cast<int64_t>(pieces.size()))) {
    invalid(where, "unk_id outside of the vocabulary: got {}, need 0 or more, and less than {}", *unk_id, pieces.size());
  }
  Vocab vocab;
  vocab.reserve(pieces.size());
  std::vector<double> scores;
  scores.reserve(pieces.size());
  for (const UnigramPiece& piece : pieces) {
    if (piece.token.size() > kMaxPieceBytes)
      invalid(where, "piece {} too long: got {} bytes, need at most {}", scores.size(), piece.token.size(), kMaxPieceBytes);
    vocab.add(piece.token, static_cast<int64_t>(scores.size()), where);
    scores.push_back(piece.score);
  }
  return std::make_shared<Unigram>(std::move(vocab), std::move(scores), static_cast<int32_t>(unk_id.value_or(-1)),
                                   byte_fallback);
}

}  // namespace pagoda
