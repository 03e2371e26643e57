// The normalisers, each by the rules (and with the Unicode version) of the library that defined it.
#include "text/normalizers.h"

#include "base/utf8.h"
#include "text/byte_chars.h"
#include "text/graphemes.h"
#include "text/unicode.h"

namespace pagoda::normalizers {

namespace {

using unicode::Category;

// Length of the ASCII prefix of text[pos...].
size_t ascii_run(std::string_view text, size_t pos) {
  size_t end = pos;
  while (end < text.size() && static_cast<unsigned char>(text[end]) < 0x80) ++end;
  return end - pos;
}

struct Char {
  uint32_t code;
  uint32_t pos;
};

std::vector<Char> characters(std::string_view text) {
  std::vector<Char> chars;
  chars.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const uint32_t start = static_cast<uint32_t>(pos);
    chars.push_back({utf8_next(text, pos), start});
  }
  return chars;
}

// Keeps the characters that `keep` wants; each kept one swallows the removed ones behind it.
template <class Keep>
void filter(AlignedText& text, Keep&& keep) {
  bool any = false;
  for (size_t pos = 0; pos < text.text.size() && !any;) any = !keep(utf8_next(text.text, pos));
  if (!any) return;
  const std::vector<Char> chars = characters(text.text);
  size_t first = 0;
  while (first < chars.size() && !keep(chars[first].code)) ++first;
  Rewriter rewriter(text, first);
  for (size_t i = first; i < chars.size();) {
    size_t next = i + 1;
    while (next < chars.size() && !keep(chars[next].code)) ++next;
    rewriter.put(chars[i].code, -static_cast<int64_t>(next - i - 1));
    i = next;
  }
  rewriter.finish();
}

// Replaces characters one for one.
template <class Map>
void map_characters(AlignedText& text, Map&& map) {
  bool any = false;
  for (size_t pos = 0; pos < text.text.size() && !any;) {
    const uint32_t code = utf8_next(text.text, pos);
    any = map(code) != code;
  }
  if (!any) return;
  Rewriter rewriter(text);
  for (size_t pos = 0; pos < text.text.size();) rewriter.put(map(utf8_next(text.text, pos)), 0);
  rewriter.finish();
}

class Sequence final : public Normalizer {
 public:
  explicit Sequence(std::vector<NormalizerPtr> steps) : steps_(std::move(steps)) {}
  void apply(AlignedText& text, RegexScratch& scratch) const override {
    for (const NormalizerPtr& step : steps_) step->apply(text, scratch);
  }

 private:
  std::vector<NormalizerPtr> steps_;
};

class Form final : public Normalizer {
 public:
  explicit Form(NormalForm form) : form_(form) {}
  void apply(AlignedText& text, RegexScratch&) const override { normalize_form(text, form_, unicode::kUnicode9); }

 private:
  NormalForm form_;
};

void lowercase_text(AlignedText& text) {
  bool any = false;
  for (size_t pos = 0; pos < text.text.size() && !any;) {
    const uint32_t code = utf8_next(text.text, pos);
    any = code < 0x80 ? code >= 'A' && code <= 'Z' : unicode::lower(code).size != 0;
  }
  if (!any) return;
  Rewriter rewriter(text);
  for (size_t pos = 0; pos < text.text.size();) {
    const uint32_t code = utf8_next(text.text, pos);
    const unicode::Codes codes = unicode::lower(code);
    if (codes.size == 0) {
      rewriter.put(code, 0);
    } else {
      for (int i = 0; i < codes.size; ++i) rewriter.put(codes.data[i], i > 0 ? 1 : 0);
    }
  }
  rewriter.finish();
}

class Lowercase final : public Normalizer {
 public:
  void apply(AlignedText& text, RegexScratch&) const override { lowercase_text(text); }
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(AlignedText& text, RegexScratch&) const override {
    const std::vector<Char> chars = characters(text.text);
    size_t first = 0, last = chars.size();
    if (left_) {
      while (first < last && unicode::is_whitespace(chars[first].code)) ++first;
    }
    if (right_) {
      while (last > first && unicode::is_whitespace(chars[last - 1].code)) --last;
    }
    if (first == 0 && last == chars.size()) return;
    Rewriter rewriter(text, first);
    for (size_t i = first; i < last; ++i) {
      rewriter.put(chars[i].code, i + 1 == last ? -static_cast<int64_t>(chars.size() - last) : 0);
    }
    rewriter.finish();
  }

