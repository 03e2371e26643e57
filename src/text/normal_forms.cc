// Decomposition, canonical ordering and composition (Unicode Standard Annex 15), counting characters on the way.
#include "text/normal_forms.h"

#include <algorithm>
#include <vector>

#include "base/utf8.h"
#include "text/unicode.h"

namespace pagoda {

namespace {

struct Item {
  uint32_t code;
  int combining_class;
  int64_t change;  // as Rewriter::put takes it
};

constexpr uint32_t kHangulBase = 0xAC00, kHangulCount = 11172, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr uint32_t kLCount = 19, kVCount = 21, kTCount = 28;

void decompose(uint32_t code, bool compatibility, int at, std::vector<Item>& out) {
  if (code >= kHangulBase && code < kHangulBase + kHangulCount) {
    const uint32_t index = code - kHangulBase;
    out.push_back({kLBase + index / (kVCount * kTCount), 0, 1});
    out.push_back({kVBase + index % (kVCount * kTCount) / kTCount, 0, 1});
    if (index % kTCount != 0) out.push_back({kTBase + index % kTCount, 0, 1});
    return;
  }
  const bool known = unicode::assigned(code, at);
  const unicode::Codes codes = known ? unicode::decomposition(code, compatibility) : unicode::Codes{};
  if (codes.size == 0) {
    out.push_back({code, known ? unicode::combining_class(code) : 0, 1});
    return;
  }
  for (int i = 0; i < codes.size; ++i) decompose(codes.data[i], compatibility, at, out);
}

uint32_t compose(uint32_t first, uint32_t second, int at) {
  if (first >= kLBase && first < kLBase + kLCount && second >= kVBase && second < kVBase + kVCount) {
    return kHangulBase + ((first - kLBase) * kVCount + (second - kVBase)) * kTCount;
  }
  if (first >= kHangulBase && first < kHangulBase + kHangulCount && (first - kHangulBase) % kTCount == 0 && second > kTBase &&
      second < kTBase + kTCount) {
    return first + (second - kTBase);
  }
  const uint32_t composed = unicode::compose(first, second);
  return composed != 0 && unicode::assigned(composed, at) ? composed : 0;
}

// Sorts the marks [begin, end) by class, equal ones as they came. Runs are short, so each is inserted where it belongs.
// A text of nothing but marks would make that slow: runs over kLongRun are sorted with their positions.
void order_marks(std::vector<Item>& items, size_t begin, size_t end) {
  constexpr size_t kLongRun = 64;
  if (end - begin <= kLongRun) {
    for (size_t i = begin + 1; i < end; ++i) {
      const Item item = items[i];
      size_t at = i;
      for (; at > begin && items[at - 1].combining_class > item.combining_class; --at) items[at] = items[at - 1];
      items[at] = item;
    }
    return;
  }
  std::vector<std::pair<size_t, Item>> run;
  for (size_t i = begin; i < end; ++i) run.emplace_back(i, items[i]);
  std::sort(run.begin(), run.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.combining_class, a.first) < std::pair(b.second.combining_class, b.first);
  });
  for (size_t i = begin; i < end; ++i) items[i] = run[i - begin].second;
}

// Composes in place: `items` are decomposed and ordered.
void recompose(std::vector<Item>& items, int at) {
  std::vector<Item> out;
  out.reserve(items.size());
  std::vector<Item> marks;
  Item base{0, 0, 0};
  bool has_base = false;
  int last_class = -1;  // -1: no mark since the base
  const auto flush = [&] {
    if (has_base) out.push_back(base);
    out.insert(out.end(), marks.begin(), marks.end());
    marks.clear();
    last_class = -1;
  };
  for (const Item& item : items) {
    if (!has_base) {
      if (item.combining_class != 0) {
        out.push_back(item);
      } else {
        base = item;
        has_base = true;
      }
      continue;
    }
    const bool blocked = last_class >= 0 && last_class >= item.combining_class;
    if (!blocked) {
      if (const uint32_t composed = compose(base.code, item.code, at)) {
        base.code = composed;
        base.change += item.change - 1;
        continue;
      }
    }
    if (item.combining_class == 0) {
      flush();
      base = item;
    } else {
      marks.push_back(item);
      last_class = item.combining_class;
    }
  }
  flush();
  items.swap(out);
}

}  // namespace

void normalize_form(AlignedText& text, NormalForm form, int at) {
  const bool composed = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const bool compatibility = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  // Everything before the first character that may change stays; that character may join the one before it.
  size_t unchanged = 0;
  bool all_inert = true;
  for (size_t pos = 0; pos < text.text.size();) {
    const unsigned char byte = static_cast<unsigned char>(text.text[pos]);
    const size_t start = pos;
    if (byte < 0x80) {
      ++pos;
    } else if (!unicode::is_inert(utf8_next(text.text, pos), composed, compatibility)) {
      all_inert = false;
      break;
    }
    unchanged = start;
  }
  if (all_inert) return;
  std::vector<Item> items;
  items.reserve(text.text.size() - unchanged);
  for (size_t pos = unchanged; pos < text.text.size();) {
    const size_t first = items.size();
    decompose(utf8_next(text.text, pos), compatibility, at, items);
    items[first].change = 0;
  }
  for (size_t i = 0; i < items.size();) {
    if (items[i].combining_class == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < items.size() && items[end].combining_class != 0) ++end;
    order_marks(items, i, end);
    i = end;
  }
  if (composed) recompose(items, at);
  Rewriter rewriter(text);
  rewriter.copy(0, unchanged);
  for (const Item& item : items) rewriter.put(item.code, item.change);
  rewriter.finish();
}

std::string normalize_form(std::string_view text, NormalForm form, int at) {
  AlignedText piece = AlignedText::from_original(text, 0, text.size(), false);
  normalize_form(piece, form, at);
  return std::move(piece.text);
}

}  // namespace pagoda
