// WordPiece: the longest piece first, the whole word unknown where that fails; and WordLevel, a plain lookup.
#include "base/error.h"
#include "base/utf8.h"
#include "text/model.h"
#include "text/trie.h"

namespace pagoda {

namespace {

class WordPiece final : public TokenModel {
 public:
  WordPiece(Vocab vocab, WordPieceOptions options)
      : TokenModel(std::move(vocab)), options_(std::move(options)), unk_(vocab_.find(options_.unk_token)) {
    const std::string_view prefix = options_.continuing_subword_prefix;
    for (int64_t id = 0; id < vocab_.id_limit(); ++id) {
      const std::string* const token = vocab_.token(id);
      if (token == nullptr || token->empty()) continue;
      begins_.add(*token, vocab_.find(*token));
      if (token->size() > prefix.size() && std::string_view(*token).substr(0, prefix.size()) == prefix)
        continues_.add(std::string_view(*token).substr(prefix.size()), vocab_.find(*token));
    }
  }

  bool marks_subwords() const override { return !options_.continuing_subword_prefix.empty(); }

  void tokenize(std::string_view word, std::vector<ModelToken>& out, EncodeScratch& scratch) const override {
    const bool small = word.size() <= WordCache::kMaxWordBytes;
    const uint64_t hash = small ? hash_bytes(word, seed_) : 0;
    const auto emit = [&](const WordCache::Entry* entries, size_t count) {
      uint32_t at = 0;
      for (size_t i = 0; i < count; ++i) {
        out.push_back({entries[i].id, at, at + entries[i].length});
        at += entries[i].length;
      }
    };
    WordCache::Hit hit;
    if (small && scratch.cache.find(word, hash, hit)) return emit(hit.entries, hit.count);
    scratch.entries.clear();
    split(word, scratch);
    emit(scratch.entries.data(), scratch.entries.size());
    if (small) scratch.cache.insert(word, hash, scratch.entries.data(), scratch.entries.size());
  }

 private:
  void split(std::string_view word, EncodeScratch& scratch) const {
    if (static_cast<int64_t>(utf8_length(word)) > options_.max_input_chars_per_word) return unknown(word, scratch);
    for (size_t begin = 0; begin < word.size();) {
      size_t end = begin;
      int32_t id = -1;
      (begin > 0 ? continues_ : begins_).prefixes(word.substr(begin), [&](size_t length, int32_t token) {
        const size_t to = begin + length;
        if (to < word.size() && (static_cast<unsigned char>(word[to]) & 0xC0) == 0x80) return;  // inside a character
        end = to;
        id = token;
      });
      if (id < 0) {
        scratch.entries.clear();
        return unknown(word, scratch);
      }
      scratch.entries.push_back({id, static_cast<uint32_t>(end - begin)});
      begin = end;
    }
  }

  void unknown(std::string_view word, EncodeScratch& scratch) const {
    if (unk_ < 0)
      invalid("wordpiece", "the unknown token '{}' is not in the vocabulary, and the text needs it", options_.unk_token);
    scratch.entries.push_back({unk_, static_cast<uint32_t>(word.size())});
  }

  WordPieceOptions options_;
  int32_t unk_;
  Trie begins_, continues_;  // tokens at a word's begin, and behind it without their prefix
};

class WordLevel final : public TokenModel {
 public:
  WordLevel(Vocab vocab, std::string unk_token)
      : TokenModel(std::move(vocab)), unk_token_(std::move(unk_token)), unk_(vocab_.find(unk_token_)) {}

  void tokenize(std::string_view word, std::vector<ModelToken>& out, EncodeScratch&) const override {
    int32_t id = vocab_.find(word);
    if (id < 0) id = unk_;
    if (id < 0) invalid("wordlevel", "the unknown token '{}' is not in the vocabulary, and the text needs it", unk_token_);
    out.push_back({id, 0, static_cast<uint32_t>(word.size())});
  }

 private:
  std::string unk_token_;
  int32_t unk_;
};

}  // namespace

ModelPtr make_wordpiece(Vocab vocab, const WordPieceOptions& options, std::string_view where) {
  if (vocab.longest() > kMaxPieceBytes)
    invalid(where, "token too long: got {} bytes, need at most {}", vocab.longest(), kMaxPieceBytes);
  return std::make_shared<WordPiece>(std::move(vocab), options);
}
ModelPtr make_wordlevel(Vocab vocab, std::string unk_token) {
  return std::make_shared<WordLevel>(std::move(vocab), std::move(unk_token));
}

}  // namespace pagoda