 private:
  bool left_, right_;
};

// Marks as the crate unicode-normalization-alignments knows them (Unicode 9).
bool is_combining_mark(uint32_t code) {
  if (code < 0x300) return false;
  if (code == 0x1CF2 || code == 0x1CF3) return true;  // Mc then, Lo now
  if (code == 0x111C9) return false;                  // Po then, Mn now
  const Category c = unicode::category(code);
  return c >= Category::kMn && c <= Category::kMe && unicode::assigned(code, unicode::kUnicode9);
}

// Non-spacing marks as the crate unicode_categories knows them (Unicode 8).
bool is_nonspacing_mark(uint32_t code) {
  if (code < 0x300) return false;
  if (code == 0x1734 || code == 0x1171E) return true;                                       // Mn then, Mc now
  if (code == 0x1885 || code == 0x1886 || code == 0xA9BD || code == 0x111C9) return false;  // Mn only later
  return unicode::category(code) == Category::kMn && unicode::assigned(code, 80);
}

class StripAccents final : public Normalizer {
 public:
  void apply(AlignedText& text, RegexScratch&) const override {
    filter(text, [](uint32_t code) { return !is_combining_mark(code); });
  }
};

class Replace final : public Normalizer {
 public:
  Replace(std::shared_ptr<const Regex> pattern, std::string literal, std::string content)
      : pattern_(std::move(pattern)), literal_(std::move(literal)), content_(std::move(content)) {}

  void apply(AlignedText& text, RegexScratch& scratch) const override {
    if (text.text.empty()) return;
    size_t done = 0;
    bool any = false;
    const std::string_view source = text.text;
    if (pattern_ == nullptr) {
      if (source.find(literal_) == std::string_view::npos) return;
      if (!text.track) return replace_plain(text);
    }
    Rewriter rewriter(text);
    const auto found = [&](size_t begin, size_t end) {
      any = true;
      rewriter.copy(done, begin - done);
      rewriter.skip_to(end);
      for (size_t pos = 0; pos < content_.size();) rewriter.put(utf8_next(content_, pos), 1);
      done = end;
    };
    if (pattern_ != nullptr) {
      pattern_->for_each_match(source, scratch, found);
      if (!any) return;
    } else {
      for (size_t at = source.find(literal_); at != std::string_view::npos; at = source.find(literal_, at + literal_.size())) {
        found(at, at + literal_.size());
      }
    }
    rewriter.copy(done, source.size() - done);
    rewriter.finish();
  }

 private:
  void replace_plain(AlignedText& text) const {
    std::string out;
    out.reserve(text.text.size() + text.text.size() / 2);
    size_t done = 0;
    for (size_t at = text.text.find(literal_); at != std::string::npos; at = text.text.find(literal_, done)) {
      out.append(text.text, done, at - done);
      out += content_;
      done = at + literal_.size();
      if (out.size() > text.limit) check_growth(out.size(), text.limit);
    }
    out.append(text.text, done, std::string::npos);
    text.text.swap(out);
  }

