// Numbers from text and back: int(), float(), round(); and dates as strftime writes them.
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "base/utf8.h"
#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace pagoda::jinja {

namespace {

// White space off both ends, other scripts' decimal digits to ASCII.
std::string plain_digits(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const uint32_t code = utf8_next(text, i);
    const int digit = code < 0x80 ? -1 : decimal_value(code);
    if (digit >= 0) {
      out.push_back(static_cast<char>('0' + digit));
    } else if (is_space(code)) {
      out.push_back(' ');
    } else {
      utf8_append(out, code);
    }
  }
  const size_t first = out.find_first_not_of(' ');
  if (first == std::string::npos) return {};
  return out.substr(first, out.find_last_not_of(' ') - first + 1);
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char low = static_cast<char>(c | 0x20);
  return low >= 'a' && low <= 'z' ? low - 'a' + 10 : 99;
}

// Underscores only between digits.
bool drop_underscores(std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out.push_back(text[i]);
      continue;
    }
    const bool between = i > 0 && i + 1 < text.size() && std::isalnum(static_cast<unsigned char>(text[i - 1])) != 0 &&
                         std::isalnum(static_cast<unsigned char>(text[i + 1])) != 0;
    if (!between) return false;
  }
  text = std::move(out);
  return true;
}

}  // namespace

std::optional<int64_t> parse_int(Interp& interp, const std::string& source, int64_t base) {
  interp.work_bytes(source.size());
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  std::string text = plain_digits(source);
  size_t at = 0;
  bool is_negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    is_negative = text[0] == '-';
    at = 1;
  }
  if (at + 1 < text.size() && text[at] == '0') {
    const char mark = static_cast<char>(text[at + 1] | 0x20);
    const int64_t marked = mark == 'b' ? 2 : mark == 'o' ? 8 : mark == 'x' ? 16 : 0;
    if (marked != 0 && (base == 0 || base == marked)) {
      base = marked;
      at += 2;
      if (at < text.size() && text[at] == '_') ++at;
    } else if (base == 0) {
      if (text.find_first_not_of("0_", at) != std::string::npos) return std::nullopt;
    }
  }
  if (base == 0) base = 10;
  std::string digits = text.substr(at);
  if (digits.empty() || !drop_underscores(digits)) return std::nullopt;
  int64_t value = 0;
  bool too_large = false;
  for (const char c : digits) {
    const int digit = digit_of(c);
    if (digit >= base) return std::nullopt;
    too_large = too_large || __builtin_mul_overflow(value, base, &value) ||
                (is_negative ? __builtin_sub_overflow(value, digit, &value) : __builtin_add_overflow(value, digit, &value));
  }
  if (too_large) interp.overflow();
  return value;
}

std::optional<double> parse_float(const std::string& source) {
  std::string text = plain_digits(source);
  if (text.empty() || !drop_underscores(text)) return std::nullopt;
  size_t at = text[0] == '-' || text[0] == '+' ? 1 : 0;
  std::string word;
  for (size_t i = at; i < text.size(); ++i)
    word.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(text[i]))));
  if (word == "inf" || word == "infinity") return text[0] == '-' ? -HUGE_VAL : HUGE_VAL;
  if (word == "nan") return std::nan("");
  // digits [. digits] [e digits]
  size_t digits = 0;
  while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0) ++at, ++digits;
  if (at < text.size() && text[at] == '.') {
    ++at;
    while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0) ++at, ++digits;
  }
  if (digits == 0) return std::nullopt;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    const size_t start = at;
    while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0) ++at;
    if (at == start) return std::nullopt;
  }
  if (at != text.size()) return std::nullopt;
  return std::strtod(text.c_str(), nullptr);
}

double round_float(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 323) return value;
  if (digits < -308) return std::copysign(0.0, value);
  char buffer[700];
  if (digits >= 0) {
    // printf rounds the exact binary value half to even, as Python does.
    std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(digits), value);
    return std::strtod(buffer, nullptr);
  }
  std::snprintf(buffer, sizeof(buffer), "%.0f", std::fabs(std::trunc(value)));
  std::string text(buffer);
  const auto drop = static_cast<size_t>(-digits);
  if (text.size() < drop) return std::copysign(0.0, value);
  std::string kept = text.substr(0, text.size() - drop);
  const std::string rest = text.substr(text.size() - drop);
  const bool has_fraction = value != std::trunc(value);
  const bool half = rest[0] == '5' && rest.find_first_not_of('0', 1) == std::string::npos && !has_fraction;
  const bool odd = !kept.empty() && (kept.back() - '0') % 2 == 1;
  if (half ? odd : rest[0] >= '5') {
    size_t i = kept.size();
    while (i > 0 && kept[i - 1] == '9') kept[--i] = '0';
    if (i == 0) {
      kept.insert(kept.begin(), '1');
    } else {
      ++kept[i - 1];
    }
  }
  kept += std::string(drop, '0');
  return std::copysign(std::strtod(kept.c_str(), nullptr), value);
}

