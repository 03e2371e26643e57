// Numbers between bounds, and multiples: digits are compared with the bounds' digits from the left, as long as they are equal,
// and what they leave when divided goes along.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "generate/grammar/json_text.h"

namespace pagoda::grammar {

namespace {

constexpr int64_t kMostDigits = 20;       // before the point, where the bounds do not say
constexpr int64_t kMostWholeDigits = 18;  // of integers, so that they fit int64
constexpr int64_t kMostFraction = 16;     // behind it
constexpr int64_t kMostBoundDigits = 64;
constexpr int64_t kMostRemainders = 20'000;  // at all places of a number together

struct Decimal {
  bool negative = false;
  std::string whole = "0";  // no leading zeros
  std::string fraction;     // no trailing zeros
  bool zero() const { return whole == "0" && fraction.empty(); }
};

// From Python's spelling: "-12.5", "1e-07".
Decimal decimal_of(const Json& number, std::string_view where, std::string_view path) {
  std::string text = number.dump();
  Decimal out;
  if (text[0] == '-') {
    out.negative = true;
    text.erase(0, 1);
  }
  int64_t exponent = 0;
  if (const size_t e = text.find('e'); e != std::string::npos) {
    exponent = std::atoll(text.c_str() + e + 1);
    text.erase(e);
  }
  const size_t point = text.find('.');
  std::string digits = text.substr(0, point);
  auto before = static_cast<int64_t>(digits.size());
  if (point != std::string::npos) digits += text.substr(point + 1);
  before += exponent;
  const bool strange = digits.find_first_not_of("0123456789") != std::string::npos;
  if (strange || before > kMostBoundDigits || before < -kMostBoundDigits)
    unsupported(where, "{}: bound {} is not supported", path, number.dump());
  while (before <= 0) {
    digits.insert(0, "0");
    ++before;
  }
  while (static_cast<int64_t>(digits.size()) < before) digits += '0';
  out.whole = digits.substr(0, static_cast<size_t>(before));
  out.fraction = digits.substr(static_cast<size_t>(before));
  out.whole.erase(0, std::min(out.whole.find_first_not_of('0'), out.whole.size() - 1));
  while (!out.fraction.empty() && out.fraction.back() == '0') out.fraction.pop_back();
  if (out.zero()) out.negative = false;
  return out;
}

struct Bound {
  Decimal value;
  bool open = false;
};

// The digits of a number with `fraction` of them behind the point are a multiple of `of`: those of 0.25 are 25, with 2 behind.
struct Multiple {
  int64_t of = 1, fraction = 0;
};

// Places that are free of bounds: they are the same for every length and both signs.
using FreePlaces = std::map<std::pair<int64_t, int64_t>, Rule>;  // by place and remainder

// Numbers without sign from `low` to `high`.
class Magnitudes {
 public:
  Magnitudes(Builder& builder, const Bound& low, const std::optional<Bound>& high, bool whole,
             const std::optional<Multiple>& multiple, FreePlaces& free)
      : builder_(builder), low_(low), high_(high), whole_(whole), multiple_(multiple), free_(free) {
    most_fraction_ = std::max<int64_t>(kMostFraction, static_cast<int64_t>(low.value.fraction.size()) + 1);
    if (high) most_fraction_ = std::max<int64_t>(most_fraction_, static_cast<int64_t>(high->value.fraction.size()) + 1);
  }

  // Digits before the point.
  int64_t longest() const {
    if (high_) return static_cast<int64_t>(high_->value.whole.size());
    return std::max(whole_ ? kMostWholeDigits : kMostDigits, static_cast<int64_t>(low_.value.whole.size()) + 1);
  }

  Expr all() {
    const auto least = static_cast<int64_t>(low_.value.whole.size());
    const int64_t most = longest();
    std::vector<Expr> choices;
    for (int64_t length = least; length <= most; ++length) {
      digits_ = length;
      known_.clear();
      if (length > least && !high_ && !multiple_) {
        choices.push_back(builder_.sequence(
            {digits('1', '9'), builder_.repeat(digits('0', '9'), least, most - 1), behind_whole(false, false, 0)}));
        break;
      }
      choices.push_back(before_point(0, length == least, high_ && length == most, 0));
    }
    return builder_.alternation(choices);
  }

