// Set operations on sorted ranges, and properties by name.
#include "text/code_set.h"

#include <algorithm>
#include <string>

#include "text/property_ranges.h"
#include "text/unicode.h"
#include "text/unicode_tables.h"

namespace pagoda {

namespace {

using unicode::Category;

CodeSet collect(int at, const std::function<bool(const unicode::Record&)>& wanted) {
  CodeSet set;
  for (int i = 0; i < unicode::kRunCount; ++i) {
    unicode::Record record = unicode::kRecords[unicode::kRunRecords[i]];
    if (record.age == 0 || record.age > at) record = unicode::Record{};  // not assigned yet
    if (!wanted(record)) continue;
    set.add(unicode::kRunStarts[i], i + 1 < unicode::kRunCount ? unicode::kRunStarts[i + 1] - 1 : 0x10FFFF);
  }
  return set;
}

// Long names of categories, as patterns may spell them.
struct LongName {
  const char* name;
  const char* category;
};
constexpr LongName kLongNames[] = {
    {"letter", "L"},
    {"casedletter", "LC"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"punct", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"surrogate", "Cs"},
    {"privateuse", "Co"},
    {"unassigned", "Cn"},
};

std::string category_of(Category category) { return unicode::plain_name(unicode::category_name(category)); }

template <size_t kCount>
CodeSet listed(const CodeSet::Range (&ranges)[kCount]) {
  CodeSet set;
  for (const CodeSet::Range& r : ranges) set.add(r.first, r.last);
  return set;
}

// The name of a script that is given by its four letters (in lower case); another name as it is.
std::string_view script_of_code(std::string_view name) {
  if (name.size() != 4) return name;
  for (size_t pos = 0; pos < kScriptCodes.size();) {
    const size_t end = kScriptCodes.find(' ', pos);
    if (unicode::plain_name(kScriptCodes.substr(pos, 4)) == name) return kScriptCodes.substr(pos + 5, end - pos - 5);
    pos = end + 1;
  }
  return name;
}

bool is_mark(Category c) { return c >= Category::kMn && c <= Category::kMe; }
constexpr int kAlphabeticFlag = 16;

CodeSet from_ranges(std::initializer_list<CodeSet::Range> list) {
  CodeSet set;
  for (const CodeSet::Range& r : list) set.add(r.first, r.last);
  return set;
}

}  // namespace

CodeSet CodeSet::range(uint32_t first, uint32_t last) {
  CodeSet set;
  set.add(first, last);
  return set;
}

std::optional<CodeSet> CodeSet::property(std::string_view name, int at) {
  const std::string key = unicode::plain_name(name);
  std::string category = key;
  for (const LongName& known : kLongNames) {
    if (key == known.name) category = unicode::plain_name(known.category);
  }
  if (category == "lc" || category == "l&") {
    return collect(at, [](const unicode::Record& r) {
      const Category c = static_cast<Category>(r.category);
      return c == Category::kLu || c == Category::kLl || c == Category::kLt;
    });
  }
  if (category.size() == 1 && std::string_view("lmnpszc").find(category[0]) != std::string_view::npos) {
    return collect(at,
                   [&](const unicode::Record& r) { return category_of(static_cast<Category>(r.category))[0] == category[0]; });
  }
  for (int c = 0; c <= static_cast<int>(Category::kCo); ++c) {
    if (category != category_of(static_cast<Category>(c))) continue;
    return collect(at, [c](const unicode::Record& r) { return r.category == c; });
  }
  const auto of_category = [at](auto wanted) {
    return collect(at, [wanted](const unicode::Record& r) { return wanted(static_cast<Category>(r.category), r); });
  };
  if (key == "any") return all();
  if (key == "ascii") return range(0, 0x7F);
  if (key == "assigned") return of_category([](Category c, const auto&) { return c != Category::kCn; });
  if (key == "space" || key == "whitespace" || key == "xposixspace") {
    return from_ranges({{9, 13},
                        {32, 32},
                        {0x85, 0x85},
                        {0xA0, 0xA0},
                        {0x1680, 0x1680},
                        {0x2000, 0x200A},
                        {0x2028, 0x2029},
                        {0x202F, 0x202F},
                        {0x205F, 0x205F},
                        {0x3000, 0x3000}});
  }
  if (key == "blank") return property("Zs", at)->united(range(9, 9));
  if (key == "digit") return property("Nd", at);
  if (key == "xdigit" || key == "asciihexdigit") return from_ranges({{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
  if (key == "cntrl") return property("Cc", at);
  if (key == "upper" || key == "uppercase") return property("Lu", at)->united(listed(kOtherUppercase));
  if (key == "lower" || key == "lowercase") return property("Ll", at)->united(listed(kOtherLowercase));
  if (key == "emoji") return listed(kEmoji);
  if (key == "extendedpictographic") return listed(kExtendedPictographic);
  if (key == "ideographic") return listed(kIdeographic);
  if (key == "alphabetic" || key == "alpha") {
    return of_category([](Category, const unicode::Record& r) { return (r.flags & kAlphabeticFlag) != 0; });
  }
  if (key == "alnum") return property("alphabetic", at)->united(*property("Nd", at));
  if (key == "word" || key == "w") {
    return of_category([](Category c, const unicode::Record& r) {
      return (r.flags & kAlphabeticFlag) != 0 || is_mark(c) || c == Category::kNd || c == Category::kPc;
    });
  }
  if (key == "xposixpunct") return property("P", at)->united(*property("S", at));
  if (key == "graph" || key == "print") {
    const CodeSet graph = of_category([](Category c, const auto&) {
      return c != Category::kCn && c != Category::kCc && c != Category::kCs && c != Category::kZs && c != Category::kZl &&
             c != Category::kZp;
    });
    return key == "graph" ? graph : graph.united(*property("Zs", at));
  }
  if (const std::optional<int> script = unicode::script_by_name(script_of_code(key))) {
    if (*script == 0) return std::nullopt;
    return of_category([script](Category, const unicode::Record& r) { return r.script == *script; });
  }
  return std::nullopt;
}

CodeSet CodeSet::assigned_after(int version) {
  CodeSet set;
  for (int i = 0; i < unicode::kRunCount; ++i) {
    if (unicode::kRecords[unicode::kRunRecords[i]].age <= version) continue;
    set.add(unicode::kRunStarts[i], i + 1 < unicode::kRunCount ? unicode::kRunStarts[i + 1] - 1 : 0x10FFFF);
  }
  return set;
}

void CodeSet::add(uint32_t first, uint32_t last) {
  if (first > last) return;
  if (ranges_.empty() || first > ranges_.back().last + 1) {
    ranges_.push_back({first, last});
  } else if (first >= ranges_.back().first) {
    ranges_.back().last = std::max(ranges_.back().last, last);
  } else if (!holds(first, last)) {
    late_.push_back({first, last});
    if (late_.size() <= 64 + ranges_.size() / 8) return;
    ranges_ = merged();
    late_.clear();
  }
}

bool CodeSet::holds(uint32_t first, uint32_t last) const {
  const auto it = std::upper_bound(ranges_.begin(), ranges_.end(), first,
                                   [](uint32_t code, const Range& range) { return code < range.first; });
  return it != ranges_.begin() && last <= std::prev(it)->last;
}

std::vector<CodeSet::Range> CodeSet::merged() const {
  std::vector<Range> all = ranges_, result;
  all.insert(all.end(), late_.begin(), late_.end());
  std::sort(all.begin(), all.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  for (const Range& r : all) {
    if (!result.empty() && r.first <= result.back().last + 1) {
      result.back().last = std::max(result.back().last, r.last);
    } else {
      result.push_back(r);
    }
  }
  return result;
}

std::vector<CodeSet::Range> CodeSet::ranges() const { return late_.empty() ? ranges_ : merged(); }

bool CodeSet::empty() const { return ranges_.empty(); }

CodeSet CodeSet::united(const CodeSet& other) const {
  CodeSet set = *this;
  for (const Range& r : other.ranges()) set.add(r.first, r.last);
  return set;
}

CodeSet CodeSet::intersected(const CodeSet& other) const {
  CodeSet set;
  const std::vector<Range> a = ranges(), b = other.ranges();
  for (size_t i = 0, k = 0; i < a.size() && k < b.size();) {
    const uint32_t first = std::max(a[i].first, b[k].first), last = std::min(a[i].last, b[k].last);
    set.add(first, last);
    if (a[i].last < b[k].last) {
      ++i;
    } else {
      ++k;
    }
  }
  return set;
}

CodeSet CodeSet::complement() const {
  CodeSet set;
  uint32_t next = 0;
  for (const Range& r : ranges()) {
    if (r.first > next) set.add(next, r.first - 1);
    next = r.last + 1;
  }
  if (next <= 0x10FFFF) set.add(next, 0x10FFFF);
  return set;
}

bool CodeSet::contains(uint32_t code) const {
  return holds(code, code) ||
         std::any_of(late_.begin(), late_.end(), [code](const Range& r) { return r.first <= code && code <= r.last; });
}

}  // namespace pagoda
