// A pushdown automaton over bytes.
#include "generate/chat/json_scanner.h"

#include <algorithm>

namespace pagoda::chat {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

}  // namespace

JsonScanner::State JsonScanner::open(char c) {
  if (open_.size() == kMostDepth) return State::kBad;
  open_.push_back(c);
  expect_ = c == '{' ? Expect::kKeyOrEnd : Expect::kValueOrEnd;
  return State::kMore;
}

JsonScanner::State JsonScanner::close(char c) {
  if (open_.empty() || open_.back() != (c == '}' ? '{' : '[')) return State::kBad;
  open_.pop_back();
  expect_ = Expect::kNext;
  return open_.empty() ? State::kDone : State::kMore;
}

JsonScanner::State JsonScanner::value(char c) {
  if (is_json_space(c)) return State::kMore;
  if (c == '{' || c == '[') return open(c);
  if (open_.empty()) return State::kBad;
  if (c == '"') {
    in_key_ = false;
    expect_ = Expect::kString;
    return State::kMore;
  }
  for (const std::string_view word : {"true", "false", "null"}) {
    if (c != word[0]) continue;
    word_left_ = word.substr(1);
    expect_ = Expect::kWord;
    return State::kMore;
  }
  if (c != '-' && !is_digit(c)) return State::kBad;
  expect_ = c == '-' ? Expect::kMinus : c == '0' ? Expect::kZero : Expect::kInteger;
  return State::kMore;
}

// One more byte behind the beginning of a number.
JsonScanner::State JsonScanner::number(char c) {
  const auto go = [&](Expect to) {
    expect_ = to;
    return State::kMore;
  };
  const bool digit = is_digit(c), exponent = c == 'e' || c == 'E';
  switch (expect_) {
    case Expect::kMinus: return digit ? go(c == '0' ? Expect::kZero : Expect::kInteger) : State::kBad;
    case Expect::kPoint: return digit ? go(Expect::kFraction) : State::kBad;
    case Expect::kSign: return digit ? go(Expect::kPower) : State::kBad;
    case Expect::kExponent:
      if (c == '+' || c == '-') return go(Expect::kSign);
      return digit ? go(Expect::kPower) : State::kBad;
    case Expect::kInteger:
      if (digit) return State::kMore;
      [[fallthrough]];
    case Expect::kZero:
      if (c == '.') return go(Expect::kPoint);
      return exponent ? go(Expect::kExponent) : next(c);
    case Expect::kFraction:
      if (digit) return State::kMore;
      return exponent ? go(Expect::kExponent) : next(c);
    default: return digit ? State::kMore : next(c);
  }
}

JsonScanner::State JsonScanner::next(char c) {
  if (is_json_space(c)) {
    expect_ = Expect::kNext;
    return State::kMore;
  }
  if (c == '}' || c == ']') return close(c);
  if (c != ',' || open_.empty()) return State::kBad;
  expect_ = open_.back() == '{' ? Expect::kKey : Expect::kValue;
  return State::kMore;
}

JsonScanner::State JsonScanner::feed(char c) {
  switch (expect_) {
    case Expect::kValueOrEnd:
      if (c == ']') return close(c);
      return value(c);
    case Expect::kValue: return value(c);
    case Expect::kKeyOrEnd:
      if (c == '}') return close(c);
      [[fallthrough]];
    case Expect::kKey:
      if (is_json_space(c)) return State::kMore;
      if (c != '"') return State::kBad;
      in_key_ = true;
      expect_ = Expect::kString;
      return State::kMore;
    case Expect::kColon:
      if (is_json_space(c)) return State::kMore;
      if (c != ':') return State::kBad;
      expect_ = Expect::kValue;
      return State::kMore;
    case Expect::kNext: return next(c);
    case Expect::kString:
      if (static_cast<unsigned char>(c) < 0x20) return State::kBad;
      if (c == '\\') expect_ = Expect::kEscape;
      if (c == '"') expect_ = in_key_ ? Expect::kColon : Expect::kNext;
      return State::kMore;
    case Expect::kEscape:
      if (std::string_view("\"\\/bfnrtu").find(c) == std::string_view::npos) return State::kBad;
      hex_left_ = 4;
      expect_ = c == 'u' ? Expect::kHex : Expect::kString;
      return State::kMore;
    case Expect::kHex:
      if (!is_hex(c)) return State::kBad;
      if (--hex_left_ == 0) expect_ = Expect::kString;
      return State::kMore;
    case Expect::kWord:
      if (c != word_left_[0]) return State::kBad;
      word_left_.remove_prefix(1);
      if (word_left_.empty()) expect_ = Expect::kNext;
      return State::kMore;
    default: return number(c);
  }
}

std::string_view member_text(std::string_view object, std::string_view key) {
  std::string_view found;
  size_t at = 0;
  const auto skip = [&] {
    while (at < object.size() && (is_json_space(object[at]) || object[at] == ',')) ++at;
  };
  const auto skip_string = [&] {
    for (++at; at < object.size() && object[at] != '"'; ++at) {
      if (object[at] == '\\') ++at;
    }
    ++at;
  };
  skip();
  ++at;  // {
  for (skip(); at < object.size() && object[at] == '"'; skip()) {
    const size_t key_at = at + 1;
    skip_string();
    const bool wanted = at - 1 > key_at && object.substr(key_at, at - 1 - key_at) == key;
    while (at < object.size() && (is_json_space(object[at]) || object[at] == ':')) ++at;
    const size_t begin = at;
    for (int64_t depth = 0; at < object.size(); ++at) {
      const char c = object[at];
      if (depth == 0 && (c == ',' || c == '}')) break;
      if (c == '"') {
        skip_string();
        --at;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if (c == '}' || c == ']') {
        --depth;
      }
    }
    size_t end = std::min(at, object.size());
    while (end > begin && is_json_space(object[end - 1])) --end;
    if (wanted) found = object.substr(begin, end - begin);
  }
  return found;
}

}  // namespace pagoda::chat
