// Byte pair encoding: initial symbols, cuts where nothing can join, merges by rank.

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_chars.h"
#include "text/is_bpe.h"
#include "text/model.h"

namespace pagoda {

namespace {

constexpr uint32_t kNoRank = ~uint32_t{0};
// Up to this many symbols a scan for the lowest rank beats a heap.
constexpr size_t kScanSymbols = 24;

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

struct MergeResult {
  uint32_t rank = kNoRank;
  int32_t id = -1;
};

// Joins linked symbols, lowest rank first, of equal ones the leftmost. `find` gives the candidate of two neighbours, if they
// join; `mark` is what tells a symbol from what it was when its candidate was found. `bytes` 0 marks a symbol that was joined
// to its left.
template <class Find, class Mark>
void join_by_heap(EncodeScratch& scratch, const Find& find, const Mark& mark) {
  using Candidate = EncodeScratch::Candidate;
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  heap.clear();
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto candidate = [&](int32_t position, Candidate& out) {
    const auto& left = symbols[static_cast<size_t>(position)];
    return left.next >= 0 && find(left, symbols[static_cast<size_t>(left.next)], position, out);
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    Candidate c;
    if (candidate(static_cast<int32_t>(i), c)) heap.push_back(c);
  }
  std::make_heap(heap.begin(), heap.end(), later);
  const auto push = [&](int32_t position) {
    Candidate c;
    if (!candidate(position, c)) return;
    heap.push_back(c);
    std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    const Candidate top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), later);
    heap.pop_back();
    auto& left = symbols[static_cast<size_t>(top.position)];
    if (left.bytes == 0 || mark(left) != top.left || left.next < 0) continue;
    auto& right = symbols[static_cast<size_t>(left.next)];
    if (mark(right) != top.right) continue;
    left.id = top.merged;
    left.bytes += right.bytes;
    right.bytes = 0;
    left.next = right.next;
    if (right.next >= 0) symbols[static_cast<size_t>(right.next)].previous = top.position;
    right.next = -1;
    if (left.previous >= 0) push(left.previous);
    push(top.position);
  }
}

class Bpe final : public TokenModel {
 public:
  Bpe(Vocab vocab, BpeOptions options) : TokenModel(std::move(vocab)), options_(std::move(options)) {
    if (!options_.unk_token.empty()) unk_ = vocab_.find(options_.unk_token);
    for (int b = 0; b < 256; ++b) {
      byte_ids_[static_cast<size_t>(b)] = vocab_.find(fmt::format("<0x{:02X}>", b));
      std::string mapped;
      utf8_append(mapped, kByteChars[static_cast<size_t>(b)]);
      raw_ids_[static_cast<size_t>(b)] = vocab_.find(mapped);
      raw_last_ids_[static_cast<size_t>(b)] = vocab_.find(mapped + options_.end_of_word_suffix);
    }
    for (uint32_t c = 0; c < 128; ++c) ascii_ids_[c] = vocab_.find(std::string(1, static_cast<char>(c)));
    plain_symbols_ = options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty();
  }

  bool marks_subwords() const override { return !options_.continuing_subword_prefix.empty(); }

  void add_merge(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
    merges_[pair_key(left, right)] = {rank, merged};
  }
  void reserve_merges(size_t count) { merges_.reserve(count); }
  void add_raw_token(std::string_view bytes, int32_t id) { raw_vocab_.add(bytes, id, "bpe"); }

