// The pre-tokenizers: most only move borders, metaspace and byte level also rewrite.
#include "text/pre_tokenizers.h"

#include "base/utf8.h"
#include "text/byte_chars.h"
#include "text/unicode.h"

namespace pagoda {

void PreTokenized::append(const AlignedText& part, int32_t token) {
  if (part.text.empty() && token < 0) return;
  const uint32_t begin = static_cast<uint32_t>(text.size());
  check_growth(text.size() + part.text.size(), limit);
  text += part.text;
  if (track) align.insert(align.end(), part.align.begin(), part.align.end());
  pieces.push_back({begin, static_cast<uint32_t>(text.size()), part.shift, token});
}

namespace pre_tokenizers {

const char* const kByteLevelPattern = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

namespace {

using Piece = PreTokenized::Piece;
using unicode::Category;

// Collects the parts of one piece (delimiters and what lies between, in order) and cuts it as the behaviour says.
class Cutter {
 public:
  Cutter(PreTokenized& text, SplitBehavior behavior, bool invert) : text_(text), behavior_(behavior), invert_(invert) {
    out_.reserve(text.pieces.size() * 2);
  }

  void begin(const Piece& piece) {
    piece_ = piece;
    done_ = piece.begin;
    last_.begin = last_.end = 0;
    open_ = false;
    previous_match_ = false;
    reversed_.clear();
  }
  void keep(const Piece& piece) { out_.push_back(piece); }
  // A delimiter at bytes [begin, end) of the piece.
  void match(size_t begin, size_t end) {
    const uint32_t first = piece_.begin + static_cast<uint32_t>(begin), last = piece_.begin + static_cast<uint32_t>(end);
    if (first > done_) part(done_, first, invert_);
    part(first, last, !invert_);
    done_ = last;
  }
  void finish() {
    if (done_ < piece_.end) part(done_, piece_.end, invert_);
    if (behavior_ == SplitBehavior::kMergedWithNext) merge_with_next();
    if (open_) emit(last_.begin, last_.end);
  }
  void install() { text_.pieces.swap(out_); }

 private:
  struct Part {
    uint32_t begin, end;
    bool match;
  };

  void part(uint32_t begin, uint32_t end, bool is_match) {
    switch (behavior_) {
      case SplitBehavior::kRemoved:
        if (!is_match) emit(begin, end);
        return;
      case SplitBehavior::kIsolated: return emit(begin, end);
      case SplitBehavior::kContiguous: return join(begin, end, is_match == previous_match_, is_match);
      case SplitBehavior::kMergedWithPrevious: return join(begin, end, is_match && !previous_match_, is_match);
      case SplitBehavior::kMergedWithNext: reversed_.push_back({begin, end, is_match}); return;
    }
  }
  void join(uint32_t begin, uint32_t end, bool extend, bool is_match) {
    if (extend && open_) {
      last_.end = end;
    } else {
      if (open_) emit(last_.begin, last_.end);
      last_ = {begin, end, is_match};
      open_ = true;
    }
    previous_match_ = is_match;
  }
  // Read from the right, a delimiter joins what follows it.
  void merge_with_next() {
    size_t kept = reversed_.size();
    bool previous = false, any = false;
    for (size_t i = reversed_.size(); i-- > 0;) {
      const Part part = reversed_[i];
      if (part.match && !previous && any) {
        reversed_[kept].begin = part.begin;
      } else {
        reversed_[--kept] = part;
        any = true;
      }
      previous = part.match;
    }
    for (size_t i = kept; i < reversed_.size(); ++i) emit(reversed_[i].begin, reversed_[i].end);
  }
  void emit(uint32_t begin, uint32_t end) {
    if (begin == end) return;
    const uint32_t shift = text_.track ? text_.align[begin].begin : piece_.shift + (begin - piece_.begin);
    out_.push_back({begin, end, shift, -1});
  }

