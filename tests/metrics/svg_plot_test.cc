// Plots: what is drawn where, texts escaped, no value that breaks the file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "metrics/svg_plot.h"

namespace pagoda {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(SvgPlot, TicksAreRound) {
  EXPECT_THAT(plot_ticks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(plot_ticks(3, 97, 4), ElementsAre(50));
  EXPECT_THAT(plot_ticks(0.1, 0.3, 2), ElementsAre(DoubleNear(0.1, 1e-12), DoubleNear(0.2, 1e-12), DoubleNear(0.3, 1e-12)));
  EXPECT_TRUE(plot_ticks(1, 1, 5).empty());
  EXPECT_TRUE(plot_ticks(0, INFINITY, 5).empty());
}

TEST(SvgPlot, CumulativeCurvesStepUpAtEveryValue) {
  const PlotCurve curve = cumulative_curve("x", {3, 1, 2, 2});
  const std::vector<std::pair<double, double>> want{{1, 0}, {1, 25}, {2, 25}, {2, 50}, {2, 50}, {2, 75}, {3, 75}, {3, 100}};
  EXPECT_EQ(curve.points, want);
  EXPECT_TRUE(cumulative_curve("x", {}).points.empty());
  std::vector<double> many;
  for (int i = 0; i < 10000; ++i) many.push_back(i);
  const PlotCurve thin = cumulative_curve("x", many);
  EXPECT_LE(thin.points.size(), 1002u);
  EXPECT_EQ(thin.points.back(), std::make_pair(9999.0, 100.0));
}

TEST(SvgPlot, DrawsToScale) {
  PlotPanel panel{"panel", "ms", "share", {{"a", {{0, 0}, {10, 100}}}}, {{5, "half"}}, false};
  const std::string svg = svg_plot("title", {"note"}, {panel});
  // The plot's corners: left 70, right 740; a panel of 260 with 34 above and 48 below, under a head of 57.
  EXPECT_THAT(svg, HasSubstr("points=\"70.0,269.0 740.0,91.0 \""));
  EXPECT_THAT(svg, HasSubstr("x1=\"405.0\" y1=\"91.0\" x2=\"405.0\""));
  EXPECT_THAT(svg, HasSubstr(">half<"));
  panel.log_x = true;
  panel.curves = {{"a", {{1, 0}, {10, 50}, {100, 100}}}};
  panel.marks.clear();
  EXPECT_THAT(svg_plot("", {}, {panel}), HasSubstr("70.0,252.0 405.0,163.0 740.0,74.0"));
  panel.curves = {{"a", {{101, 0}, {139, 100}}}};  // no power of ten, twice or five times one between them
  EXPECT_THAT(svg_plot("", {}, {panel}), HasSubstr(">120<"));
}

TEST(SvgPlot, NamesStandWhereFewerCurvesPass) {
  const auto plot = [](double first, double last) {
    const PlotCurve curve{"long name", {{0, first}, {10, last}}}, other{"other", {{0, first}, {10, last / 2}}};
    return svg_plot("", {}, {{"panel", "x", "y", {curve, other}, {}, false}});
  };
  EXPECT_THAT(plot(0, 10), HasSubstr("text-anchor=\"start\">long name<"));  // rising
  EXPECT_THAT(plot(10, 0), HasSubstr("text-anchor=\"end\">long name<"));    // falling
}

TEST(SvgPlot, EscapesAndLeavesOutWhatIsNotFinite) {
  const PlotPanel panel{"<b>&\"",         "x\ny", "", {{"n", {{NAN, 1}, {1, INFINITY}, {1, 1}, {2, 2}}}, {"<m>", {}}},
                        {{NAN, "never"}}, true};
  const std::string svg = svg_plot("a < b", {}, {panel, PlotPanel()});
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
  EXPECT_THAT(svg, HasSubstr("&lt;b&gt;&amp;&quot;"));
  EXPECT_THAT(svg, HasSubstr("&lt;m&gt;"));
  EXPECT_THAT(svg, Not(HasSubstr("never")));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

}  // namespace
}  // namespace pagoda