  // Finds which symbols can ever meet inside a token. `products`: the merges in order.
  void prepare_cuts(const std::vector<std::array<int32_t, 3>>& products) {
    if (!plain_symbols_ || !options_.cut) return;
    // Where bytes stand for some characters and the unknown token for others, that one comes once the bytes behind it are done
    // with: a word is no row of parts.
    const bool some_bytes = std::any_of(std::begin(byte_ids_), std::end(byte_ids_), [](int32_t id) { return id < 0; });
    if (options_.byte_fallback && unk_ >= 0 && some_bytes) return;
    const size_t limit = static_cast<size_t>(vocab_.id_limit());
    std::vector<int32_t> first(limit, -1), last(limit, -1);
    std::vector<bool> product(limit, false);
    for (const auto& p : products) product[static_cast<size_t>(p[2])] = true;
    const auto is_character = [&](int32_t id) {
      const std::string* token = vocab_.token(id);
      if (token == nullptr || token->empty()) return false;
      size_t pos = 0;
      utf8_next(*token, pos);
      return pos == token->size();
    };
    const auto base = [&](int32_t id) { return !product[static_cast<size_t>(id)] || is_character(id); };
    // Usually one pass settles all, since parts come before what they make.
    for (int pass = 0; pass < 8; ++pass) {
      bool changed = false, open = false;
      for (const auto& [left, right, merged] : products) {
        for (const int32_t id : {left, right}) {
          if (base(id)) first[static_cast<size_t>(id)] = last[static_cast<size_t>(id)] = id;
        }
        const int32_t f = first[static_cast<size_t>(left)], l = last[static_cast<size_t>(right)];
        if (f < 0 || l < 0 || first[static_cast<size_t>(right)] < 0 || last[static_cast<size_t>(left)] < 0) {
          open = true;
          continue;
        }
        const size_t m = static_cast<size_t>(merged);
        if (first[m] < 0) {
          first[m] = f;
          last[m] = l;
          changed = true;
        } else if (first[m] != f || last[m] != l) {
          return;  // two ways to spell one token: no cuts
        }
      }
      if (!open) break;
      if (!changed) return;
    }
    for (const auto& [left, right, merged] : products) {
      if (first[static_cast<size_t>(right)] < 0 || last[static_cast<size_t>(left)] < 0) return;
      joins_[pair_key(last[static_cast<size_t>(left)], first[static_cast<size_t>(right)])] = 1;
    }
    can_cut_ = true;
  }

  void prepare_characters() {
    for (int64_t id = 0; id < vocab_.id_limit(); ++id) {
      const std::string* token = vocab_.token(id);
      if (token == nullptr || token->empty()) continue;
      size_t pos = 0;
      const uint32_t code = utf8_next(*token, pos);
      if (pos == token->size() && code != kReplacement) char_ids_[code] = vocab_.find(*token);
    }
    const int32_t replacement = vocab_.find("\xEF\xBF\xBD");
    if (replacement >= 0) char_ids_[kReplacement] = replacement;
  }

  void tokenize(std::string_view word, std::vector<ModelToken>& out, EncodeScratch& scratch) const override {
    if (word.empty()) return;
    if (options_.ignore_merges && word.size() <= longest_whole()) {
      const int32_t id = whole(word);
      if (id >= 0) {
        out.push_back({id, 0, static_cast<uint32_t>(word.size())});
        return;
      }
    }
    uint32_t at = 0;
    if (options_.raw_bytes || !can_cut_ || word.size() <= 8) {
      cached(word, at, out, scratch);
      return;
    }
    // Cut where two characters meet that no token holds side by side.
    size_t begin = 0, pos = 0;
    int32_t previous = -1;
    while (pos < word.size()) {
      const size_t start = pos;
      const unsigned char byte = static_cast<unsigned char>(word[pos]);
      int32_t first, last;
      if (byte < 0x80) {
        ++pos;
        first = last = ascii_ids_[byte];
      } else {
        const uint32_t code = utf8_next(word, pos);
        const int32_t* const id = char_ids_.find(code);
        first = last = id == nullptr ? -1 : *id;
      }
      if (first < 0 && options_.byte_fallback) {
        bool all = true;
        for (size_t i = start; i < pos; ++i) all = all && byte_ids_[static_cast<unsigned char>(word[i])] >= 0;
        if (all) {
          first = byte_ids_[static_cast<unsigned char>(word[start])];
          last = byte_ids_[static_cast<unsigned char>(word[pos - 1])];
        }
      }
      if (previous >= 0 && first >= 0 && joins_.find(pair_key(previous, first)) == nullptr) {
        cached(word.substr(begin, start - begin), at, out, scratch);
        begin = start;
      }
      previous = last;
    }
    cached(word.substr(begin), at, out, scratch);
  }

 private:
  // The token that spells the whole word, or -1.
  int32_t whole(std::string_view word) const { return options_.raw_bytes ? raw_vocab_.find(word) : vocab_.find(word); }
  size_t longest_whole() const { return options_.raw_bytes ? raw_vocab_.longest() : vocab_.longest(); }

