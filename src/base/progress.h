// One progress line on a terminal: share done, rate, time left. Silent when the output is no terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace pagoda {

std::string format_bytes(int64_t bytes);      // "0 B", "12.3 kB", "1.07 GB": powers of 1000, three digits
std::string format_duration(double seconds);  // "0:07", "12:30", "1:02:03"; "-:--" when not finite or negative

// The text of one progress line, at most `width` columns; the label gives way first (ASCII labels are assumed narrow).
// total <= 0 means unknown: no share and no time left. rate in bytes (units) a second; <= 0 means not known yet.
// unit: what is counted ("requests"); empty: bytes.
std::string format_progress(std::string_view label, int64_t done, int64_t total, double rate, int width,
                            std::string_view unit = "");

// Bytes a second over the last few seconds.
class RateMeter {
 public:
  // Records the running total at `seconds` (any origin, not decreasing). A total that falls starts the meter anew.
  void add(double seconds, int64_t done);
  double rate() const;  // 0 until two samples at least a tenth of a second apart are known

 private:
  std::deque<std::pair<double, int64_t>> samples_;
};

// Draws on a stream, at most ten times a second; every call may come from any thread.
class TerminalProgress {
 public:
  // Draws only where `stream` is a terminal, unless `force`.
  explicit TerminalProgress(std::FILE* stream, bool force = false, std::string unit = "");
  ~TerminalProgress();  // wipes the line
  TerminalProgress(const TerminalProgress&) = delete;
  TerminalProgress& operator=(const TerminalProgress&) = delete;
  bool active() const { return active_; }
  void update(std::string_view label, int64_t done, int64_t total);
  void clear();  // wipes the line, so that other text can be printed; the next update draws again

 private:
  int width() const;

  std::mutex mutex_;
  std::FILE* stream_;
  bool active_;
  std::string unit_;
  bool drawn_ = false;
  double last_drawn_ = -1;
  std::chrono::steady_clock::time_point start_;
  RateMeter meter_;
};

}  // namespace pagoda
