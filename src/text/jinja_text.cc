// Work on UTF-8 text that methods and filters share.
#include "text/jinja_text.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "base/utf8.h"
#include "text/jinja_interp.h"
#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace pagoda::jinja {

size_t find_first(std::string_view text, std::string_view part) {
  if (part.empty()) return 0;
  // memmem is linear; std::string::find is not.
  const void* found = memmem(text.data(), text.size(), part.data(), part.size());
  return found == nullptr ? std::string_view::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t find_last(std::string_view text, std::string_view part) {
  if (part.empty()) return text.size();
  std::string reversed_text(text.rbegin(), text.rend());
  std::string reversed_part(part.rbegin(), part.rend());
  const size_t at = find_first(reversed_text, reversed_part);
  return at == std::string_view::npos ? at : text.size() - at - part.size();
}

bool Finder::next() {
  const size_t found = find_first(text_.substr(from_), part_);
  if (found == std::string_view::npos) return false;
  at_ = from_ + found;
  from_ = at_ + part_.size();
  return true;
}

namespace {

size_t previous(std::string_view text, size_t at) {
  --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

uint32_t code_at(std::string_view text, size_t at) { return utf8_next(text, at); }

}  // namespace

std::string_view strip_text(std::string_view text, const std::string* set, bool left, bool right) {
  std::unordered_set<uint32_t> codes;
  if (set != nullptr) {
    for (size_t i = 0; i < set->size();) codes.insert(utf8_next(*set, i));
  }
  const auto strippable = [&](uint32_t code) { return set == nullptr ? is_space(code) : codes.count(code) != 0; };
  size_t begin = 0, end = text.size();
  while (left && begin < end) {
    size_t next = begin;
    if (!strippable(utf8_next(text, next))) break;
    begin = next;
  }
  while (right && end > begin) {
    const size_t start = previous(text, end);
    if (!strippable(code_at(text, start))) break;
    end = start;
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string> split_space(std::string_view text, int64_t limit, bool backward) {
  std::vector<std::string> parts;
  if (!backward) {
    size_t at = 0;
    while (true) {
      while (at < text.size()) {
        size_t next = at;
        if (!is_space(utf8_next(text, next))) break;
        at = next;
      }
      if (at >= text.size()) break;
      if (limit >= 0 && static_cast<int64_t>(parts.size()) >= limit) {
        parts.emplace_back(text.substr(at));
        break;
      }
      size_t end = at;
      while (end < text.size()) {
        size_t next = end;
        if (is_space(utf8_next(text, next))) break;
        end = next;
      }
      parts.emplace_back(text.substr(at, end - at));
      at = end;
    }
    return parts;
  }
  size_t end = text.size();
  while (true) {
    while (end > 0 && is_space(code_at(text, previous(text, end)))) end = previous(text, end);
    if (end == 0) break;
    if (limit >= 0 && static_cast<int64_t>(parts.size()) >= limit) {
      parts.emplace_back(text.substr(0, end));
      break;
    }
    size_t start = end;
    while (start > 0 && !is_space(code_at(text, previous(text, start)))) start = previous(text, start);
    parts.emplace_back(text.substr(start, end - start));
    end = start;
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> split_text(std::string_view text, std::string_view separator, int64_t limit, bool backward) {
  std::vector<std::string> parts;
  if (!backward) {
    size_t from = 0;
    while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
      const size_t found = find_first(text.substr(from), separator);
      if (found == std::string_view::npos) break;
      parts.emplace_back(text.substr(from, found));
      from += found + separator.size();
    }
    parts.emplace_back(text.substr(from));
    return parts;
  }
  // From the right: the reversed text from the left.
  const std::string reversed(text.rbegin(), text.rend());
  const std::string mark(separator.rbegin(), separator.rend());
  for (std::string& part : split_text(reversed, mark, limit, false)) {
    std::reverse(part.begin(), part.end());
    parts.push_back(std::move(part));
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  size_t start = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t at = i;
    const uint32_t code = utf8_next(text, i);
    if (!is_line_end(code)) continue;
    if (code == '\r' && i < text.size() && text[i] == '\n') ++i;
    lines.emplace_back(text.substr(start, (keep_ends ? i : at) - start));
    start = i;
  }
  if (start < text.size()) lines.emplace_back(text.substr(start));
  return lines;
}

std::string replace_text(Interp& interp, std::string_view text, std::string_view old, std::string_view fresh, int64_t limit) {
  interp.work_bytes(text.size());
  std::string out;
  if (limit == 0) return std::string(text);
  int64_t done = 0;
  if (old.empty()) {
    // Between all code points, and at both ends.
    for (size_t i = 0; i <= text.size();) {
      if (limit >= 0 && done >= limit) {
        out += text.substr(i);
        break;
      }
      out += fresh;
      ++done;
      interp.work(1);
      interp.check_size(out.size());
      if (i == text.size()) break;
      const size_t start = i;
      utf8_next(text, i);
      out += text.substr(start, i - start);
    }
    return out;
  }
  size_t from = 0;
  for (Finder finder(text, old); (limit < 0 || done < limit) && finder.next(); ++done) {
    out += text.substr(from, finder.at() - from);
    out += fresh;
    from = finder.at() + old.size();
    interp.check_size(out.size());
  }
  out += text.substr(from);
  return out;
}

bool is_lower_text(std::string_view text) {
  bool cased = false;
  for (size_t i = 0; i < text.size();) {
    const uint32_t code = utf8_next(text, i);
    if (is_upper(code) || is_title(code)) return false;
    cased = cased || is_lower(code);
  }
  return cased;
}

bool is_upper_text(std::string_view text) {
  bool cased = false;
  for (size_t i = 0; i < text.size();) {
    const uint32_t code = utf8_next(text, i);
    if (is_lower(code) || is_title(code)) return false;
    cased = cased || is_upper(code);
  }
  return cased;
}

namespace {

struct Entity {
  const char* name;
  uint32_t code;
};
// The entities of HTML 2 to 4 that text is likely to hold.
constexpr Entity kEntities[] = {
    {"amp", '&'},      {"lt", '<'},       {"gt", '>'},       {"quot", '"'},     {"apos", '\''},     {"nbsp", 0xA0},
    {"copy", 0xA9},    {"reg", 0xAE},     {"raquo", 0xBB},   {"laquo", 0xAB},   {"hellip", 0x2026}, {"mdash", 0x2014},
    {"ndash", 0x2013}, {"lsquo", 0x2018}, {"rsquo", 0x2019}, {"ldquo", 0x201C}, {"rdquo", 0x201D},  {"euro", 0x20AC},
    {"pound", 0xA3},   {"yen", 0xA5},     {"cent", 0xA2},    {"sect", 0xA7},    {"para", 0xB6},     {"middot", 0xB7},
    {"bull", 0x2022},  {"trade", 0x2122}, {"deg", 0xB0},     {"plusmn", 0xB1},  {"times", 0xD7},    {"divide", 0xF7},
    {"rarr", 0x2192},  {"larr", 0x2190},  {"uarr", 0x2191},  {"darr", 0x2193},  {"auml", 0xE4},     {"ouml", 0xF6},
    {"uuml", 0xFC},    {"Auml", 0xC4},    {"Ouml", 0xD6},    {"Uuml", 0xDC},    {"szlig", 0xDF},    {"eacute", 0xE9},
    {"egrave", 0xE8},  {"agrave", 0xE0},  {"ccedil", 0xE7},  {"ntilde", 0xF1},  {"iexcl", 0xA1},    {"iquest", 0xBF}};

}  // namespace

std::string unescape_html(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '&') {
      out.push_back(text[i++]);
      continue;
    }
    size_t end = i + 1;
    if (end < text.size() && text[end] == '#') {
      ++end;
      int base = 10;
      if (end < text.size() && (text[end] == 'x' || text[end] == 'X')) {
        base = 16;
        ++end;
      }
      const size_t digits = end;
      uint64_t code = 0;
      while (end < text.size() && std::isxdigit(static_cast<unsigned char>(text[end])) != 0 &&
             (base == 16 || std::isdigit(static_cast<unsigned char>(text[end])) != 0)) {
        const char c = text[end];
        const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
        code = std::min<uint64_t>(code * static_cast<uint64_t>(base) + static_cast<uint64_t>(digit), 0x7FFFFFFF);
        ++end;
      }
      if (end > digits) {
        if (end < text.size() && text[end] == ';') ++end;
        utf8_append(out, code == 0 || code > 0x10FFFF ? kReplacement : static_cast<uint32_t>(code));
        i = end;
        continue;
      }
    } else {
      while (end < text.size() && end - i < 12 && std::isalnum(static_cast<unsigned char>(text[end])) != 0) ++end;
      if (end < text.size() && text[end] == ';') {
        const std::string_view name = text.substr(i + 1, end - i - 1);
        const Entity* found =
            std::find_if(std::begin(kEntities), std::end(kEntities), [&](const Entity& entity) { return name == entity.name; });
        if (found != std::end(kEntities)) {
          utf8_append(out, found->code);
          i = end + 1;
          continue;
        }
      }
    }
    out.push_back(text[i++]);
  }
  return out;
}

std::string strip_tags(Interp& interp, std::string_view text) {
  interp.work_bytes(text.size());
  std::string kept;
  size_t pos = 0;
  for (size_t start = text.find('<'); start != std::string_view::npos; start = text.find('<', pos)) {
    const bool comment = text.compare(start, 4, "<!--") == 0;
    const size_t end = comment ? text.find("-->", start + 4) : text.find('>', start);
    if (end == std::string_view::npos) break;
    kept += text.substr(pos, start - pos);
    pos = end + (comment ? 3 : 1);
  }
  kept += text.substr(pos);
  std::string joined;
  for (const std::string& word : split_space(kept, -1, false)) {
    if (!joined.empty()) joined.push_back(' ');
    joined += word;
  }
  return unescape_html(joined);
}

namespace {

bool ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Pieces that a line may be broken between, as textwrap finds them.
std::vector<std::string> wrap_chunks(std::string_view text, bool hyphens) {
  std::vector<std::string> chunks;
  const auto letter_at = [&](size_t at) {
    if (at >= text.size()) return false;
    const uint32_t code = code_at(text, at);
    return is_word(code) && !is_decimal(code);
  };
  const auto wordish = [&](size_t at) {  // [\w!"'&.,?]
    return at < text.size() && (is_word(code_at(text, at)) || std::strchr("!\"'&.,?", text[at]) != nullptr);
  };
  size_t i = 0;
  while (i < text.size()) {
    size_t end = i;
    if (ascii_space(text[i])) {
      while (end < text.size() && ascii_space(text[end])) ++end;
    } else if (!hyphens) {
      while (end < text.size() && !ascii_space(text[end])) ++end;
    } else {
      size_t dashes = i;
      while (dashes < text.size() && text[dashes] == '-') ++dashes;
      const bool after_word = i > 0 && wordish(previous(text, i));
      if (dashes - i >= 2 && after_word && dashes < text.size() && is_word(code_at(text, dashes))) {
        end = dashes;  // an em-dash between words
      } else {
        while (end < text.size() && !ascii_space(text[end])) {
          // A hyphenated word may break after the hyphen, where two letters stand on either side.
          if (text[end] == '-' && end > i && letter_at(end + 1)) {
            const size_t one = previous(text, end);
            const bool has_two = one > 0;
            const size_t two = has_two ? previous(text, one) : 0;
            const bool word_before = letter_at(one) && has_two &&
                                     (letter_at(two) || (text[two] == '-' && two > 0 && letter_at(previous(text, two))));
            size_t next = end + 1;
            utf8_next(text, next);
            const bool letter_after = letter_at(next) || (next < text.size() && text[next] == '-' && letter_at(next + 1));
            if (word_before && letter_after) {
              ++end;
              break;
            }
          }
          if (text[end] == '-' && end > i && wordish(previous(text, end))) {
            size_t run = end;
            while (run < text.size() && text[run] == '-') ++run;
            if (run - end >= 2 && run < text.size() && is_word(code_at(text, run))) break;
          }
          utf8_next(text, end);
        }
      }
    }
    chunks.emplace_back(text.substr(i, end - i));
    i = end;
  }
  return chunks;
}

}  // namespace

std::vector<std::string> wrap_text(Interp& interp, std::string_view text, int64_t width, bool break_long_words,
                                   bool break_on_hyphens) {
  if (width <= 0) interp.value_error(fmt::format("invalid width {} (must be > 0)", width));
  std::vector<std::string> chunks = wrap_chunks(text, break_on_hyphens);
  std::reverse(chunks.begin(), chunks.end());
  const auto blank = [](const std::string& chunk) { return strip_text(chunk, nullptr, true, true).empty(); };
  std::vector<std::string> lines;
  while (!chunks.empty()) {
    interp.work(1);
    std::vector<std::string> line;
    int64_t length = 0;
    if (!lines.empty() && blank(chunks.back())) chunks.pop_back();
    while (!chunks.empty()) {
      const auto size = static_cast<int64_t>(utf8_length(chunks.back()));
      if (length + size > width) break;
      line.push_back(std::move(chunks.back()));
      chunks.pop_back();
      length += size;
    }
    if (!chunks.empty() && static_cast<int64_t>(utf8_length(chunks.back())) > width) {
      const int64_t space = width - length;
      if (break_long_words) {
        std::string& chunk = chunks.back();
        interp.work_bytes(chunk.size());
        const Str whole(chunk, false);
        size_t end = byte_offset(whole, static_cast<size_t>(space));
        if (break_on_hyphens && static_cast<int64_t>(whole.length) > space) {
          // After the last hyphen that fits, where something other than a hyphen stands before it.
          const size_t hyphen = space > 0 ? chunk.rfind('-', end == 0 ? 0 : end - 1) : std::string::npos;
          if (hyphen != std::string::npos && hyphen > 0 && hyphen < end &&
              chunk.substr(0, hyphen).find_first_not_of('-') != std::string::npos) {
            end = hyphen + 1;
          }
        }
        line.push_back(chunk.substr(0, end));
        chunk.erase(0, end);
      } else if (line.empty()) {
        line.push_back(std::move(chunks.back()));
        chunks.pop_back();
      }
    }
    if (!line.empty() && blank(line.back())) line.pop_back();
    if (!line.empty()) {
      std::string joined;
      for (const std::string& part : line) joined += part;
      lines.push_back(std::move(joined));
    }
  }
  return lines;
}

}  // namespace pagoda::jinja