  // Positions add up the tokens' own lengths: characters that no token covers take no room, as in HF.
  static void emit(const WordCache::Entry* entries, size_t count, uint32_t& at, std::vector<ModelToken>& out) {
    for (size_t i = 0; i < count; ++i) {
      out.push_back({entries[i].id, at, at + entries[i].length});
      at += entries[i].length;
    }
  }

  void cached(std::string_view word, uint32_t& at, std::vector<ModelToken>& out, EncodeScratch& scratch) const {
    if (word.size() > WordCache::kMaxWordBytes) {
      merge_word(word, scratch);
      emit(scratch.entries.data(), scratch.entries.size(), at, out);
      return;
    }
    const uint64_t hash = hash_bytes(word, seed_);
    WordCache::Hit hit;
    if (scratch.cache.find(word, hash, hit)) {
      emit(hit.entries, hit.count, at, out);
      return;
    }
    merge_word(word, scratch);
    emit(scratch.entries.data(), scratch.entries.size(), at, out);
    scratch.cache.insert(word, hash, scratch.entries.data(), scratch.entries.size());
  }

  void unknown_symbol(int32_t& pending, uint32_t& pending_bytes, uint32_t bytes, EncodeScratch& scratch) const {
    if (options_.unk_token.empty()) return;
    if (unk_ < 0) invalid("bpe", "the unknown token '{}' is not in the vocabulary, and the text needs it", options_.unk_token);
    if (pending >= 0 && options_.fuse_unk) {
      pending_bytes += bytes;
      return;
    }
    if (pending >= 0) add_symbol(pending, pending_bytes, scratch);
    pending = unk_;
    pending_bytes = bytes;
  }

  static void add_symbol(int32_t id, uint32_t bytes, EncodeScratch& scratch) {
    const int32_t n = static_cast<int32_t>(scratch.symbols.size());
    scratch.symbols.push_back({id, n - 1, n + 1, bytes});
  }

  void initial_symbols(std::string_view word, EncodeScratch& scratch) const {
    int32_t pending = -1;
    uint32_t pending_bytes = 0;
    for (size_t pos = 0; pos < word.size();) {
      const size_t start = pos;
      const unsigned char byte = static_cast<unsigned char>(word[pos]);
      int32_t id = -1;
      uint32_t code = byte;
      if (byte < 0x80) {
        ++pos;
      } else {
        code = utf8_next(word, pos);
      }
      const std::string_view character = word.substr(start, pos - start);
      std::string spelled;
      if (plain_symbols_) {
        if (byte < 0x80) {
          id = ascii_ids_[byte];
        } else if (const int32_t* known = char_ids_.find(code)) {
          id = *known;
        }
      } else {
        if (start > 0) spelled = options_.continuing_subword_prefix;
        spelled += character;
        if (pos == word.size()) spelled += options_.end_of_word_suffix;
        id = vocab_.find(spelled);
      }
      if (id >= 0) {
        if (pending >= 0) add_symbol(pending, pending_bytes, scratch);
        pending = -1;
        add_symbol(id, static_cast<uint32_t>(character.size()), scratch);
        continue;
      }
      if (options_.byte_fallback) {
        const std::string_view bytes = plain_symbols_ ? character : std::string_view(spelled);
        const bool all =
            std::all_of(bytes.begin(), bytes.end(), [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; });
        if (all) {
          for (char c : bytes) add_symbol(byte_ids_[static_cast<unsigned char>(c)], 1, scratch);
          continue;
        }
      }
      unknown_symbol(pending, pending_bytes, static_cast<uint32_t>(character.size()), scratch);
    }
    if (pending >= 0) add_symbol(pending, pending_bytes, scratch);
  }

  // Fills scratch.entries with the tokens of the word.
  void merge_word(std::string_view word, EncodeScratch& scratch) const {
    scratch.symbols.clear();
    scratch.entries.clear();
    if (options_.raw_bytes) {
      for (size_t i = 0; i + 1 < word.size(); ++i) add_symbol(raw_ids_[static_cast<unsigned char>(word[i])], 1, scratch);
      add_symbol(raw_last_ids_[static_cast<unsigned char>(word.back())], 1, scratch);
    } else {
      initial_symbols(word, scratch);
    }
    if (scratch.symbols.empty()) return;
    if (scratch.symbols.size() <= kScanSymbols) {
      merge_by_scan(scratch);
      for (const auto& symbol : scratch.symbols) scratch.entries.push_back({symbol.id, symbol.bytes});
    } else {
      merge_by_heap(scratch);
      for (int32_t i = 0; i >= 0 && i < static_cast<int32_t>(scratch.symbols.size());
           i = scratch.symbols[static_cast<size_t>(i)].next) {
        const auto& symbol = scratch.symbols[static_cast<size_t>(i)];
        scratch.entries.push_back({symbol.id, symbol.bytes});
      }
    }
  }

