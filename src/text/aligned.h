// Text that remembers, for each byte, which bytes of the original it came from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda {

struct Span {
  uint32_t begin = 0, end = 0;  // bytes of the original
  bool operator==(const Span& other) const { return begin == other.begin && end == other.end; }
};

// Throws kInvalidInput where a rewriting made `size` bytes of a text that may have `limit`.
void check_growth(size_t size, size_t limit);

// One piece of text on its way through the normalisers. Without tracking `align` stays empty and costs nothing.
struct AlignedText {
  std::string text;
  std::vector<Span> align;  // one a byte of `text` when tracking
  bool track = false;
  uint32_t shift = 0;              // where this piece begins in the original
  size_t limit = kMinGrowthLimit;  // bytes it may grow to, whatever a tokenizer file asks for

  static constexpr size_t kMinGrowthLimit = size_t{1} << 22;
  static size_t growth_limit(size_t original_bytes);  // 64 times the original, or kMinGrowthLimit where that is more

  // A piece [begin, end) of an original, as yet unchanged.
  static AlignedText from_original(std::string_view original, size_t begin, size_t end, bool track);
};

// Rewrites a range of an AlignedText character by character. Each new character says how it changes the count:
//   0: takes the place of the next source character; 1: is new beside the previous one (and shares its origin);
//   -n: takes the place of the next source character, and the n after it vanish.
// These are the rules by which Hugging Face's tokenizers assign offsets.
class Rewriter {
 public:
  // Rewrites bytes [begin, end) of `target`; the first `removed` characters of it vanish.
  Rewriter(AlignedText& target, size_t begin, size_t end, size_t removed = 0);
  explicit Rewriter(AlignedText& target, size_t removed = 0) : Rewriter(target, 0, target.text.size(), removed) {}
  void put(uint32_t code, int64_t change);
  // Copies source bytes [pos, pos + bytes) unchanged, whole characters, and goes on behind them.
  void copy(size_t pos, size_t bytes);
  // Leaves out the source up to byte `pos`; what is put next with change 1 takes the origin of the last byte left out.
  void skip_to(size_t pos) { source_ = pos; }
  void finish();  // installs the new text

 private:
  size_t next_length();
  AlignedText& target_;
  size_t begin_, end_;
  size_t source_;  // next source byte to replace
  std::string text_;
  std::vector<Span> align_;
};

}  // namespace pagoda
