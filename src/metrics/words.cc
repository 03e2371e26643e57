// What lies between white space of any kind.
#include "metrics/words.h"

#include "base/utf8.h"
#include "text/python_unicode.h"

namespace pagoda {

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    if (!python::is_space(utf8_next(text, pos))) continue;
    if (at > begin) words.emplace_back(text.substr(begin, at - begin));
    begin = pos;
  }
  if (text.size() > begin) words.emplace_back(text.substr(begin));
  return words;
}

}  // namespace pagoda
