// Line plots as one SVG file that needs nothing else: no script, no font, no other file.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace pagoda {

struct PlotCurve {
  std::string name;                               // in the legend
  std::vector<std::pair<double, double>> points;  // in order of x; those that are not finite are left out
};

struct PlotMark {  // a vertical line
  double x = 0;
  std::string label;
};

struct PlotPanel {
  std::string title, x_label, y_label;
  std::vector<PlotCurve> curves;
  std::vector<PlotMark> marks;
  bool log_x = false;  // points at x <= 0 are then left out
};

// The panels below each other, titles above. All texts are escaped.
std::string svg_plot(const std::string& title, const std::vector<std::string>& notes, const std::vector<PlotPanel>& panels);

// Share of the values that are at most x, in per cent: a step up at every value. Empty for no values.
PlotCurve cumulative_curve(std::string name, std::vector<double> values);

// Round numbers that divide [low, high] into about `count` parts.
std::vector<double> plot_ticks(double low, double high, int count);

}  // namespace pagoda
