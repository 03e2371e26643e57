// Where the sequences lie, cutting at their ends, and windows.
#include "text/encoded_text.h"

#include <algorithm>

#include "base/error.h"

namespace pagoda {

namespace {

constexpr int64_t kMostWindowTokens = int64_t{1} << 20;

template <class T>
void append_range(std::vector<T>& to, const std::vector<T>& from, size_t begin, size_t end) {
  if (from.size() < end) return;  // was not asked for
  to.insert(to.end(), from.begin() + static_cast<std::ptrdiff_t>(begin), from.begin() + static_cast<std::ptrdiff_t>(end));
}

// The text with only so many tokens of each sequence: its first, or its last.
EncodedText keep(const EncodedText& text, size_t first, size_t second) {
  EncodedText out;
  out.cut_left = text.cut_left;
  out.encoding.with_offsets = text.encoding.with_offsets;
  const size_t first_begin = text.cut_left ? text.first_end - first : text.first_begin;
  const size_t second_begin = text.cut_left ? text.second_end - second : text.second_begin;
  append_part(out.encoding, text.encoding, 0, text.first_begin);
  out.first_begin = out.encoding.size();
  append_part(out.encoding, text.encoding, first_begin, first_begin + first);
  out.first_end = out.encoding.size();
  append_part(out.encoding, text.encoding, text.first_end, text.second_begin);
  out.second_begin = out.encoding.size();
  append_part(out.encoding, text.encoding, second_begin, second_begin + second);
  out.second_end = out.encoding.size();
  append_part(out.encoding, text.encoding, text.second_end, text.encoding.size());
  return out;
}

}  // namespace

void append_part(Encoding& to, const Encoding& from, size_t begin, size_t end) {
  append_range(to.ids, from.ids, begin, end);
  append_range(to.type_ids, from.type_ids, begin, end);
  append_range(to.special_tokens_mask, from.special_tokens_mask, begin, end);
  append_range(to.attention_mask, from.attention_mask, begin, end);
  append_range(to.offsets, from.offsets, begin, end);
  append_range(to.tokens, from.tokens, begin, end);
  append_range(to.word_ids, from.word_ids, begin, end);
}

EncodedText encode_text(const Tokenizer& tokenizer, std::string_view text, const std::string* pair, bool offsets) {
  EncodeOptions options;
  options.offsets = offsets;
  options.truncate_and_pad = false;
  EncodedText out;
  out.encoding = pair != nullptr ? tokenizer.encode_pair(text, *pair, options) : tokenizer.encode(text, options);
  const std::vector<uint8_t>& mask = out.encoding.special_tokens_mask;
  const size_t size = mask.size();
  const auto count_ids = [&](std::string_view of) { return tokenizer.encode_ids(of, false).size(); };
  // Special tokens stand before, between and after the sequences.
  const size_t ours = static_cast<size_t>(std::count(mask.begin(), mask.end(), uint8_t{0}));
  const size_t first = pair != nullptr ? std::min(count_ids(text), ours) : ours, second = ours - first;
  size_t at = 0;
  while (at < size && mask[at] == 1) ++at;
  out.first_begin = std::min(at, size - ours);
  out.first_end = out.first_begin + first;
  at = out.first_end;
  while (pair != nullptr && at < size && mask[at] == 1) ++at;
  out.second_begin = pair != nullptr ? std::min(at, size - second) : out.first_end;
  out.second_end = out.second_begin + second;
  return out;
}

int64_t EncodedText::specials() const {
  return static_cast<int64_t>(encoding.size() - (first_end - first_begin) - (second_end - second_begin));
}

void truncate_text(EncodedText& text, int64_t max_length, Truncation::Strategy strategy) {
  if (static_cast<int64_t>(text.encoding.size()) <= max_length) return;
  Encoding first, second;
  append_part(first, text.encoding, text.first_begin, text.first_end);
  append_part(second, text.encoding, text.second_begin, text.second_end);
  Truncation truncation;
  truncation.max_length = max_length;
  truncation.strategy = strategy;
  truncation.left = text.cut_left;
  const bool pair = text.second_end > text.second_begin;
  truncate(first, pair ? &second : nullptr, truncation, text.specials());
  text = keep(text, first.size(), second.size());
}

std::vector<EncodedText> windows_of(const EncodedText& text, int64_t max_length, int64_t stride) {
  if (static_cast<int64_t>(text.encoding.size()) <= max_length) return {text};
  const bool pair = text.second_end > text.second_begin;
  const size_t begin = pair ? text.second_begin : text.first_begin, end = pair ? text.second_end : text.first_end;
  const int64_t length = static_cast<int64_t>(end - begin);
  const int64_t room = max_length - (static_cast<int64_t>(text.encoding.size()) - length);
  if (room <= 0) {
    invalid("text", "no room beside the question and special tokens: got {} tokens of them, need less than {}",
            static_cast<int64_t>(text.encoding.size()) - length, max_length);
  }
  if (stride < 0 || stride >= room) invalid("stride", "got {}, need 0 to {} (tokens of one part)", stride, room - 1);
  const int64_t count = 1 + (length - room + room - stride - 1) / (room - stride);
  if (count > kMostWindowTokens / max_length) {
    invalid("stride", "too many parts of the text: got {} of {} tokens, need at most {} tokens in all (a smaller stride)",
            count, max_length, kMostWindowTokens);
  }
  std::vector<EncodedText> windows;
  windows.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = i * (room - stride), past = std::min(at + room, length);
    const size_t from = begin + static_cast<size_t>(text.cut_left ? length - past : at);
    const size_t to = begin + static_cast<size_t>(text.cut_left ? length - at : past);
    EncodedText part;
    part.cut_left = text.cut_left;
    part.encoding.with_offsets = text.encoding.with_offsets;
    append_part(part.encoding, text.encoding, 0, begin);
    append_part(part.encoding, text.encoding, from, to);
    append_part(part.encoding, text.encoding, end, text.encoding.size());
    part.first_begin = text.first_begin;
    part.second_end = begin + (to - from);
    part.first_end = pair ? text.first_end : part.second_end;
    part.second_begin = pair ? begin : part.second_end;
    windows.push_back(std::move(part));
  }
  return windows;
}

}  // namespace pagoda
