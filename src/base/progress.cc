// Progress line: formats, rate over a sliding window, drawing with a carriage return.
#include "base/progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace pagoda {

namespace {

constexpr double kWindowSeconds = 5;  // long enough to smooth over a stall between two packets
constexpr double kRedrawSeconds = 0.1;
constexpr size_t kMinLabel = 8;

}  // namespace

std::string format_bytes(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  // 999.5 would be printed as "1000" with three digits.
  while (unit < 6 && std::abs(value) >= (unit == 0 ? 1000.0 : 999.5)) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  const int digits = std::abs(value) >= 99.95 ? 0 : std::abs(value) >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}", value, digits, kUnits[unit]);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e7) return "-:--";
  const int64_t whole = std::llround(seconds);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string format_progress(std::string_view label, int64_t done, int64_t total, double rate, int width,
                            std::string_view unit) {
  const auto amount = [&](int64_t count) { return unit.empty() ? format_bytes(count) : std::to_string(count); };
  std::string tail;
  if (total > 0) {
    const int64_t shown = std::clamp<int64_t>(done, 0, total);
    tail = fmt::format("{:3}%  {} of {}", static_cast<int>(100.0 * static_cast<double>(shown) / static_cast<double>(total)),
                       amount(done), amount(total));
  } else {
    tail = amount(done);
  }
  if (rate > 0) {
    tail += unit.empty() ? fmt::format("  {}/s", format_bytes(static_cast<int64_t>(rate)))
                         : fmt::format(" {}  {:.2f}/s", unit, rate);
    if (total > done) tail += fmt::format("  {} left", format_duration(static_cast<double>(total - done) / rate));
  }
  const size_t columns = static_cast<size_t>(std::max(width, 1));
  std::string line;
  if (!label.empty() && tail.size() + 2 + std::min(kMinLabel, label.size()) <= columns) {
    const size_t room = columns - tail.size() - 2;
    // The end of a name tells shards apart, its beginning does not.
    if (label.size() <= room) {
      line = label;
    } else {
      line = "..." + std::string(label.substr(label.size() - (room - 3)));
    }
    line += "  ";
  }
  line += tail;
  if (line.size() > columns) line.resize(columns);
  return line;
}

void RateMeter::add(double seconds, int64_t done) {
  if (!samples_.empty() && done < samples_.back().second) samples_.clear();
  samples_.emplace_back(seconds, done);
  while (samples_.size() > 2 && samples_[1].first <= seconds - kWindowSeconds) samples_.pop_front();
}

double RateMeter::rate() const {
  if (samples_.size() < 2) return 0;
  const double span = samples_.back().first - samples_.front().first;
  if (span < 0.1) return 0;
  return static_cast<double>(samples_.back().second - samples_.front().second) / span;
}

TerminalProgress::TerminalProgress(std::FILE* stream, bool force, std::string unit)
    : stream_(stream),
      active_(force || ::isatty(::fileno(stream)) == 1),
      unit_(std::move(unit)),
      start_(std::chrono::steady_clock::now()) {}

TerminalProgress::~TerminalProgress() { clear(); }

int TerminalProgress::width() const {
  struct winsize size{};
  // The last column stays free: some terminals wrap as soon as it is written.
  if (::ioctl(::fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 1) return size.ws_col - 1;
  return 79;
}

void TerminalProgress::update(std::string_view label, int64_t done, int64_t total) {
  if (!active_) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  const double now = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  if (last_drawn_ >= 0 && now - last_drawn_ < kRedrawSeconds && done != total) return;
  last_drawn_ = now;
  meter_.add(now, done);
  // Requests come in bursts: their mean rate says more than that of the last seconds.
  const double rate = unit_.empty() || now <= 0 ? meter_.rate() : static_cast<double>(done) / now;
  const std::string line = format_progress(label, done, total, rate, width(), unit_);
  std::fprintf(stream_, "\r%s\033[K", line.c_str());
  std::fflush(stream_);
  drawn_ = true;
}

void TerminalProgress::clear() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!drawn_) return;
  std::fputs("\r\033[K", stream_);
  std::fflush(stream_);
  drawn_ = false;
}

}  // namespace pagoda
