// The sums are in float and in the original's order, since equal scores decide.
#include "text/sentencepiece.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/utf8.h"
#include "text/trie.h"

namespace pagoda {

namespace {

using Type = SentencePieceModel::Type;
using Kind = SentencePieceModel::Kind;

constexpr std::string_view kSpace = "\xE2\x96\x81";
constexpr std::string_view kReplacementText = "\xEF\xBF\xBD";
constexpr float kUnknownPenalty = 10.0f;
constexpr float kResetThreshold = 100000.0f;  // where Unigram's sums are brought back to zero
constexpr size_t kMaxTextBytes = size_t{1} << 30;
constexpr int kMaxResegmentDepth = 100;

size_t char_length(std::string_view text, size_t pos) {
  const unsigned char first = static_cast<unsigned char>(text[pos]);
  const size_t length = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  return std::min(length, text.size() - pos);
}

int byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; };
  const int high = digit(piece[3]), low = digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// A piece's text: a space for each mark of one.
std::string with_spaces(std::string_view piece) {
  std::string out;
  for (size_t pos = 0; pos < piece.size();) {
    if (piece.substr(pos, kSpace.size()) == kSpace) {
      out += ' ';
      pos += kSpace.size();
    } else {
      out += piece[pos++];
    }
  }
  return out;
}

struct Unit {
  int32_t id;
  uint32_t begin, end;  // bytes of the normalised text
};

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(SentencePieceModel model, const SentencePieceOptions& options, std::string_view where)
      : model_(std::move(model)), options_(options) {
    // Unigram, word and character models look only normal pieces up in the text; BPE keeps the others from merging by their
    // type.
    std::vector<bool> byte_found(256, false);
    std::fill(std::begin(byte_ids_), std::end(byte_ids_), -1);
    min_score_ = 3.402823466e+38f;
    if (model_.pieces.size() > static_cast<size_t>(Vocab::kMaxId))
      invalid(where, "too many pieces: got {}, need at most {}", model_.pieces.size(), Vocab::kMaxId);
    pieces_.reserve(model_.pieces.size());
    for (size_t i = 0; i < model_.pieces.size(); ++i) {
      const SentencePieceModel::Piece& piece = model_.pieces[i];
      const int32_t id = static_cast<int32_t>(i);
      if (piece.text.empty()) invalid(where, "piece {} is empty", i);
      if (piece.text.size() >= kMaxPieceBytes)
        invalid(where, "piece {} too long: got {} bytes, need less than {}", i, piece.text.size(), kMaxPieceBytes);
      if (!std::isfinite(piece.score)) invalid(where, "piece {} has no finite score", i);
      if (piece.type == Type::kNormal) min_score_ = std::min(min_score_, piece.score);
      const bool null_piece = piece.text == std::string(1, '\0') && piece.type == Type::kUnused;
      if (!null_piece && piece.text.find('\0') != std::string::npos) invalid(where, "piece {} holds a NUL", i);
      if (piece.type == Type::kByte) {
        const int byte = byte_of_piece(piece.text);
        if (byte < 0) invalid(where, "byte piece {}: got '{}', need <0x00> to <0xFF>", i, piece.text);
        byte_found[static_cast<size_t>(byte)] = true;
        byte_ids_[byte] = id;
      }
      if (piece.type == Type::kUnknown) {
        if (unk_ >= 0) invalid(where, "two unknown pieces: {} and {}", unk_, i);
        unk_ = id;
      }
      if (piece.type == Type::kUserDefined) user_defined_.add(piece.text, id);
      if (null_piece) continue;
      Vocab& target = is_normal(piece.type) || model_.kind == Kind::kBpe ? pieces_ : reserved_;
      if (target.find(piece.text) >= 0) invalid(where, "piece '{}' is there twice", piece.text);
      target.add(piece.text, id, where);
      if (model_.kind == Kind::kUnigram && is_normal(piece.type)) trie_.add(piece.text, id);
    }
    if (unk_ < 0 && !model_.byte_fallback) invalid(where, "no unknown piece, and no byte fallback");
    if (model_.byte_fallback && std::find(byte_found.begin(), byte_found.end(), false) != byte_found.end()) {
      invalid(where, "byte fallback without all 256 byte pieces");
    }
    for (const auto& [token, id] : options_.added) added_.add_with_id(token, id);
    added_.prepare(nullptr);
  }