  MergeResult merge_of(int32_t left, int32_t right) const {
    const MergeResult* found = merges_.find(pair_key(left, right));
    return found == nullptr ? MergeResult{} : *found;
  }

  void merge_by_scan(EncodeScratch& scratch) const {
    auto& symbols = scratch.symbols;
    auto& ranks = scratch.ranks;
    ranks.assign(symbols.size(), kNoRank);
    for (size_t i = 0; i + 1 < symbols.size(); ++i) ranks[i] = merge_of(symbols[i].id, symbols[i + 1].id).rank;
    while (symbols.size() > 1) {
      size_t best = 0;
      uint32_t best_rank = kNoRank;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        if (ranks[i] < best_rank) {
          best_rank = ranks[i];
          best = i;
        }
      }
      if (best_rank == kNoRank) return;
      symbols[best].id = merge_of(symbols[best].id, symbols[best + 1].id).id;
      symbols[best].bytes += symbols[best + 1].bytes;
      symbols.erase(symbols.begin() + static_cast<int64_t>(best) + 1);
      ranks.erase(ranks.begin() + static_cast<int64_t>(best) + 1);
      ranks[best] = best + 1 < symbols.size() ? merge_of(symbols[best].id, symbols[best + 1].id).rank : kNoRank;
      if (best > 0) ranks[best - 1] = merge_of(symbols[best - 1].id, symbols[best].id).rank;
    }
  }

  void merge_by_heap(EncodeScratch& scratch) const {
    scratch.symbols.back().next = -1;
    join_by_heap(
        scratch,
        [&](const auto& left, const auto& right, int32_t position, EncodeScratch::Candidate& out) {
          const MergeResult merge = merge_of(left.id, right.id);
          if (merge.rank == kNoRank) return false;
          out = {merge.rank, position, left.id, right.id, merge.id};
          return true;
        },
        [](const auto& symbol) { return symbol.id; });
  }

  BpeOptions options_;
  int32_t unk_ = -1;
  bool plain_symbols_ = true, can_cut_ = false;
  int32_t byte_ids_[256], raw_ids_[256], raw_last_ids_[256], ascii_ids_[128];
  FlatMap<int32_t> char_ids_;
  FlatMap<MergeResult> merges_;
  FlatMap<uint8_t> joins_;  // pairs of initial symbols that some token holds side by side
  Vocab raw_vocab_;         // tokens by their raw bytes, for ignore_merges
};

// Two neighbours join where their bytes are a token; the model below sees one symbol a byte.
class RankBpe final : public TokenModel {
 public:
  RankBpe(Vocab vocab, std::string_view where) : TokenModel(std::move(vocab)) {
    for (int b = 0; b < 256; ++b) {
      const char byte = static_cast<char>(b);
      byte_ids_[b] = vocab_.find(std::string_view(&byte, 1));
    }
    for (int b = 0; b < 256; ++b) {
      if (byte_ids_[b] < 0) invalid(where, "no token for byte {}: every single byte must be a token", b);
    }
  }

  void tokenize(std::string_view word, std::vector<ModelToken>& out, EncodeScratch& scratch) const override {
    if (word.empty()) return;
    const auto emit = [&](const WordCache::Entry* entries, size_t count) {
      uint32_t at = 0;
      for (size_t i = 0; i < count; ++i) {
        out.push_back({entries[i].id, at, at + entries[i].length});
        at += entries[i].length;
      }
    };
    const bool small = word.size() <= WordCache::kMaxWordBytes;
    const uint64_t hash = small ? hash_bytes(word, seed_) : 0;
    WordCache::Hit hit;
    if (small && scratch.cache.find(word, hash, hit)) return emit(hit.entries, hit.count);
    scratch.entries.clear();
    const int32_t id = vocab_.find(word);
    if (id >= 0) {
      scratch.entries.push_back({id, static_cast<uint32_t>(word.size())});
    } else {
      merge(word, scratch);
    }
    emit(scratch.entries.data(), scratch.entries.size());
    if (small) scratch.cache.insert(word, hash, scratch.entries.data(), scratch.entries.size());
  }