  PreTokenized& text_;
  SplitBehavior behavior_;
  bool invert_;
  std::vector<Piece> out_;
  Piece piece_;
  uint32_t done_ = 0;
  Part last_{};
  bool open_ = false, previous_match_ = false;
  std::vector<Part> reversed_;
};

// Cuts every piece that is no token; `find` gets the piece's text and a function that takes each match.
template <class Find>
void cut(PreTokenized& text, SplitBehavior behavior, bool invert, Find&& find) {
  Cutter cutter(text, behavior, invert);
  for (const Piece& piece : text.pieces) {
    if (piece.token >= 0) {
      cutter.keep(piece);
      continue;
    }
    cutter.begin(piece);
    find(std::string_view(text.text).substr(piece.begin, piece.end - piece.begin),
         [&](size_t begin, size_t end) { cutter.match(begin, end); });
    cutter.finish();
  }
  cutter.install();
}

// Every character that `wanted` takes is a delimiter of its own.
template <class Wanted>
void cut_at_characters(PreTokenized& text, SplitBehavior behavior, bool invert, Wanted&& wanted) {
  cut(text, behavior, invert, [&](std::string_view piece, auto&& match) {
    for (size_t pos = 0; pos < piece.size();) {
      const size_t start = pos;
      if (wanted(utf8_next(piece, pos))) match(start, pos);
    }
  });
}

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<PreTokenizerPtr> steps) : steps_(std::move(steps)) {}
  void apply(PreTokenized& text, RegexScratch& scratch) const override {
    for (const PreTokenizerPtr& step : steps_) {
      step->apply(text, scratch);
      check_growth(text.text.size(), text.limit);
    }
  }

 private:
  std::vector<PreTokenizerPtr> steps_;
};

class Split final : public PreTokenizer {
 public:
  Split(std::shared_ptr<const Regex> pattern, std::string literal, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), literal_(std::move(literal)), behavior_(behavior), invert_(invert) {}
  void apply(PreTokenized& text, RegexScratch& scratch) const override {
    cut(text, behavior_, invert_, [&](std::string_view piece, auto&& match) {
      if (pattern_ != nullptr) return pattern_->for_each_match(piece, scratch, match);
      for (size_t at = piece.find(literal_); at != std::string_view::npos; at = piece.find(literal_, at + literal_.size())) {
        match(at, at + literal_.size());
      }
    });
  }

 private:
  std::shared_ptr<const Regex> pattern_;
  std::string literal_;
  SplitBehavior behavior_;
  bool invert_;
};

// \w+|[^\w\s]+
class Whitespace final : public PreTokenizer {
 public:
  void apply(PreTokenized& text, RegexScratch&) const override {
    cut(text, SplitBehavior::kRemoved, true, [](std::string_view piece, auto&& match) {
      int kind = 0;  // 1 word, 2 other
      size_t begin = 0;
      for (size_t pos = 0; pos < piece.size();) {
        const size_t start = pos;
        const uint32_t code = utf8_next(piece, pos);
        const int next = unicode::is_word(code) ? 1 : unicode::is_whitespace(code) ? 0 : 2;
        if (next == kind) continue;
        if (kind != 0) match(begin, start);
        kind = next;
        begin = start;
      }
      if (kind != 0) match(begin, piece.size());
    });
  }
};

class WhitespaceSplit final : public PreTokenizer {
 public:
  void apply(PreTokenized& text, RegexScratch&) const override {
    cut_at_characters(text, SplitBehavior::kRemoved, false, unicode::is_whitespace);
  }
};

// ASCII punctuation, and P of Unicode 8 as the crate unicode_categories has it.
bool is_punctuation(uint32_t c) {
  if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  if (c == 0x166D || c == 0x111C9) return true;  // Po then, another category since
  const Category category = unicode::category(c);
  return category >= Category::kPc && category <= Category::kPo && unicode::assigned(c, 80);
}

class Bert final : public PreTokenizer {
 public:
  void apply(PreTokenized& text, RegexScratch&) const override {
    cut_at_characters(text, SplitBehavior::kRemoved, false, unicode::is_whitespace);
    cut_at_characters(text, SplitBehavior::kIsolated, false, is_punctuation);
  }
};

class Punctuation final : public PreTokenizer {
 public:
  explicit Punctuation(SplitBehavior behavior) : behavior_(behavior) {}
  void apply(PreTokenized& text, RegexScratch&) const override { cut_at_characters(text, behavior_, false, is_punctuation); }

 private:
  SplitBehavior behavior_;
};

class Digits final : public PreTokenizer {
 public:
  explicit Digits(bool individual) : individual_(individual) {}
  void apply(PreTokenized& text, RegexScratch&) const override {
    cut_at_characters(text, individual_ ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, false, unicode::is_number);
  }

 private:
  bool individual_;
};

class CharDelimiter final : public PreTokenizer {
 public:
  explicit CharDelimiter(uint32_t delimiter) : delimiter_(delimiter) {}
  void apply(PreTokenized& text, RegexScratch&) const override {
    cut_at_characters(text, SplitBehavior::kRemoved, false, [this](uint32_t c) { return c == delimiter_; });
  }

