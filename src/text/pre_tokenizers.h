// Pre-tokenizers of tokenizer.json: text cut into the words that the model sees.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/aligned.h"
#include "text/regex.h"

namespace pagoda {

// A text cut into pieces. A piece with a token is an added token that nothing touches any more.
struct PreTokenized {
  struct Piece {
    uint32_t begin = 0, end = 0;  // bytes of `text`
    uint32_t shift = 0;           // where the piece begins in the original
    int32_t token = -1;
  };
  std::string text;
  std::vector<Span> align;  // one a byte when tracking
  bool track = false;
  std::vector<Piece> pieces;
  size_t limit = AlignedText::kMinGrowthLimit;  // bytes it may grow to

  // Appends the whole of `part` as a piece (left out when empty).
  void append(const AlignedText& part, int32_t token = -1);
};

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(PreTokenized& text, RegexScratch& scratch) const = 0;
};

using PreTokenizerPtr = std::shared_ptr<const PreTokenizer>;

namespace pre_tokenizers {

PreTokenizerPtr sequence(std::vector<PreTokenizerPtr> steps);
PreTokenizerPtr split(std::shared_ptr<const Regex> pattern, SplitBehavior behavior, bool invert);
PreTokenizerPtr split(std::string literal, SplitBehavior behavior, bool invert);
PreTokenizerPtr whitespace();
PreTokenizerPtr whitespace_split();
PreTokenizerPtr bert();
PreTokenizerPtr punctuation(SplitBehavior behavior);
PreTokenizerPtr digits(bool individual);
PreTokenizerPtr char_delimiter(uint32_t delimiter);
PreTokenizerPtr unicode_scripts();
PreTokenizerPtr fixed_length(int64_t length);  // at least 1

enum class PrependScheme { kAlways, kFirst, kNever };
PreTokenizerPtr metaspace(uint32_t replacement, PrependScheme scheme, bool split);

// `pattern` null: the text is not cut. `map_bytes` false leaves the bytes as they are, for a model that reads raw bytes.
PreTokenizerPtr byte_level(std::shared_ptr<const Regex> pattern, bool add_prefix_space, bool map_bytes);
extern const char* const kByteLevelPattern;  // GPT-2's

}  // namespace pre_tokenizers
}  // namespace pagoda
