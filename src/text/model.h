// What turns a word into tokens: the interface of BPE, WordPiece, Unigram and WordLevel, and their working memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/vocab.h"

namespace pagoda {

struct ModelToken {
  int32_t id;
  uint32_t begin, end;  // bytes of the word
};

// Words seen before and their tokens, in bounded memory; when full it starts anew. Belongs to one thread at a time.
class WordCache {
 public:
  struct Entry {
    int32_t id;
    uint32_t length;  // bytes
  };
  static constexpr size_t kMaxWordBytes = 128;
  struct Hit {
    const Entry* entries = nullptr;
    uint32_t count = 0;
  };
  bool find(std::string_view word, uint64_t hash, Hit& hit) const;
  // The word must not be in the cache yet.
  void insert(std::string_view word, uint64_t hash, const Entry* entries, size_t count);
  void clear();

 private:
  static constexpr size_t kSlots = size_t{1} << 15;
  static constexpr size_t kMaxWords = kSlots / 2;
  static constexpr size_t kMaxBytes = size_t{1} << 20;
  struct Slot {
    uint64_t hash = 0;
    uint32_t key = 0, entries = 0;
    uint16_t key_bytes = 0, count = 0;
    bool used = false;
  };
  std::vector<Slot> slots_;
  std::string keys_;
  std::vector<Entry> entries_;
  size_t words_ = 0;
};

// Working memory of one encoding thread.
struct EncodeScratch {
  struct Symbol {
    int32_t id;
    int32_t previous, next;
    uint32_t bytes;
  };
  struct Candidate {
    uint32_t rank;
    int32_t position;
    int32_t left, right, merged;
  };
  RegexScratch regex;
  WordCache cache;
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::vector<uint32_t> ranks;
  std::vector<WordCache::Entry> entries;
  std::vector<ModelToken> tokens;
  std::vector<double> scores;
  std::vector<int32_t> best_id;
  std::vector<uint32_t> best_start;
  std::string buffer;
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the tokens of one word.
  virtual void tokenize(std::string_view word, std::vector<ModelToken>& out, EncodeScratch& scratch) const = 0;
  // True where a token's text is the text it covers, not its vocabulary entry (Unigram's unknown pieces).
  virtual bool value_is_surface() const { return false; }
  // See Tokenizer::marks_subwords.
  virtual bool marks_subwords() const { return false; }
  const Vocab& vocab() const { return vocab_; }
  virtual int64_t vocab_size() const { return vocab_.size(); }

 protected:
  explicit TokenModel(Vocab vocab) : vocab_(std::move(vocab)) {}
  Vocab vocab_;
  const uint64_t seed_ = hash_seed();  // of the word cache
};

using ModelPtr = std::shared_ptr<const TokenModel>;

struct Merge {
  std::string left, right;
};

struct BpeOptions {
  std::string unk_token;  // empty: characters that are no token vanish
  std::string continuing_subword_prefix, end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a word that is a token is that token
  bool raw_bytes = false;      // words are raw bytes, tokens are spelled in GPT-2's byte characters
  bool cut = true;             // cut long words where no merge can join (exact; off only to test that)
};

// Merges in order of rank. Throws kInvalidInput where a merge names strings that are no tokens.
ModelPtr make_bpe(Vocab vocab, const std::vector<Merge>& merges, const BpeOptions& options, std::string_view where);
// True where every byte has its GPT-2 character in the vocabulary, so that raw_bytes gives what mapped text gives.
bool covers_all_bytes(const Vocab& vocab, std::string_view suffix);
// Byte pair encoding by token rank (tiktoken): two neighbours join where their bytes together are a token, lowest rank first.
// The vocabulary holds raw bytes; ids are ranks.
ModelPtr make_rank_bpe(Vocab vocab, std::string_view where);

// At every character the pieces that begin there are read as far as the longest goes: a bound makes long texts linear.
constexpr size_t kMaxPieceBytes = 8000;

struct WordPieceOptions {
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";
  int64_t max_input_chars_per_word = 100;
};
// Throws kInvalidInput for tokens of over kMaxPieceBytes.
ModelPtr make_wordpiece(Vocab vocab, const WordPieceOptions& options, std::string_view where);

ModelPtr make_wordlevel(Vocab vocab, std::string unk_token);

struct UnigramPiece {
  std::string token;
  double score;
};
// Ids are positions. Throws kInvalidInput for an unk_id that is none of them, and for pieces of over kMaxPieceBytes.
ModelPtr make_unigram(std::vector<UnigramPiece> pieces, std::optional<int64_t> unk_id, bool byte_fallback,
                      std::string_view where);

}  // namespace pagoda
