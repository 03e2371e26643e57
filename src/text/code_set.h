// Sets of code points as sorted ranges: what a character class of a pattern means. Sets that are not changed may be shared.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

namespace pagoda {

class CodeSet {
 public:
  struct Range {
    uint32_t first, last;  // both included
  };
  CodeSet() = default;
  static CodeSet range(uint32_t first, uint32_t last);
  static CodeSet all() { return range(0, 0x10FFFF); }
  // Code points of a general category or group ("Lu", "L"), script, or binary property (Alphabetic, White_Space ...) by name,
  // as of Unicode version `at` (times ten). None where the name is unknown.
  static std::optional<CodeSet> property(std::string_view name, int at);
  static CodeSet assigned_after(int version);  // assigned in a version newer than `version`

  void add(uint32_t first, uint32_t last);
  CodeSet united(const CodeSet& other) const;
  CodeSet intersected(const CodeSet& other) const;
  CodeSet complement() const;
  bool contains(uint32_t code) const;
  bool empty() const;
  std::vector<Range> ranges() const;  // sorted, disjoint, not adjacent

 private:
  bool holds(uint32_t first, uint32_t last) const;  // within one of ranges_
  std::vector<Range> merged() const;
  std::vector<Range> ranges_;  // sorted, disjoint, not adjacent
  std::vector<Range> late_;    // added out of order since: merged once they are many, so that a set of n ranges costs n log n
};

}  // namespace pagoda
