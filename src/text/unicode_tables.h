// Layout of the generated Unicode tables; only text/unicode.cc and text/code_set.cc read them.
#pragma once

#include <cstdint>

namespace pagoda::unicode {

struct Record {
  uint8_t category;
  uint8_t age;     // Unicode version * 10, 0 for unassigned
  uint8_t script;  // index into kScriptNames
  uint8_t grapheme_break;
  uint16_t flags;
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
