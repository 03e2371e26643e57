// Numbers between bounds: digits are compared with the bounds' digits from the left, as long as they are equal.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>

#include "base/error.h"
#include "generate/grammar/json_text.h"

namespace pagoda::grammar {

namespace {

constexpr int64_t kMostDigits = 20;       // before the point, where the bounds do not say
constexpr int64_t kMostWholeDigits = 18;  // of integers, so that they fit int64
constexpr int64_t kMostFraction = 16;     // behind it
constexpr int64_t kMostBoundDigits = 64;

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

// Numbers without sign from `low` to `high`.
class Magnitudes {
 public:
  Magnitudes(Builder& builder, const Bound& low, const std::optional<Bound>& high, bool whole)
      : builder_(builder), low_(low), high_(high), whole_(whole) {
    most_fraction_ = std::max<int64_t>(kMostFraction, static_cast<int64_t>(low.value.fraction.size()) + 1);
    if (high) most_fraction_ = std::max<int64_t>(most_fraction_, static_cast<int64_t>(high->value.fraction.size()) + 1);
  }

  Expr all() {
    const auto least = static_cast<int64_t>(low_.value.whole.size());
    const int64_t most =
        high_ ? static_cast<int64_t>(high_->value.whole.size()) : std::max(whole_ ? kMostWholeDigits : kMostDigits, least + 1);
    std::vector<Expr> choices;
    for (int64_t length = least; length <= most; ++length) {
      digits_ = length;
      known_.clear();
      if (length > least && !high_) {
        choices.push_back(builder_.sequence(
            {digits('1', '9'), builder_.repeat(digits('0', '9'), least, most - 1), behind_whole(false, false)}));
        break;
      }
      choices.push_back(before_point(0, length == least, high_ && length == most));
    }
    return builder_.alternation(choices);
  }

 private:
  Expr digits(char low, char high) {
    return builder_.chars(CodeSet::range(static_cast<uint32_t>(low), static_cast<uint32_t>(high)));
  }

  // One digit, then `next` with what is still equal to the bounds.
  template <class Next>
  Expr digit(char low, char high, bool at_low, bool at_high, Next next) {
    if (low > high) return builder_.never();
    std::vector<Expr> choices;
    const bool one = low == high;
    if (one && (at_low || at_high)) return builder_.sequence({digits(low, low), next(at_low, at_high)});
    char from = low, to = high;
    if (at_low) choices.push_back(builder_.sequence({digits(from, from), next(true, false)})), ++from;
    if (at_high) choices.push_back(builder_.sequence({digits(to, to), next(false, true)})), --to;
    if (from <= to) choices.push_back(builder_.sequence({digits(from, to), next(false, false)}));
    return builder_.alternation(choices);
  }

  // Each place and state is one rule, used as the last of others.
  template <class Make>
  Expr rule(int64_t place, bool at_low, bool at_high, Make make) {
    const auto [at, fresh] = known_.try_emplace({place, at_low, at_high}, -1);
    if (fresh) {
      const Rule made = builder_.add_rule("digits");
      known_[{place, at_low, at_high}] = made;
      builder_.define(made, make());
      return builder_.use(made);
    }
    return builder_.use(at->second);
  }

  Expr before_point(int64_t i, bool at_low, bool at_high) {
    if (!at_low && !at_high && i > 0) {
      return builder_.sequence({builder_.repeat(digits('0', '9'), digits_ - i, digits_ - i), behind_whole(false, false)});
    }
    return rule(i, at_low, at_high, [&] {
      if (i == digits_) return behind_whole(at_low, at_high);
      const auto at = static_cast<size_t>(i);
      const char least = i == 0 && digits_ > 1 ? '1' : '0';
      return digit(at_low ? low_.value.whole[at] : least, at_high ? high_->value.whole[at] : '9', at_low, at_high,
                   [&](bool low, bool high) { return before_point(i + 1, low, high); });
    });
  }

  bool may_end(int64_t fraction, bool at_low, bool at_high) const {
    if (at_low && (low_.open || fraction < static_cast<int64_t>(low_.value.fraction.size()))) return false;
    return !at_high || !high_->open || fraction < static_cast<int64_t>(high_->value.fraction.size());
  }

  Expr behind_whole(bool at_low, bool at_high) {
    std::vector<Expr> choices;
    if (may_end(0, at_low, at_high)) choices.push_back(builder_.empty());
    if (!whole_) choices.push_back(builder_.sequence({builder_.literal("."), behind_point(0, at_low, at_high)}));
    return builder_.alternation(choices);
  }

  Expr behind_point(int64_t i, bool at_low, bool at_high) {
    if (!at_low && !at_high) return builder_.repeat(digits('0', '9'), i == 0 ? 1 : 0, most_fraction_ - i);
    return rule(digits_ + 1 + i, at_low, at_high, [&] {
      std::vector<Expr> choices;
      if (i > 0 && may_end(i, at_low, at_high)) choices.push_back(builder_.empty());
      const auto at = static_cast<size_t>(i);
      const auto place = [&](const Decimal& bound) { return at < bound.fraction.size() ? bound.fraction[at] : '0'; };
      if (i < most_fraction_) {
        choices.push_back(digit(at_low ? place(low_.value) : '0', at_high ? place(high_->value) : '9', at_low, at_high,
                                [&](bool low, bool high) { return behind_point(i + 1, low, high); }));
      }
      return builder_.alternation(choices);
    });
  }

  Builder& builder_;
  Bound low_;
  std::optional<Bound> high_;
  bool whole_;
  int64_t digits_ = 0, most_fraction_ = 0;
  std::map<std::tuple<int64_t, bool, bool>, Rule> known_;
};

}  // namespace

Expr bounded_number(Builder& builder, const NumberBounds& bounds, bool whole, std::string_view path) {
  std::optional<Bound> low, high;
  if (bounds.low.is_number()) low = Bound{decimal_of(bounds.low, builder.where(), path), bounds.low_open};
  if (bounds.high.is_number()) high = Bound{decimal_of(bounds.high, builder.where(), path), bounds.high_open};
  std::vector<Expr> choices;
  const Bound zero;
  if (!high || !high->value.negative) {
    const Bound least = low && !low->value.negative ? *low : zero;
    choices.push_back(Magnitudes(builder, least, high, whole).all());
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
    choices.push_back(builder.sequence({builder.literal("-"), Magnitudes(builder, least, most, whole).all()}));
  }
  return builder.alternation(choices);
}

}  // namespace pagoda::grammar
