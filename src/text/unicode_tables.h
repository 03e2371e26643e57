// Layout of the generated Unicode tables; tools/unicode/generate.cc writes them, only text/unicode.cc and text/code_set.cc
// read them.
#pragma once

#include <cstdint>

namespace pagoda::unicode {

enum Flag {
  kPictographic = 1,
  kConsonant = 2,
  kLinker = 4,
  kConjunctExtend = 8,
  kAlphabetic = 16,
  kDecomposes = 32,
  kHasCase = 64,
  kComposesBack = 128,
  kNotNfc = 256
};

// In the order of Category.
inline constexpr const char* kCategoryNames[] = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                                                 "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                                                 "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};

struct Record {
  uint8_t category;  // index into kCategoryNames
  uint8_t age;       // Unicode version * 10, 0 for unassigned
  uint8_t script;    // index into kScriptNames
  uint8_t grapheme_break;
  uint16_t flags;  // of Flag
  uint8_t combining_class;
};

struct Mapping {
  uint32_t code;
  uint32_t offset;  // into the pool of the same name
  uint16_t length;
  uint16_t kind;  // decompositions: 0 canonical, 1 canonical but never composed, 2 compatibility
};

struct Composition {
  uint32_t first, second, composed;
};

// Code points in runs of equal records: run i is [kRunStarts[i], kRunStarts[i + 1]).
extern const int kRunCount;
extern const uint32_t kRunStarts[];
extern const uint16_t kRunRecords[];
extern const uint16_t kStage1[];
extern const uint16_t kStage2[];
extern const Record kRecords[];
extern const char* const kScriptNames[];
extern const int kScriptCount;
extern const Mapping kDecompositions[], kLower[], kUpper[], kTitle[];
extern const int kDecompositionsCount, kLowerCount, kUpperCount, kTitleCount;
extern const uint32_t kDecompositionsPool[], kLowerPool[], kUpperPool[], kTitlePool[];
extern const Composition kCompositions[];
extern const int kCompositionsCount;

}  // namespace pagoda::unicode
