// Work on UTF-8 text that methods and filters share. All of it takes time linear in the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda::jinja {

class Interp;

size_t find_first(std::string_view text, std::string_view part);  // byte offset or npos
size_t find_last(std::string_view text, std::string_view part);

// Occurrences of a part (not empty) that do not overlap, from the left.
class Finder {
 public:
  Finder(std::string_view text, std::string_view part) : text_(text), part_(part) {}
  bool next();
  size_t at() const { return at_; }

 private:
  std::string_view text_, part_;
  size_t from_ = 0, at_ = 0;
};

// Without `set`: white space off the ends; else the code points of `set`.
std::string_view strip_text(std::string_view text, const std::string* set, bool left, bool right);
// At most `limit` cuts where it is not negative.
std::vector<std::string> split_space(std::string_view text, int64_t limit, bool backward);
std::vector<std::string> split_text(std::string_view text, std::string_view separator, int64_t limit, bool backward);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);
std::string replace_text(Interp& interp, std::string_view text, std::string_view old, std::string_view fresh, int64_t limit);

bool is_lower_text(std::string_view text);  // str.islower
bool is_upper_text(std::string_view text);

std::string unescape_html(std::string_view text);
std::string strip_tags(Interp& interp, std::string_view text);

// textwrap.wrap(text, width, expand_tabs=False, replace_whitespace=False, ...).
std::vector<std::string> wrap_text(Interp& interp, std::string_view text, int64_t width, bool break_long_words,
                                   bool break_on_hyphens);

}  // namespace pagoda::jinja