 private:
  Expr digits(char low, char high) {
    return builder_.chars(CodeSet::range(static_cast<uint32_t>(low), static_cast<uint32_t>(high)));
  }

  // One digit, then `next` with what is still equal to the bounds, and what is left of the digits so far.
  template <class Next>
  Expr digit(char low, char high, bool at_low, bool at_high, int64_t left, Next next) {
    if (low > high) return builder_.never();
    std::vector<Expr> choices;
    const auto range = [&](char from, char to, bool still_low, bool still_high) {
      if (!multiple_) {
        if (from <= to) choices.push_back(builder_.sequence({digits(from, to), next(still_low, still_high, 0)}));
        return;
      }
      for (char each = from; each <= to; ++each) {
        const int64_t more = (left * 10 + (each - '0')) % multiple_->of;
        choices.push_back(builder_.sequence({digits(each, each), next(still_low, still_high, more)}));
      }
    };
    if (low == high && (at_low || at_high)) {
      range(low, low, at_low, at_high);
      return builder_.alternation(choices);
    }
    if (at_low) range(low, low, true, false), ++low;
    if (at_high) range(high, high, false, true), --high;
    range(low, high, false, false);
    return builder_.alternation(choices);
  }

  // Each place and state is one rule, used as the last of others. At a bound the digits so far are known, and what is left of
  // them too.
  template <class Known, class Key, class Make>
  Expr rule(Known& known, const Key& key, Make make) {
    const auto at = known.find(key);
    if (at != known.end()) return builder_.use(at->second);
    const Rule made = builder_.add_rule("digits");
    known.emplace(key, made);
    builder_.define(made, make());
    return builder_.use(made);
  }
  template <class Make>
  Expr rule(int64_t place, bool at_low, bool at_high, int64_t left, Make make) {
    if (!at_low && !at_high) return rule(free_, std::make_pair(place, left), make);
    return rule(known_, std::make_tuple(place, at_low, at_high), make);
  }

  // Free places are told apart by how many digits are to come, those behind the point by a number below 0.
  Expr before_point(int64_t i, bool at_low, bool at_high, int64_t left) {
    const bool free = !at_low && !at_high && i > 0;
    if (free && !multiple_) {
      return builder_.sequence({builder_.repeat(digits('0', '9'), digits_ - i, digits_ - i), behind_whole(false, false, 0)});
    }
    const auto make = [&] {
      if (i == digits_) return behind_whole(at_low, at_high, left);
      const auto at = static_cast<size_t>(i);
      const char least = i == 0 && digits_ > 1 ? '1' : '0';
      return digit(at_low ? low_.value.whole[at] : least, at_high ? high_->value.whole[at] : '9', at_low, at_high, left,
                   [&](bool low, bool high, int64_t more) { return before_point(i + 1, low, high, more); });
    };
    return i == 0 ? make() : rule(free ? digits_ - i : i, at_low, at_high, left, make);
  }

  bool may_end(int64_t fraction, bool at_low, bool at_high, int64_t left) const {
    if (at_low && (low_.open || fraction < static_cast<int64_t>(low_.value.fraction.size()))) return false;
    if (at_high && high_->open && fraction >= static_cast<int64_t>(high_->value.fraction.size())) return false;
    if (!multiple_) return true;
    for (int64_t i = fraction; i < multiple_->fraction; ++i) left = left * 10 % multiple_->of;
    return left == 0;
  }

  Expr behind_whole(bool at_low, bool at_high, int64_t left) {
    std::vector<Expr> choices;
    if (may_end(0, at_low, at_high, left)) choices.push_back(builder_.empty());
    if (!whole_ && (!multiple_ || multiple_->fraction > 0))
      choices.push_back(builder_.sequence({builder_.literal("."), behind_point(0, at_low, at_high, left)}));
    return builder_.alternation(choices);
  }

