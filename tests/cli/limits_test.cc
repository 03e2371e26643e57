// Shares of the machine's limits: what was reached bounds them from below.
#include <gtest/gtest.h>

#include "cli/bench_common.h"
#include "cli/train_console.h"

namespace pagoda::cli {
namespace {

TEST(Limits, WhatWasReachedBoundsThem) {
  EXPECT_EQ(limit_seconds(1, 2), 1);
  EXPECT_EQ(limit_seconds(2, 1), 1);  // measured beside other load
  EXPECT_EQ(limit_seconds(0, 1), 0);  // not known
  EXPECT_EQ(limit_seconds(2, 0), 2);  // nothing was timed
}

TEST(Limits, StepsRaiseThoseOfTraining) {
  Program program;
  program.quiet = true;
  TerminalProgress line(stderr, false, "steps");
  Console console(program, line, false);
  const auto step = [&](int64_t number, double flops) {
    train::StepReport report;
    report.step = number;
    report.max_steps = 9;
    report.seconds = 2;
    report.flops = flops;
    console.on_step(report);
  };
  step(1, 1000);
  EXPECT_EQ(console.mfu(), 0);  // no limit is known
  console.raise_limit(400);
  step(2, 400);
  EXPECT_EQ(console.mfu(), 0.5);
  step(3, 1600);
  step(4, 1600);
  EXPECT_EQ(console.mfu(), 1);  // 600 a second over three steps
  console.raise_limit(500);     // less than what was seen
  EXPECT_EQ(console.mfu(), 1);
  console.raise_limit(1200);
  EXPECT_EQ(console.mfu(), 0.5);
}

}  // namespace
}  // namespace pagoda::cli
