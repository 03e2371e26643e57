// Turns src/text/unicode/ucd.txt into unicode_tables.cc: two-stage property tables, decompositions, compositions, case.
#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "text/unicode_tables.h"

namespace {

namespace unicode = pagoda::unicode;

// Order matters: src/text/unicode.h numbers the same names.
const std::vector<std::string> kBreaks = {"Other",   "CR",          "LF", "Control", "Extend", "ZWJ", "Regional_Indicator",
                                          "Prepend", "SpacingMark", "L",  "V",       "T",      "LV",  "LVT"};

template <class Names>
int index_of(const Names& names, const std::string& name) {
  const auto found = std::find(std::begin(names), std::end(names), name);
  if (found == std::end(names)) {
    std::cerr << "generate: unknown name " << name << "\n";
    std::exit(1);
  }
  return static_cast<int>(found - std::begin(names));
}

// category, age, script, break, flags, combining class
using Record = std::array<int, 6>;
constexpr int kCodes = 0x110000;

template <class T>
void emit(std::ostream& out, const char* type, const char* name, const std::vector<T>& values) {
  out << "const " << type << " " << name << "[" << values.size() << "] = {";
  for (size_t i = 0; i < values.size(); ++i) out << (i % 32 == 0 ? "\n" : "") << +values[i] << ",";
  out << "};\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: generate UCD.TXT OUT.CC\n";
    return 1;
  }
  std::ifstream in(argv[1]);
  std::vector<Record> records(kCodes, Record{0, 0, 0, 0, 0, 0});
  std::vector<std::string> scripts = {"Unknown"};
  struct Mapping {
    uint32_t code;
    int kind;
    std::vector<uint32_t> to;
  };
  std::vector<Mapping> decompositions;
  std::array<std::vector<Mapping>, 3> cases;
  std::vector<uint32_t> composes_back;  // second halves of compositions, Hangul vowels and finals
  for (uint32_t c = 0x1161; c <= 0x11C2; ++c) composes_back.push_back(c);
  std::string line;
  while (std::getline(in, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string letter;
    fields >> letter >> std::hex;
    if (letter == "R") {
      uint32_t first, last;
      int age;
      std::string category, script, grapheme, flags;
      fields >> first >> last >> category >> std::dec >> age >> script >> grapheme >> flags;
      auto known = std::find(scripts.begin(), scripts.end(), script);
      if (known == scripts.end()) known = scripts.insert(scripts.end(), script);
      int bits = 0;
      for (char c : flags)
        bits |= c == 'p'   ? unicode::kPictographic
                : c == 'c' ? unicode::kConsonant
                : c == 'l' ? unicode::kLinker
                : c == 'e' ? unicode::kConjunctExtend
                : c == 'a' ? unicode::kAlphabetic
                           : 0;
      const Record record = {index_of(unicode::kCategoryNames, category),
                             age,
                             static_cast<int>(known - scripts.begin()),
                             index_of(kBreaks, grapheme),
                             bits,
                             0};
      for (uint32_t c = first; c <= last; ++c) records[c] = record;
    } else if (letter == "C") {
      uint32_t code;
      int ccc;
      fields >> code >> std::dec >> ccc;
      records[code][5] = ccc;
    } else {
      Mapping mapping{0, 0, {}};
      fields >> mapping.code;
      if (letter == "D") {
        std::string kind;
        fields >> kind;
        mapping.kind = kind == "c" ? 0 : kind == "x" ? 1 : 2;
      }
      for (uint32_t to; fields >> to;) mapping.to.push_back(to);
      if (letter == "D") {
        records[mapping.code][4] |= unicode::kDecomposes | (mapping.kind == 1 ? unicode::kNotNfc : 0);
        if (mapping.kind == 0 && mapping.to.size() == 2) composes_back.push_back(mapping.to[1]);
        decompositions.push_back(mapping);
      } else {
        records[mapping.code][4] |= unicode::kHasCase;
        cases[letter == "L" ? 0 : letter == "U" ? 1 : 2].push_back(mapping);
      }
    }
  }

  for (uint32_t c : composes_back) records[c][4] |= unicode::kComposesBack;

  std::ofstream out(argv[2]);
  out << "// Made by tools/unicode/generate.cc from ucd.txt; not committed.\n#include \"text/unicode_tables.h\"\nnamespace "
         "pagoda::unicode {\n";
  std::map<Record, int> numbers;
  std::vector<Record> unique;
  std::map<std::vector<int>, int> blocks;
  std::vector<int> stage1, stage2;
  for (int block = 0; block < kCodes / 256; ++block) {
    std::vector<int> cells(256);
    for (int i = 0; i < 256; ++i) {
      const Record& record = records[block * 256 + i];
      const auto [it, added] = numbers.try_emplace(record, static_cast<int>(unique.size()));
      if (added) unique.push_back(record);
      cells[i] = it->second;
    }
    const auto [it, added] = blocks.try_emplace(cells, static_cast<int>(blocks.size()));
    if (added) stage2.insert(stage2.end(), cells.begin(), cells.end());
    stage1.push_back(it->second);
  }
  std::vector<int> run_starts, run_records;
  for (int c = 0; c < kCodes; ++c) {
    const int number = numbers.at(records[c]);
    if (c == 0 || number != run_records.back()) {
      run_starts.push_back(c);
      run_records.push_back(number);
    }
  }
  out << "const int kRunCount = " << run_starts.size() << ";\n";
  emit(out, "uint32_t", "kRunStarts", run_starts);
  emit(out, "uint16_t", "kRunRecords", run_records);
  emit(out, "uint16_t", "kStage1", stage1);
  emit(out, "uint16_t", "kStage2", stage2);
  out << "const Record kRecords[" << unique.size() << "] = {\n";
  for (const Record& r : unique)
    out << "{" << r[0] << "," << r[1] << "," << r[2] << "," << r[3] << "," << r[4] << "," << r[5] << "},\n";
  out << "};\nconst char* const kScriptNames[" << scripts.size() << "] = {";
  for (const std::string& script : scripts) out << "\"" << script << "\",";
  out << "};\nconst int kScriptCount = " << scripts.size() << ";\n";

  const auto emit_mappings = [&](const std::string& name, std::vector<Mapping> mappings) {
    std::sort(mappings.begin(), mappings.end(), [](const Mapping& a, const Mapping& b) { return a.code < b.code; });
    std::vector<uint32_t> pool;
    out << "const Mapping " << name << "[" << mappings.size() << "] = {\n";
    for (const Mapping& mapping : mappings) {
      out << "{" << mapping.code << "," << pool.size() << "," << mapping.to.size() << "," << mapping.kind << "},\n";
      pool.insert(pool.end(), mapping.to.begin(), mapping.to.end());
    }
    out << "};\nconst int " << name << "Count = " << mappings.size() << ";\n";
    emit(out, "uint32_t", (name + "Pool").c_str(), pool);
  };
  emit_mappings("kDecompositions", decompositions);
  emit_mappings("kLower", cases[0]);
  emit_mappings("kUpper", cases[1]);
  emit_mappings("kTitle", cases[2]);
  std::vector<std::tuple<uint32_t, uint32_t, uint32_t>> compositions;
  for (const Mapping& mapping : decompositions) {
    if (mapping.kind == 0 && mapping.to.size() == 2) compositions.emplace_back(mapping.to[0], mapping.to[1], mapping.code);
  }
  std::sort(compositions.begin(), compositions.end());
  out << "const Composition kCompositions[" << compositions.size() << "] = {\n";
  for (const auto& [first, second, composed] : compositions) out << "{" << first << "," << second << "," << composed << "},\n";
  out << "};\nconst int kCompositionsCount = " << compositions.size() << ";\n}  // namespace pagoda::unicode\n";
  return out.good() ? 0 : 1;
}