 private:
  uint32_t delimiter_;
};

// Cuts where the script changes; space belongs to every script, kana and the prolonged sound mark count as Han.
class UnicodeScripts final : public PreTokenizer {
 public:
  UnicodeScripts()
      : han_(*unicode::script_by_name("Han")),
        hiragana_(*unicode::script_by_name("Hiragana")),
        katakana_(*unicode::script_by_name("Katakana")),
        common_(*unicode::script_by_name("Common")),
        devanagari_(*unicode::script_by_name("Devanagari")) {}
  void apply(PreTokenized& text, RegexScratch&) const override {
    cut(text, SplitBehavior::kRemoved, true, [this](std::string_view piece, auto&& match) {
      int last = -2;  // none yet
      size_t begin = 0;
      bool cut_before = false;
      for (size_t pos = 0; pos < piece.size();) {
        const size_t start = pos;
        const int script = script_of(utf8_next(piece, pos));
        if (script != kAny && last != kAny && last != script) {
          if (cut_before) match(begin, start);
          begin = start;
          cut_before = true;
        }
        if (script != kAny) last = script;
      }
      // What comes before the first cut (only spaces can) is left out, as HF does.
      if (cut_before) match(begin, piece.size());
    });
  }

 private:
  static constexpr int kAny = -1;
  int script_of(uint32_t code) const {
    if (code == ' ') return kAny;
    if (code == 0x30FC) return han_;
    // HF's table of scripts is of Unicode 9; these have moved since.
    if (code == 0x589 || code == 0x61C) return common_;
    if (code == 0x953 || code == 0x954) return devanagari_;
    const int script = unicode::assigned(code, unicode::kUnicode9) ? unicode::script(code) : 0;
    if (script == 0) return kAny;
    return script == hiragana_ || script == katakana_ ? han_ : script;
  }
  int han_, hiragana_, katakana_, common_, devanagari_;
};

class FixedLength final : public PreTokenizer {
 public:
  explicit FixedLength(int64_t length) : length_(length) {}
  void apply(PreTokenized& text, RegexScratch&) const override {
    cut(text, SplitBehavior::kIsolated, false, [this](std::string_view piece, auto&& match) {
      size_t begin = 0;
      int64_t count = 0;
      for (size_t pos = 0; pos < piece.size();) {
        utf8_next(piece, pos);
        if (++count < length_ && pos < piece.size()) continue;
        match(begin, pos);
        begin = pos;
        count = 0;
      }
    });
  }

 private:
  int64_t length_;
};

// Builds the new text of a pre-tokenizer that rewrites.
class Rebuilder {
 public:
  explicit Rebuilder(PreTokenized& text) : old_(text) {
    fresh_.track = text.track;
    fresh_.text.reserve(text.text.size() * 2);
    fresh_.pieces.reserve(text.pieces.size());
    if (text.track) fresh_.align.reserve(text.text.size() * 2);
  }
  void begin() { begin_ = static_cast<uint32_t>(fresh_.text.size()); }
  // `bytes` take the origin of old byte `from`.
  void put(std::string_view bytes, size_t from) {
    fresh_.text += bytes;
    if (fresh_.track) fresh_.align.insert(fresh_.align.end(), bytes.size(), Span(old_.align[from]));
  }
  void copy(size_t from, size_t bytes) {
    fresh_.text.append(old_.text, from, bytes);
    if (fresh_.track) {
      const auto first = old_.align.begin() + static_cast<int64_t>(from);
      fresh_.align.insert(fresh_.align.end(), first, first + static_cast<int64_t>(bytes));
    }
  }
  void finish(const Piece& piece) {
    fresh_.pieces.push_back({begin_, static_cast<uint32_t>(fresh_.text.size()), piece.shift, piece.token});
  }
  void install() {
    old_.text.swap(fresh_.text);
    old_.align.swap(fresh_.align);
    old_.pieces.swap(fresh_.pieces);
  }