  Expr behind_point(int64_t i, bool at_low, bool at_high, int64_t left) {
    if (!at_low && !at_high && !multiple_) return builder_.repeat(digits('0', '9'), i == 0 ? 1 : 0, most_fraction_ - i);
    const int64_t most = multiple_ ? multiple_->fraction : most_fraction_;
    return rule(at_low || at_high ? digits_ + 1 + i : -1 - i, at_low, at_high, left, [&] {
      std::vector<Expr> choices;
      if (i > 0 && may_end(i, at_low, at_high, left)) choices.push_back(builder_.empty());
      const auto at = static_cast<size_t>(i);
      const auto place = [&](const Decimal& bound) { return at < bound.fraction.size() ? bound.fraction[at] : '0'; };
      if (i < most) {
        choices.push_back(digit(at_low ? place(low_.value) : '0', at_high ? place(high_->value) : '9', at_low, at_high, left,
                                [&](bool low, bool high, int64_t more) { return behind_point(i + 1, low, high, more); }));
      }
      return builder_.alternation(choices);
    });
  }

  Builder& builder_;
  Bound low_;
  std::optional<Bound> high_;
  bool whole_;
  std::optional<Multiple> multiple_;
  FreePlaces& free_;
  int64_t digits_ = 0, most_fraction_ = 0;
  std::map<std::tuple<int64_t, bool, bool>, Rule> known_;
};

// Whole multiples of p/q in lowest terms are those of p.
std::optional<Multiple> multiple_of(const Json& number, bool whole, std::string_view where, std::string_view path) {
  const Decimal step = decimal_of(number, where, path);
  if (step.negative || step.zero()) invalid(where, "{}: `multipleOf`: got {}, need a number above 0", path, number.dump());
  Multiple out;
  out.fraction = static_cast<int64_t>(step.fraction.size());
  const std::string all = step.whole + step.fraction;
  if (static_cast<int64_t>(all.size()) > kMostWholeDigits)
    unsupported(where, "{}: `multipleOf` {} is not supported", path, number.dump());
  out.of = std::stoll(all);
  if (whole) {
    int64_t unit = 1;
    for (; out.fraction > 0; --out.fraction) unit *= 10;
    out.of /= std::gcd(out.of, unit);
    if (out.of == 1) return std::nullopt;
  }
  return out;
}

}  // namespace

Expr bounded_number(Builder& builder, const NumberBounds& bounds, bool whole, std::string_view path) {
  std::optional<Bound> low, high;
  if (bounds.low.is_number()) low = Bound{decimal_of(bounds.low, builder.where(), path), bounds.low_open};
  if (bounds.high.is_number()) high = Bound{decimal_of(bounds.high, builder.where(), path), bounds.high_open};
  std::optional<Multiple> multiple;
  if (bounds.multiple_of.is_number()) multiple = multiple_of(bounds.multiple_of, whole, builder.where(), path);
  FreePlaces free;
  const auto magnitudes = [&](const Bound& from, const std::optional<Bound>& to) {
    Magnitudes made(builder, from, to, whole, multiple, free);
    if (multiple && multiple->of > kMostRemainders / (made.longest() + multiple->fraction)) {
      unsupported(builder.where(),
                  "{}: `multipleOf` {} is not supported: got numbers of {} digits, need a `multipleOf` up to {}", path,
                  bounds.multiple_of.dump(), made.longest() + multiple->fraction,
                  kMostRemainders / (made.longest() + multiple->fraction));
    }
    return made.all();
  };
  std::vector<Expr> choices;
  const Bound zero;
  if (!high || !high->value.negative) {
    const Bound least = low && !low->value.negative ? *low : zero;
    choices.push_back(magnitudes(least, high));
  }
  if (!low || low->value.negative) {
    // Nearer to zero is the higher bound; zero itself has no sign here.
    Bound least{Decimal{}, true};
    if (high && high->value.negative) {
      least = *high;
      least.value.negative = false;
    }
    std::optional<Bound> most = low;
    if (most) most->value.negative = false;
    choices.push_back(builder.sequence({builder.literal("-"), magnitudes(least, most)}));
  }
  return builder.alternation(choices);
}

}  // namespace pagoda::grammar
