// Offsets through rewrites.
#include "text/aligned.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda {

namespace {

size_t char_length(unsigned char first) { return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4; }

}  // namespace

void check_growth(size_t size, size_t limit) {
  if (size > limit) invalid("tokenizer", "the tokenizer makes the text too long: got {} bytes, need at most {}", size, limit);
}

size_t AlignedText::growth_limit(size_t original_bytes) {
  return std::min(std::max(kMinGrowthLimit, 64 * original_bytes), size_t{1} << 31);
}

AlignedText AlignedText::from_original(std::string_view original, size_t begin, size_t end, bool track) {
  AlignedText piece;
  piece.text.assign(original.data() + begin, end - begin);
  piece.track = track;
  piece.shift = static_cast<uint32_t>(begin);
  piece.limit = growth_limit(end - begin);
  if (track) {
    piece.align.reserve(end - begin);
    for (size_t pos = begin; pos < end;) {
      const size_t length = char_length(static_cast<unsigned char>(original[pos]));
      const Span span{static_cast<uint32_t>(pos), static_cast<uint32_t>(pos + length)};
      piece.align.insert(piece.align.end(), length, span);
      pos += length;
    }
  }
  return piece;
}

Rewriter::Rewriter(AlignedText& target, size_t begin, size_t end, size_t removed)
    : target_(target), begin_(begin), end_(end), source_(begin) {
  text_.reserve(end - begin + 16);
  if (!target_.track) return;
  align_.reserve(end - begin + 16);
  for (size_t i = 0; i < removed && source_ < end_; ++i) source_ += next_length();
}

size_t Rewriter::next_length() { return char_length(static_cast<unsigned char>(target_.text[source_])); }

void Rewriter::put(uint32_t code, int64_t change) {
  const size_t before = text_.size();
  utf8_append(text_, code);
  if (text_.size() > target_.limit) check_growth(text_.size(), target_.limit);
  if (!target_.track) return;
  Span span;
  if (change > 0) {
    span = source_ < 1 ? Span{target_.shift, target_.shift} : target_.align[source_ - 1];
  } else if (source_ < target_.align.size()) {
    span = target_.align[source_];
  } else if (!target_.align.empty()) {
    span = target_.align.back();
  }
  align_.insert(align_.end(), text_.size() - before, span);
  if (change > 0) return;
  for (int64_t i = change; i <= 0 && source_ < end_; ++i) source_ += next_length();
}

void Rewriter::copy(size_t pos, size_t bytes) {
  text_.append(target_.text, pos, bytes);
  source_ = pos + bytes;
  if (!target_.track) return;
  const auto first = target_.align.begin() + static_cast<int64_t>(pos);
  align_.insert(align_.end(), first, first + static_cast<int64_t>(bytes));
}

void Rewriter::finish() {
  if (begin_ == 0 && end_ == target_.text.size()) {
    target_.text.swap(text_);
    target_.align.swap(align_);
    return;
  }
  target_.text.replace(begin_, end_ - begin_, text_);
  if (!target_.track) return;
  target_.align.erase(target_.align.begin() + static_cast<int64_t>(begin_), target_.align.begin() + static_cast<int64_t>(end_));
  target_.align.insert(target_.align.begin() + static_cast<int64_t>(begin_), align_.begin(), align_.end());
}

}  // namespace pagoda