  std::shared_ptr<const Regex> pattern_;
  std::string literal_, content_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(AlignedText& text, RegexScratch&) const override {
    if (text.text.empty()) return;
    check_growth(text.text.size() + prefix_.size(), text.limit);
    if (text.track) {
      // New characters share the origin of the first one.
      text.align.insert(text.align.begin(), prefix_.size(), Span(text.align[0]));
    }
    text.text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Nmt final : public Normalizer {
 public:
  void apply(AlignedText& text, RegexScratch&) const override {
    filter(text, [](uint32_t c) {
      return !((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F);
    });
    map_characters(text, [](uint32_t c) -> uint32_t {
      const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                         c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
      return space ? ' ' : c;
    });
  }
};

class Precompiled final : public Normalizer {
 public:
  explicit Precompiled(Charsmap map) : map_(std::move(map)) {
    for (char c = 1; c > 0; ++c) plain_[static_cast<size_t>(c)] = map_.shortest(std::string_view(&c, 1)).length == 0;
    plain_[0] = true;
  }

  // Graphemes of under 6 bytes are looked up whole, others by character; what a key matches at the begin of either is replaced
  // by the replacement of the shortest such key, and the whole grapheme (or character) with it.
  void apply(AlignedText& text, RegexScratch&) const override {
    struct Change {
      uint32_t code;
      int64_t change;
    };
    const std::string_view source = text.text;
    // Plain ASCII stays; a character before a non-ASCII one may be part of a grapheme.
    size_t same = 0;
    while (same < source.size() && static_cast<unsigned char>(source[same]) < 0x80 &&
           plain_[static_cast<size_t>(source[same])] && source[same] != '\r') {
      ++same;
    }
    if (same == source.size()) return;
    if (same > 0) --same;
    std::vector<Change> changes;
    changes.reserve(source.size() - same);
    bool modified = false;
    size_t put = 0;  // bytes of replacements: a character may be replaced by a text of any length
    const auto replace = [&](std::string_view part, std::string_view by) {
      modified = true;
      put += by.size();
      if (put > text.limit) check_growth(put, text.limit);
      const int64_t difference = static_cast<int64_t>(utf8_length(by)) - static_cast<int64_t>(utf8_length(part));
      for (size_t pos = 0; pos < by.size();) changes.push_back({utf8_next(by, pos), 0});
      if (difference > 0) {
        for (int64_t i = 0; i < difference; ++i) changes[changes.size() - 1 - static_cast<size_t>(i)].change = 1;
      } else if (difference < 0 && !changes.empty()) {
        changes.back().change += difference;
      }
    };
    for (size_t pos = same; pos < source.size();) {
      const size_t end = grapheme_end(source, pos);
      const std::string_view grapheme = source.substr(pos, end - pos);
      if (grapheme.size() == 1 && plain_[static_cast<unsigned char>(grapheme[0]) & 0x7F]) {
        changes.push_back({static_cast<unsigned char>(grapheme[0]), 0});
        pos = end;
        continue;
      }
      if (grapheme.size() < 6) {
        const Charsmap::Match match = map_.shortest(grapheme);
        if (match.length != 0) {
          replace(grapheme, match.replacement);
          pos = end;
          continue;
        }
      }
      while (pos < end) {
        const size_t start = pos;
        const uint32_t code = utf8_next(source, pos);
        const std::string_view part = source.substr(start, pos - start);
        const Charsmap::Match match = map_.shortest(part);
        if (match.length != 0) {
          replace(part, match.replacement);
        } else {
          changes.push_back({code, 0});
        }
      }
    }
    if (!modified) return;
    Rewriter rewriter(text);
    rewriter.copy(0, same);
    for (const Change& change : changes) rewriter.put(change.code, change.change);
    rewriter.finish();
  }

 private:
  Charsmap map_;
  bool plain_[128] = {};  // the map leaves this ASCII character alone
};

class ByteLevel final : public Normalizer {
 public:
  void apply(AlignedText& text, RegexScratch&) const override {
    Rewriter rewriter(text);
    for (size_t pos = 0; pos < text.text.size();) {
      const size_t start = pos;
      utf8_next(text.text, pos);
      for (size_t i = start; i < pos; ++i)
        rewriter.put(kByteChars[static_cast<unsigned char>(text.text[i])], i > start ? 1 : 0);
    }
    rewriter.finish();
  }
};

bool is_chinese(uint32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

// Control characters as BERT's cleaning sees them: Cc, Cf, Co of Unicode 8, but for the white space among them.
bool bert_removes(uint32_t c) {
  if (c < 0x20) return c != '\t' && c != '\n' && c != '\r';
  if (c < 0x7F) return false;
  if (c == 0xFFFD) return true;
  const Category category = unicode::category(c);
  if (category == Category::kCo || category == Category::kCc) return true;
  return category == Category::kCf && unicode::assigned(c, 80);
}

class Bert final : public Normalizer {
 public:
  explicit Bert(const BertOptions& options) : options_(options) {}
  void apply(AlignedText& text, RegexScratch&) const override {
    if (options_.clean_text) {
      filter(text, [](uint32_t c) { return !bert_removes(c); });
      map_characters(text, [](uint32_t c) -> uint32_t { return unicode::is_whitespace(c) ? ' ' : c; });
    }
    if (options_.handle_chinese_chars) space_chinese(text);
    if (options_.strip_accents.value_or(options_.lowercase)) {
      normalize_form(text, NormalForm::kNfd, unicode::kUnicode9);
      filter(text, [](uint32_t c) { return !is_nonspacing_mark(c); });
    }
    if (options_.lowercase) lowercase_text(text);
  }

 private:
  static void space_chinese(AlignedText& text) {
    if (ascii_run(text.text, 0) == text.text.size()) return;
    Rewriter rewriter(text);
    for (size_t pos = 0; pos < text.text.size();) {
      const uint32_t code = utf8_next(text.text, pos);
      const bool chinese = is_chinese(code);
      // All three share the character's origin.
      if (chinese) rewriter.put(' ', 0);
      rewriter.put(code, chinese ? 1 : 0);
      if (chinese) rewriter.put(' ', 1);
    }
    rewriter.finish();
  }
  BertOptions options_;
};

}  // namespace

NormalizerPtr sequence(std::vector<NormalizerPtr> steps) { return std::make_shared<Sequence>(std::move(steps)); }
NormalizerPtr unicode_form(NormalForm form) { return std::make_shared<Form>(form); }
NormalizerPtr lowercase() { return std::make_shared<Lowercase>(); }
NormalizerPtr strip(bool left, bool right) { return std::make_shared<Strip>(left, right); }
NormalizerPtr strip_accents() { return std::make_shared<StripAccents>(); }
NormalizerPtr replace(std::shared_ptr<const Regex> pattern, std::string content) {
  return std::make_shared<Replace>(std::move(pattern), "", std::move(content));
}
NormalizerPtr replace(std::string literal, std::string content) {
  if (literal.empty()) return replace(Regex::literal("", "normalizer"), std::move(content));  // matches between all characters
  return std::make_shared<Replace>(nullptr, std::move(literal), std::move(content));
}
NormalizerPtr prepend(std::string text) { return std::make_shared<Prepend>(std::move(text)); }
NormalizerPtr nmt() { return std::make_shared<Nmt>(); }
NormalizerPtr precompiled(Charsmap map) { return std::make_shared<Precompiled>(std::move(map)); }
NormalizerPtr byte_level() { return std::make_shared<ByteLevel>(); }
NormalizerPtr bert(const BertOptions& options) { return std::make_shared<Bert>(options); }

}  // namespace pagoda::normalizers