int64_t float_to_int(Interp& interp, double value) {
  if (std::isnan(value)) interp.value_error("cannot convert float NaN to integer");
  if (std::isinf(value)) interp.error("OverflowError", "cannot convert float infinity to integer");
  if (std::fabs(value) >= 9223372036854775808.0) interp.overflow();
  return static_cast<int64_t>(value);
}

namespace {

constexpr const char* kDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
constexpr const char* kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                   "July",    "August",   "September", "October", "November", "December"};

int64_t days_from_civil(int64_t year, int month, int day) {
  year -= month <= 2 ? 1 : 0;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const int64_t year_of_era = year - era * 400;
  const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

bool leap(int year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

int days_in_month(int year, int month) {
  constexpr int kDaysIn[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && leap(year) ? 29 : kDaysIn[month - 1];
}

class TimeFormat {
 public:
  explicit TimeFormat(const DateTime& time) : time_(time) {
    days_ = days_from_civil(time.year, time.month, time.day);
    weekday_ = static_cast<int>(((days_ % 7) + 11) % 7);  // 1970-01-01 was a Thursday; 0 is Sunday
    year_day_ = static_cast<int>(days_ - days_from_civil(time.year, 1, 1));
  }

  std::string run(Interp& interp, const std::string& format) {
    for (size_t i = 0; i < format.size(); ++i) {
      if (format[i] != '%' || i + 1 >= format.size()) {
        out_.push_back(format[i]);
        continue;
      }
      const size_t start = i++;
      flag_ = 0;
      upper_ = swap_ = false;
      while (i < format.size() && std::string("-_0^#").find(format[i]) != std::string::npos) {
        if (format[i] == '^') {
          upper_ = true;
        } else if (format[i] == '#') {
          swap_ = true;
        } else {
          flag_ = format[i];
        }
        ++i;
      }
      width_ = 0;
      while (i < format.size() && std::isdigit(static_cast<unsigned char>(format[i])) != 0 && width_ < 1000) {
        width_ = width_ * 10 + (format[i++] - '0');
      }
      if (i < format.size() && (format[i] == 'E' || format[i] == 'O')) ++i;
      if (i >= format.size() || !conversion(format[i])) out_.append(format, start, std::min(i + 1, format.size()) - start);
      interp.check_size(out_.size());
    }
    return std::move(out_);
  }

 private:
  void number(int64_t value, int digits, char padding = '0') {
    if (flag_ == '_') padding = ' ';
    if (flag_ == '0') padding = '0';
    if (width_ > 0) digits = width_;
    std::string text = std::to_string(value < 0 ? -value : value);
    if (flag_ != '-') {
      while (static_cast<int>(text.size()) < digits) text.insert(text.begin(), padding);
    }
    out_ += (value < 0 ? "-" : "") + text;
  }

  void text(std::string value) {
    if (upper_ || swap_) {
      for (char& c : value) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    while (static_cast<int>(value.size()) < width_) value.insert(value.begin(), flag_ == '0' ? '0' : ' ');
    out_ += value;
  }

  void nested(const char* format) {
    TimeFormat inner(time_);
    for (const char* c = format; *c != '\0'; ++c) {
      if (*c == '%') {
        inner.conversion(*++c);
      } else {
        inner.out_.push_back(*c);
      }
    }
    text(std::move(inner.out_));
  }

  // ISO week and its year.
  void iso(int& week, int& year) const {
    const int monday_based = (weekday_ + 6) % 7;
    year = time_.year;
    week = (year_day_ - monday_based + 10) / 7;
    const auto weeks_in = [](int y) {
      const auto p = [](int n) { return (n + n / 4 - n / 100 + n / 400) % 7; };
      return p(y) == 4 || p(y - 1) == 3 ? 53 : 52;
    };
    if (week < 1) {
      --year;
      week = weeks_in(year);
    } else if (week > weeks_in(year)) {
      ++year;
      week = 1;
    }
  }

  bool conversion(char c) {
    const int hour12 = time_.hour % 12 == 0 ? 12 : time_.hour % 12;
    int week = 0, week_year = 0;
    switch (c) {
      case 'a': text(std::string(kDays[weekday_]).substr(0, 3)); break;
      case 'A': text(kDays[weekday_]); break;
      case 'b':
      case 'h': text(std::string(kMonths[time_.month - 1]).substr(0, 3)); break;
      case 'B': text(kMonths[time_.month - 1]); break;
      case 'c': nested("%a %b %e %H:%M:%S %Y"); break;
      case 'C': number(time_.year / 100, 2); break;
      case 'd': number(time_.day, 2); break;
      case 'D':
      case 'x': nested("%m/%d/%y"); break;
      case 'e': number(time_.day, 2, ' '); break;
      case 'f': number(time_.microsecond, 6); break;
      case 'F': nested("%Y-%m-%d"); break;
      case 'g': iso(week, week_year), number(week_year % 100, 2); break;
      case 'G': iso(week, week_year), number(week_year, 4); break;
      case 'H': number(time_.hour, 2); break;
      case 'I': number(hour12, 2); break;
      case 'j': number(year_day_ + 1, 3); break;
      case 'k': number(time_.hour, 2, ' '); break;
      case 'l': number(hour12, 2, ' '); break;
      case 'm': number(time_.month, 2); break;
      case 'M': number(time_.minute, 2); break;
      case 'n': out_.push_back('\n'); break;
      case 'p': {
        const bool am = time_.hour < 12;
        const bool small = swap_;
        swap_ = false;
        text(small ? (am ? "am" : "pm") : (am ? "AM" : "PM"));
        break;
      }
      case 'P': text(time_.hour < 12 ? "am" : "pm"); break;
      case 'r': nested("%I:%M:%S %p"); break;
      case 'R': nested("%H:%M"); break;
      case 's': number(days_ * 86400 + time_.hour * 3600 + time_.minute * 60 + time_.second, 1); break;
      case 'S': number(time_.second, 2); break;
      case 't': out_.push_back('\t'); break;
      case 'T':
      case 'X': nested("%H:%M:%S"); break;
      case 'u': number(weekday_ == 0 ? 7 : weekday_, 1); break;
      case 'U': number((year_day_ + 7 - weekday_) / 7, 2); break;
      case 'V': iso(week, week_year), number(week, 2); break;
      case 'w': number(weekday_, 1); break;
      case 'W': number((year_day_ + 7 - (weekday_ + 6) % 7) / 7, 2); break;
      case 'y': number(time_.year % 100, 2); break;
      case 'Y': number(time_.year, 1); break;
      case 'z':
      case 'Z': break;  // a time without zone
      case '%': out_.push_back('%'); break;
      default: return false;
    }
    return true;
  }

  const DateTime& time_;
  int64_t days_;
  int weekday_, year_day_;
  char flag_ = 0;
  bool upper_ = false, swap_ = false;
  int width_ = 0;
  std::string out_;
};

}  // namespace

std::string format_time(Interp& interp, const DateTime& time, const std::string& format) {
  return TimeFormat(time).run(interp, format);
}

DateTime DateTime::parse(std::string_view text) {
  DateTime time;
  const std::string source(text);
  int used = 0;
  int fields = std::sscanf(source.c_str(), "%4d-%2d-%2d%n", &time.year, &time.month, &time.day, &used);
  bool fine = fields == 3 && used == 10;
  if (fine && source.size() > 10) {
    fine = (source[10] == 'T' || source[10] == ' ') && source.size() >= 16;
    if (fine) {
      int more = 0;
      fine = std::sscanf(source.c_str() + 11, "%2d:%2d%n", &time.hour, &time.minute, &more) == 2 && more == 5;
      size_t at = 16;
      if (fine && at < source.size()) {
        fine = std::sscanf(source.c_str() + at, ":%2d%n", &time.second, &more) == 1 && more == 3;
        at += 3;
        if (fine && at < source.size()) {
          fine = source[at] == '.' && source.size() > at + 1 && source.size() <= at + 7;
          int scale = 100000;
          for (size_t i = at + 1; fine && i < source.size(); ++i, scale /= 10) {
            fine = std::isdigit(static_cast<unsigned char>(source[i])) != 0;
            time.microsecond += (source[i] - '0') * scale;
          }
        }
      }
    }
  }
  fine = fine && time.year >= 1 && time.month >= 1 && time.month <= 12 && time.day >= 1 &&
         time.day <= days_in_month(time.year, time.month) && time.hour >= 0 && time.hour < 24 && time.minute >= 0 &&
         time.minute < 60 && time.second >= 0 && time.second < 60;
  if (!fine) invalid("now", "not a time: got '{}', need YYYY-MM-DDTHH:MM:SS", text);
  return time;
}

DateTime DateTime::local_now() {
  std::timespec now{};
  std::timespec_get(&now, TIME_UTC);
  std::tm local{};
  localtime_r(&now.tv_sec, &local);
  DateTime time;
  time.year = local.tm_year + 1900;
  time.month = local.tm_mon + 1;
  time.day = local.tm_mday;
  time.hour = local.tm_hour;
  time.minute = local.tm_min;
  time.second = local.tm_sec;
  time.microsecond = static_cast<int>(now.tv_nsec / 1000);
  return time;
}

}  // namespace pagoda::jinja