  Encoding encode(std::string_view text, const EncodeOptions& options) const override {
    Encoding out;
    out.with_offsets = options.offsets;
    if (options.add_special_tokens && options_.bos_id >= 0) special(options_.bos_id, 0, out);
    encode_text(text, 0, options, out);
    if (options.add_special_tokens && options_.eos_id >= 0) special(options_.eos_id, 0, out);
    return out;
  }

  Encoding encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options) const override {
    Encoding out = encode(first, options);
    Encoding other = encode(second, options);
    std::fill(other.type_ids.begin(), other.type_ids.end(), 1);
    out.append(other);
    return out;
  }

  int64_t vocab_size() const override { return id_limit(); }
  int64_t id_limit() const override {
    return std::max<int64_t>(static_cast<int64_t>(model_.pieces.size()), int64_t{added_.largest_id()} + 1);
  }

  std::optional<int32_t> token_to_id(std::string_view token) const override {
    int32_t id = added_.find(token);
    if (id < 0) id = reserved_.find(token);
    if (id < 0) id = pieces_.find(token);
    if (id < 0) return std::nullopt;
    return id;
  }
  std::string id_to_token(int32_t id) const override {
    if (const AddedToken* token = added_.token(id)) return token->content;
    return id >= 0 && static_cast<size_t>(id) < model_.pieces.size() ? model_.pieces[static_cast<size_t>(id)].text
                                                                     : std::string();
  }
  bool is_special(int32_t id) const override {
    if (const AddedToken* token = added_.token(id)) return token->special;
    return id >= 0 && static_cast<size_t>(id) < model_.pieces.size() && type(id) == Type::kControl;
  }

  std::optional<std::string> token_bytes(int32_t id) const override {
    if (const AddedToken* const added = added_.token(id)) {
      return added->special ? std::nullopt : std::optional<std::string>(added->content);
    }
    if (id < 0 || static_cast<size_t>(id) >= model_.pieces.size()) return std::nullopt;
    if (type(id) == Type::kControl || type(id) == Type::kUnknown) return std::nullopt;
    const std::string& piece = model_.pieces[static_cast<size_t>(id)].text;
    if (type(id) == Type::kByte) return std::string(1, static_cast<char>(byte_of_piece(piece)));
    return with_spaces(piece);
  }

 protected:
  // Tokens travel to the stage as their ids, since their type decides.
  bool decode_token(int32_t id, bool skip_special_tokens, std::string& token) const override {
    const bool known = added_.token(id) != nullptr || (id >= 0 && static_cast<size_t>(id) < model_.pieces.size());
    if (!known || (skip_special_tokens && is_special(id))) return false;
    token = std::to_string(id);
    return true;
  }

  std::unique_ptr<DecodeStage> decode_stage(DecodeStage* next) const override { return std::make_unique<Stage>(*this, next); }

 private:
  class Stage final : public PlainStage<Stage> {
   public:
    Stage(const SentencePieceTokenizer& owner, DecodeStage* next) : PlainStage(next), owner_(owner) {}
    void put(std::string_view text, bool) override {
      const int32_t id = static_cast<int32_t>(std::atoi(std::string(text).c_str()));
      const AddedToken* const added = owner_.added_.token(id);
      if (added == nullptr && owner_.type(id) == Type::kByte) {
        bytes_ += static_cast<char>(byte_of_piece(owner_.model_.pieces[static_cast<size_t>(id)].text));
        flush(false);
        return;
      }
      flush(true);
      if (any_) at_start_ = false;
      if (added != nullptr) return emit(added->content);
      if (owner_.type(id) == Type::kControl) return;
      std::string_view piece = owner_.model_.pieces[static_cast<size_t>(id)].text;
      bool consumed = false;
      const bool strips = owner_.model_.add_dummy_prefix || owner_.model_.remove_extra_whitespaces;
      if (at_start_ && strips && piece.substr(0, kSpace.size()) == kSpace) {
        piece.remove_prefix(kSpace.size());
        consumed = !owner_.model_.remove_extra_whitespaces;
      }
      if (owner_.type(id) == Type::kUnknown) {
        emit(owner_.model_.unk_surface);
      } else {
        emit(with_spaces(piece));
      }
      if (consumed || any_) at_start_ = false;
    }
    void finish() override {
      flush(true);
      next_->finish();
    }

   private:
    void emit(std::string_view text) {
      if (text.empty()) return;
      any_ = true;
      next_->put(text, false);
    }
    // Bytes to characters; an ill-formed byte is U+FFFD alone. Without `all`, an unfinished character waits.
    void flush(bool all) {
      while (!bytes_.empty()) {
        size_t pos = 0;
        const uint32_t code = utf8_next(bytes_, pos);
        const bool valid = code != kReplacement || std::string_view(bytes_).substr(0, 3) == kReplacementText;
        if (valid) {
          emit(std::string_view(bytes_).substr(0, pos));
          bytes_.erase(0, pos);
          continue;
        }
        if (!all && utf8_complete_prefix(bytes_) == 0) return;
        emit(kReplacementText);
        bytes_.erase(0, 1);
      }
    }
    const SentencePieceTokenizer& owner_;
    std::string bytes_;
    bool at_start_ = true;  // a leading space may still go
    bool any_ = false;      // some text is out
  };

  static bool is_normal(Type type) { return type == Type::kNormal || type == Type::kUserDefined || type == Type::kUnused; }
  Type type(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < model_.pieces.size() ? model_.pieces[static_cast<size_t>(id)].type
                                                                     : Type::kNormal;
  }

  void special(int32_t id, int32_t type_id, Encoding& out) const {
    out.ids.push_back(id);
    out.type_ids.push_back(type_id);
    out.special_tokens_mask.push_back(1);
    out.attention_mask.push_back(1);
    if (!out.with_offsets) return;
    out.offsets.emplace_back(0, 0);
    out.tokens.push_back(id_to_token(id));
  }

  void encode_text(std::string_view text, int32_t type_id, const EncodeOptions& options, Encoding& out) const {
    const size_t bad = utf8_invalid_at(text);
    if (bad != std::string_view::npos) invalid("tokenizer", "text is no valid UTF-8: got an ill-formed byte at {}", bad);
    if (text.size() > kMaxTextBytes)
      invalid("tokenizer", "text too long: got {} bytes, need at most {}", text.size(), kMaxTextBytes);
    std::vector<uint32_t> chars;  // code point position of each byte
    if (options.offsets) {
      chars.resize(text.size() + 1);
      uint32_t count = 0;
      for (size_t i = 0; i < text.size(); ++i) {
        chars[i] = count;
        if (i + 1 == text.size() || (static_cast<unsigned char>(text[i + 1]) & 0xC0) != 0x80) ++count;
      }
      chars[text.size()] = count;
    }
    const auto add = [&](int32_t id, size_t begin, size_t end, std::string token) {
      out.ids.push_back(id);
      out.type_ids.push_back(type_id);
      out.special_tokens_mask.push_back(0);
      out.attention_mask.push_back(1);
      if (!options.offsets) return;
      out.offsets.emplace_back(chars[begin], chars[end]);
      out.tokens.push_back(std::move(token));
    };
    if (added_.empty()) return encode_part(text, 0, options.offsets, add);
    RegexScratch scratch;
    PreTokenized parts;
    added_.extract(text, nullptr, false, parts, scratch, options.special_as_text);
    for (const PreTokenized::Piece& part : parts.pieces) {
      if (part.token >= 0) {
        add(part.token, part.shift, part.shift + (part.end - part.begin), id_to_token(part.token));
      } else {
        encode_part(std::string_view(parts.text).substr(part.begin, part.end - part.begin), part.shift, options.offsets, add);
      }
    }
  }

  template <class Add>
  void encode_part(std::string_view text, size_t shift, bool offsets, Add&& add) const {
    std::string normalized;
    std::vector<uint32_t> origin;
    normalize(text, normalized, offsets ? &origin : nullptr);
    std::vector<Unit> units;
    switch (model_.kind) {
      case Kind::kBpe: bpe(normalized, units); break;
      case Kind::kUnigram: unigram(normalized, units); break;
      case Kind::kChar: characters(normalized, units); break;
      case Kind::kWord: words(normalized, units); break;
    }
    const auto from = [&](uint32_t pos) { return offsets ? shift + origin[pos] : 0; };
    for (size_t i = 0; i < units.size(); ++i) {
      const Unit& unit = units[i];
      const bool unknown = unit.id == unk_ || unit.id < 0;
      if (unknown && model_.byte_fallback) {
        for (uint32_t b = unit.begin; b < unit.end; ++b) {
          const int32_t id = byte_ids_[static_cast<unsigned char>(normalized[b])];
          const bool last = b + 1 == unit.end;
          add(id, from(unit.begin), last ? from(unit.end) : from(unit.begin), model_.pieces[static_cast<size_t>(id)].text);
        }
        continue;
      }
      uint32_t end = unit.end;
      if (unknown) {
        while (i + 1 < units.size() && units[i + 1].id == unit.id) end = units[++i].end;  // a run of unknowns is one
      }
      add(unit.id, from(unit.begin), from(end), normalized.substr(unit.begin, end - unit.begin));
    }
  }

  // The next characters of text as they come out, and how many bytes they took.
  std::string_view normalize_prefix(std::string_view text, size_t& consumed) const {
    size_t longest = 0;
    user_defined_.prefixes(text, [&](size_t length, int32_t) { longest = length; });
    if (longest > 0) {
      consumed = longest;
      return text.substr(0, longest);
    }
    const Charsmap::Match match = model_.charsmap.longest(text);
    if (match.length > 0) {
      consumed = match.length;
      return match.replacement;
    }
    consumed = char_length(text, 0);
    return text.substr(0, consumed);
  }

  void normalize(std::string_view text, std::string& out, std::vector<uint32_t>* origin) const {
    const size_t limit = AlignedText::growth_limit(text.size());
    size_t put = 0;  // bytes that the map made, spaces dropped again included
    const std::string_view space = model_.escape_whitespaces ? kSpace : std::string_view(" ");
    size_t at = 0, consumed = 0;
    const auto add_space = [&] {
      out += space;
      if (origin != nullptr) origin->insert(origin->end(), space.size(), static_cast<uint32_t>(at));
    };
    if (text.empty()) {
      if (origin != nullptr) origin->push_back(0);
      return;
    }
    if (model_.remove_extra_whitespaces) {
      while (at < text.size() && normalize_prefix(text.substr(at), consumed) == " ") at += consumed;
    }
    if (at == text.size()) {
      if (origin != nullptr) origin->push_back(static_cast<uint32_t>(at));
      return;
    }
    out.reserve(text.size() + text.size() / 2);
    const bool prefixes = !model_.treat_whitespace_as_suffix && model_.add_dummy_prefix;
    if (prefixes) add_space();
    bool after_space = model_.remove_extra_whitespaces;
    while (at < text.size()) {
      std::string_view piece = normalize_prefix(text.substr(at), consumed);
      put += piece.size();
      if (put > limit) check_growth(put, limit);
      while (after_space && !piece.empty() && piece[0] == ' ') piece.remove_prefix(1);
      if (!piece.empty()) {
        for (const char c : piece) {
          if (c == ' ') {
            add_space();
          } else {
            out += c;
            if (origin != nullptr) origin->push_back(static_cast<uint32_t>(at));
          }
        }
        after_space = piece.back() == ' ';
      }
      at += consumed;
      if (!model_.remove_extra_whitespaces) after_space = false;
    }
    if (model_.remove_extra_whitespaces) {
      while (out.size() >= space.size() && std::string_view(out).substr(out.size() - space.size()) == space) {
        out.resize(out.size() - space.size());
        if (origin != nullptr) {
          at = (*origin)[out.size()];
          origin->resize(out.size());
        }
      }
    }
    if (model_.treat_whitespace_as_suffix && model_.add_dummy_prefix) add_space();
    if (origin != nullptr) origin->push_back(static_cast<uint32_t>(at));
  }

  size_t user_prefix(std::string_view text, size_t pos, bool& user_defined) const {
    size_t longest = 0;
    user_defined_.prefixes(text.substr(pos), [&](size_t length, int32_t) { longest = length; });
    user_defined = longest > 0;
    return user_defined ? longest : char_length(text, pos);
  }

  int32_t known_or_unknown(std::string_view piece) const {
    const int32_t id = pieces_.find(piece);
    return id < 0 || type(id) == Type::kUnused ? unk_ : id;
  }

  void characters(std::string_view text, std::vector<Unit>& units) const {
    for (size_t pos = 0; pos < text.size();) {
      bool user_defined = false;
      const size_t length = user_prefix(text, pos, user_defined);
      units.push_back(
          {known_or_unknown(text.substr(pos, length)), static_cast<uint32_t>(pos), static_cast<uint32_t>(pos + length)});
      pos += length;
    }
  }

  void words(std::string_view text, std::vector<Unit>& units) const {
    for (size_t begin = 0; begin < text.size();) {
      size_t end = text.find(kSpace, begin + char_length(text, begin));
      if (end == std::string_view::npos) end = text.size();
      units.push_back(
          {known_or_unknown(text.substr(begin, end - begin)), static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
      begin = end;
    }
  }

  void unigram(std::string_view text, std::vector<Unit>& units) const {
    constexpr uint32_t kNone = ~uint32_t{0};
    struct Node {
      int32_t id = -1;
      float score = 0;
      uint32_t start = kNone;
    };
    if (text.empty()) return;
    std::vector<Node> best(text.size() + 1);
    const float unknown_score = min_score_ - kUnknownPenalty;
    size_t frontier = 0;
    for (size_t pos = 0; pos < text.size();) {
      float here = best[pos].score;
      if (here < -kResetThreshold || here > kResetThreshold) {
        for (size_t i = pos; i <= frontier; ++i) {
          if (i == pos || best[i].start != kNone) best[i].score -= here;
        }
        here = 0.0f;
      }
      const size_t character = char_length(text, pos);
      bool single = false;
      const auto offer = [&](size_t length, int32_t id, float score) {
        frontier = std::max(frontier, pos + length);
        Node& node = best[pos + length];
        const float candidate = score + here;
        if (node.start != kNone && !(candidate > node.score)) return;
        node = {id, candidate, static_cast<uint32_t>(pos)};
      };
      trie_.prefixes(text.substr(pos), [&](size_t length, int32_t id) {
        const SentencePieceModel::Piece& piece = model_.pieces[static_cast<size_t>(id)];
        if (piece.type == Type::kUnused) return;
        const bool user = piece.type == Type::kUserDefined;
        offer(length, id, user ? static_cast<float>(0.1 * (static_cast<int>(length) - 1)) : piece.score);
        single = single || length == character;
      });
      if (!single) offer(character, unk_, unknown_score);
      pos += character;
    }
    for (size_t end = text.size(); end > 0; end = best[end].start) {
      units.push_back({best[end].id, best[end].start, static_cast<uint32_t>(end)});
    }
    std::reverse(units.begin(), units.end());
  }

  // Neighbours whose text together is a piece join, best score first, then leftmost.
  void bpe(std::string_view text, std::vector<Unit>& units) const {
    struct Symbol {
      uint32_t begin, size;
      int32_t previous, next;
      bool frozen;
    };
    struct Candidate {
      float score;
      uint32_t left, right, size;
    };
    std::vector<Symbol> symbols;
    symbols.reserve(text.size());
    for (size_t pos = 0; pos < text.size();) {
      bool frozen = false;
      const size_t length = user_prefix(text, pos, frozen);
      const int32_t n = static_cast<int32_t>(symbols.size());
      symbols.push_back(
          {static_cast<uint32_t>(pos), static_cast<uint32_t>(length), n - 1, pos + length < text.size() ? n + 1 : -1, frozen});
      pos += length;
    }
    const auto later = [](const Candidate& a, const Candidate& b) {
      return a.score < b.score || (a.score == b.score && a.left > b.left);
    };
    std::vector<Candidate> heap;
    FlatMap<uint32_t> left_size;  // of an unused piece, by its place: how long its left half was
    const auto key = [](uint32_t begin, uint32_t size) { return (static_cast<uint64_t>(begin) << 32) | size; };
    const auto candidate = [&](int32_t left, int32_t right) {
      if (left < 0 || right < 0) return false;
      const Symbol &a = symbols[static_cast<size_t>(left)], &b = symbols[static_cast<size_t>(right)];
      if (a.frozen || b.frozen || a.size + b.size > pieces_.longest()) return false;
      const int32_t id = pieces_.find(text.substr(a.begin, a.size + b.size));
      if (id < 0 || id == unk_ || !is_normal(type(id))) return false;
      heap.push_back({model_.pieces[static_cast<size_t>(id)].score, static_cast<uint32_t>(left), static_cast<uint32_t>(right),
                      a.size + b.size});
      if (type(id) == Type::kUnused) left_size[key(a.begin, a.size + b.size)] = a.size;
      return true;
    };
    for (size_t i = 0; i + 1 < symbols.size(); ++i) candidate(static_cast<int32_t>(i), static_cast<int32_t>(i + 1));
    std::make_heap(heap.begin(), heap.end(), later);
    const auto push = [&](int32_t left, int32_t right) {
      if (candidate(left, right)) std::push_heap(heap.begin(), heap.end(), later);
    };
    while (!heap.empty()) {
      const Candidate top = heap.front();
      std::pop_heap(heap.begin(), heap.end(), later);
      heap.pop_back();
      Symbol &left = symbols[top.left], &right = symbols[top.right];
      if (left.size == 0 || right.size == 0 || left.size + right.size != top.size) continue;
      left.size += right.size;
      left.next = right.next;
      if (right.next >= 0) symbols[static_cast<size_t>(right.next)].previous = static_cast<int32_t>(top.left);
      right.size = 0;
      push(left.previous, static_cast<int32_t>(top.left));
      push(static_cast<int32_t>(top.left), left.next);
    }
    if (symbols.empty()) return;
    const auto resegment = [&](auto& self, uint32_t begin, uint32_t size, int depth) -> void {
      const int32_t id = pieces_.find(text.substr(begin, size));
      if (id < 0 || id == unk_ || !is_normal(type(id))) {
        units.push_back({unk_, begin, begin + size});
        return;
      }
      if (type(id) != Type::kUnused || depth > kMaxResegmentDepth) {
        units.push_back({id, begin, begin + size});
        return;
      }
      const uint32_t* const half = left_size.find(key(begin, size));
      if (half == nullptr) {
        units.push_back({unk_, begin, begin + size});
        return;
      }
      self(self, begin, *half, depth + 1);
      self(self, begin + *half, size - *half, depth + 1);
    };
    for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
      resegment(resegment, symbols[static_cast<size_t>(i)].begin, symbols[static_cast<size_t>(i)].size, 0);
    }
  }

  SentencePieceModel model_;
  SentencePieceOptions options_;
  Vocab pieces_, reserved_;
  Trie trie_, user_defined_;
  AddedVocabulary added_;
  int32_t unk_ = -1;
  int32_t byte_ids_[256];
  float min_score_ = 0;
};

}  // namespace

std::shared_ptr<const Tokenizer> make_sentencepiece_tokenizer(SentencePieceModel model, const SentencePieceOptions& options,
                                                              std::string_view where) {
  return std::make_shared<SentencePieceTokenizer>(std::move(model), options, where);
}

}  // namespace pagoda