 private:
  PreTokenized& old_;
  PreTokenized fresh_;
  uint32_t begin_ = 0;
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(uint32_t replacement, PrependScheme scheme, bool split) : scheme_(scheme), split_(split) {
    utf8_append(replacement_, replacement);
  }
  void apply(PreTokenized& text, RegexScratch&) const override {
    Rebuilder rebuilder(text);
    for (const Piece& piece : text.pieces) {
      rebuilder.begin();
      if (piece.token >= 0) {
        rebuilder.copy(piece.begin, piece.end - piece.begin);
        rebuilder.finish(piece);
        continue;
      }
      const std::string_view source = std::string_view(text.text).substr(piece.begin, piece.end - piece.begin);
      const bool starts = source[0] == ' ' || source.substr(0, replacement_.size()) == replacement_;
      if (!starts && (scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && piece.shift == 0))) {
        rebuilder.put(replacement_, piece.begin);
      }
      size_t done = 0;
      for (size_t at = source.find(' '); at != std::string_view::npos; at = source.find(' ', done)) {
        rebuilder.copy(piece.begin + done, at - done);
        rebuilder.put(replacement_, piece.begin + at);
        done = at + 1;
      }
      rebuilder.copy(piece.begin + done, source.size() - done);
      rebuilder.finish(piece);
    }
    rebuilder.install();
    if (!split_) return;
    cut(text, SplitBehavior::kMergedWithNext, false, [this](std::string_view piece, auto&& match) {
      for (size_t at = piece.find(replacement_); at != std::string_view::npos;
           at = piece.find(replacement_, at + replacement_.size())) {
        match(at, at + replacement_.size());
      }
    });
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(std::shared_ptr<const Regex> pattern, bool add_prefix_space, bool map_bytes)
      : pattern_(std::move(pattern)), add_prefix_space_(add_prefix_space), map_bytes_(map_bytes) {
    for (size_t b = 0; b < 256; ++b) utf8_append(chars_[b], kByteChars[b]);
  }

  void apply(PreTokenized& text, RegexScratch& scratch) const override {
    if (add_prefix_space_) prepend_spaces(text);
    if (pattern_ != nullptr) {
      cut(text, SplitBehavior::kIsolated, false,
          [&](std::string_view piece, auto&& match) { pattern_->for_each_match(piece, scratch, match); });
    }
    if (!map_bytes_) return;
    Rebuilder rebuilder(text);
    for (const Piece& piece : text.pieces) {
      rebuilder.begin();
      if (piece.token >= 0) {
        rebuilder.copy(piece.begin, piece.end - piece.begin);
      } else {
        for (size_t i = piece.begin; i < piece.end; ++i) rebuilder.put(chars_[static_cast<unsigned char>(text.text[i])], i);
      }
      rebuilder.finish(piece);
    }
    rebuilder.install();
  }

 private:
  static void prepend_spaces(PreTokenized& text) {
    bool needed = false;
    for (const Piece& piece : text.pieces) needed = needed || (piece.token < 0 && text.text[piece.begin] != ' ');
    if (!needed) return;
    Rebuilder rebuilder(text);
    for (const Piece& piece : text.pieces) {
      rebuilder.begin();
      if (piece.token < 0 && text.text[piece.begin] != ' ') rebuilder.put(" ", piece.begin);
      rebuilder.copy(piece.begin, piece.end - piece.begin);
      rebuilder.finish(piece);
    }
    rebuilder.install();
  }

  std::shared_ptr<const Regex> pattern_;
  bool add_prefix_space_, map_bytes_;
  std::string chars_[256];
};

}  // namespace

PreTokenizerPtr sequence(std::vector<PreTokenizerPtr> steps) { return std::make_shared<Sequence>(std::move(steps)); }
PreTokenizerPtr split(std::shared_ptr<const Regex> pattern, SplitBehavior behavior, bool invert) {
  return std::make_shared<Split>(std::move(pattern), "", behavior, invert);
}
PreTokenizerPtr split(std::string literal, SplitBehavior behavior, bool invert) {
  if (literal.empty()) return split(Regex::literal("", "pre_tokenizer"), behavior, invert);
  return std::make_shared<Split>(nullptr, std::move(literal), behavior, invert);
}
PreTokenizerPtr whitespace() { return std::make_shared<Whitespace>(); }
PreTokenizerPtr whitespace_split() { return std::make_shared<WhitespaceSplit>(); }
PreTokenizerPtr bert() { return std::make_shared<Bert>(); }
PreTokenizerPtr punctuation(SplitBehavior behavior) { return std::make_shared<Punctuation>(behavior); }
PreTokenizerPtr digits(bool individual) { return std::make_shared<Digits>(individual); }
PreTokenizerPtr char_delimiter(uint32_t delimiter) { return std::make_shared<CharDelimiter>(delimiter); }
PreTokenizerPtr unicode_scripts() { return std::make_shared<UnicodeScripts>(); }
PreTokenizerPtr fixed_length(int64_t length) { return std::make_shared<FixedLength>(length); }
PreTokenizerPtr metaspace(uint32_t replacement, PrependScheme scheme, bool split) {
  return std::make_shared<Metaspace>(replacement, scheme, split);
}
PreTokenizerPtr byte_level(std::shared_ptr<const Regex> pattern, bool add_prefix_space, bool map_bytes) {
  return std::make_shared<ByteLevel>(std::move(pattern), add_prefix_space, map_bytes);
}

}  // namespace pre_tokenizers
}  // namespace pagoda