 private:
  void merge(std::string_view word, EncodeScratch& scratch) const {
    auto& symbols = scratch.symbols;
    symbols.clear();
    for (size_t i = 0; i < word.size(); ++i) {
      const int32_t n = static_cast<int32_t>(i);
      symbols.push_back({byte_ids_[static_cast<unsigned char>(word[i])], n - 1, i + 1 < word.size() ? n + 1 : -1, 1});
    }
    join_by_heap(
        scratch,
        [&](const auto& left, const auto& right, int32_t position, EncodeScratch::Candidate& out) {
          const size_t bytes = left.bytes + right.bytes;
          if (bytes > vocab_.longest()) return false;
          const int32_t id = vocab_.find(word.substr(static_cast<size_t>(position), bytes));
          if (id < 0) return false;
          out = {static_cast<uint32_t>(id), position, static_cast<int32_t>(left.bytes), static_cast<int32_t>(right.bytes), id};
          return true;
        },
        [](const auto& symbol) { return static_cast<int32_t>(symbol.bytes); });
    for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
      scratch.entries.push_back({symbols[static_cast<size_t>(i)].id, symbols[static_cast<size_t>(i)].bytes});
    }
  }

  int32_t byte_ids_[256];
};

}  // namespace

ModelPtr make_bpe(Vocab vocab, const std::vector<Merge>& merges, const BpeOptions& options, std::string_view where) {
  std::shared_ptr<Bpe> model = std::make_shared<Bpe>(std::move(vocab), options);
  std::vector<std::array<int32_t, 3>> products;
  products.reserve(merges.size());
  model->reserve_merges(merges.size());
  const Vocab& tokens = model->vocab();
  const auto id_of = [&](std::string_view token) {
    const int32_t id = tokens.find(token);
    if (id < 0) invalid(where, "merge {} names '{}', which is not in the vocabulary", products.size(), token);
    return id;
  };
  std::string joined;
  const size_t prefix = options.continuing_subword_prefix.size();
  for (const Merge& merge : merges) {
    if (merge.right.size() < prefix)
      invalid(where, "merge {}: '{}' lacks the prefix '{}'", products.size(), merge.right, options.continuing_subword_prefix);
    joined = merge.left;
    joined.append(merge.right, prefix, std::string::npos);
    const int32_t left = id_of(merge.left), right = id_of(merge.right), merged = id_of(joined);
    model->add_merge(left, right, static_cast<uint32_t>(products.size()), merged);
    products.push_back({left, right, merged});
  }
  if (!options.raw_bytes) {
    model->prepare_characters();
    model->prepare_cuts(products);
  } else if (options.ignore_merges) {
    std::string raw;
    for (int64_t id = 0; id < tokens.id_limit(); ++id) {
      const std::string* token = tokens.token(id);
      if (token == nullptr) continue;
      raw.clear();
      bool all = true;
      for (size_t pos = 0; pos < token->size() && all;) {
        const int byte = byte_of_char(utf8_next(*token, pos));
        all = byte >= 0;
        raw += static_cast<char>(byte);
      }
      if (all && !raw.empty()) model->add_raw_token(raw, tokens.find(*token));
    }
  }
  return model;
}

bool covers_all_bytes(const Vocab& vocab, std::string_view suffix) {
  for (const uint16_t code : kByteChars) {
    std::string token;
    utf8_append(token, code);
    if (vocab.find(token) < 0) return false;
    token += suffix;
    if (vocab.find(token) < 0) return false;
  }
  return true;
}

bool is_bpe(const TokenModel& model) {
  return dynamic_cast<const Bpe*>(&model) != nullptr || dynamic_cast<const RankBpe*>(&model) != nullptr;
}

ModelPtr make_rank_bpe(Vocab vocab, std::string_view where) { return std::make_shared<RankBpe>(std::move(vocab), where); }

}  // namespace pagoda
