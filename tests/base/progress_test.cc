// Progress lines: sizes, times, rates, widths, and silence away from terminals.
#include "base/progress.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <limits>

namespace pagoda {
namespace {

TEST(Progress, Bytes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1.00 kB");
  EXPECT_EQ(format_bytes(12'345), "12.3 kB");
  EXPECT_EQ(format_bytes(999'499), "999 kB");
  EXPECT_EQ(format_bytes(999'600), "1.00 MB");
  EXPECT_EQ(format_bytes(269'060'552), "269 MB");
  EXPECT_EQ(format_bytes(9'996'000'000), "10.0 GB");
  EXPECT_EQ(format_bytes(std::numeric_limits<int64_t>::max()), "9.22 EB");
}

TEST(Progress, Durations) {
  EXPECT_EQ(format_duration(6.7), "0:07");
  EXPECT_EQ(format_duration(750), "12:30");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(-1), "-:--");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "-:--");
}

TEST(Progress, Line) {
  EXPECT_EQ(format_progress("model.safetensors", 50'000'000, 200'000'000, 10e6, 79),
            "model.safetensors   25%  50.0 MB of 200 MB  10.0 MB/s  0:15 left");
  EXPECT_EQ(format_progress("x", 5, 0, 0, 79), "x  5 B");
  EXPECT_EQ(format_progress("model-00001-of-00002.safetensors", 1, 100, 0, 40), "...00002.safetensors    1%  1 B of 100 B");
  for (int width = 1; width < 100; ++width) {
    EXPECT_LE(format_progress("model-00001-of-00002.safetensors", 1, 100, 7, width).size(), static_cast<size_t>(width));
  }
}

TEST(Progress, Rate) {
  RateMeter meter;
  EXPECT_EQ(meter.rate(), 0);
  meter.add(0, 0);
  EXPECT_EQ(meter.rate(), 0);
  meter.add(2, 200);
  EXPECT_DOUBLE_EQ(meter.rate(), 100);
  for (int second = 3; second < 20; ++second) meter.add(second, 200 + 50 * (second - 2));
  EXPECT_DOUBLE_EQ(meter.rate(), 50);  // the first seconds have left the window
  meter.add(21, 10);                   // starts anew
  EXPECT_EQ(meter.rate(), 0);
}

TEST(Progress, SilentWithoutTerminal) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  {
    TerminalProgress quiet(file);
    EXPECT_FALSE(quiet.active());
    quiet.update("a", 1, 2);
  }
  EXPECT_EQ(std::ftell(file), 0);
  {
    TerminalProgress loud(file, true);
    loud.update("a", 1, 2);
  }
  EXPECT_GT(std::ftell(file), 0);
  std::fclose(file);
}

}  // namespace
}  // namespace pagoda
