// Axes, ticks, polylines.
#include "metrics/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace pagoda {

namespace {

constexpr double kWidth = 760, kPanelHeight = 260, kLeft = 70, kRight = 20, kTop = 34, kBottom = 48;
// Distinct in print and to the colour-blind (Okabe and Ito's palette).
constexpr std::array<const char*, 6> kColors{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"};

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  }
  return out;
}

std::string text_at(double x, double y, const std::string& text, const char* anchor, const char* more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more, escape(text));
}

struct Range {
  double low = 0, high = 1;
};

Range range_of(const PlotPanel& panel, bool of_x) {
  Range range{HUGE_VAL, -HUGE_VAL};
  const auto take = [&](double value) {
    if (!std::isfinite(value) || (of_x && panel.log_x && value <= 0)) return;
    range.low = std::min(range.low, value);
    range.high = std::max(range.high, value);
  };
  for (const PlotCurve& curve : panel.curves) {
    for (const auto& [x, y] : curve.points) take(of_x ? x : y);
  }
  if (range.low > range.high) return {of_x && panel.log_x ? 0.1 : 0.0, 1};
  if (of_x && panel.log_x) return range.low < range.high ? range : Range{range.low / 2, range.high * 2};
  range.low = std::min(range.low, 0.0);
  if (range.low == range.high) range.high = range.low + 1;
  return range;
}

std::vector<double> log_ticks(const Range& range) {
  std::vector<double> ticks;
  for (int power = static_cast<int>(std::floor(std::log10(range.low))); std::pow(10, power) <= range.high; ++power) {
    for (const double digit : {1, 2, 5}) {
      const double tick = digit * std::pow(10, power);
      if (tick >= range.low && tick <= range.high) ticks.push_back(tick);
    }
  }
  return ticks.size() >= 3 ? ticks : plot_ticks(range.low, range.high, 5);  // of a narrow range
}

class Drawing {
 public:
  Drawing(const PlotPanel& panel, double top)
      : panel_(panel), top_(top), x_(range_of(panel, true)), y_(range_of(panel, false)), names_right_(names_fit_right()) {}

  std::string draw() const {
    std::string out = text_at(kLeft, top_ + 18, panel_.title, "start", " font-weight=\"bold\"") + axes();
    for (size_t i = 0; i < panel_.curves.size(); ++i) out += curve(panel_.curves[i], i);
    for (size_t i = 0; i < panel_.marks.size(); ++i) out += mark(panel_.marks[i], i);
    return out;
  }

 private:
  double at_x(double x) const {
    const double share = panel_.log_x ? std::log(x / x_.low) / std::log(x_.high / x_.low) : (x - x_.low) / (x_.high - x_.low);
    return kLeft + share * (kWidth - kLeft - kRight);
  }
  double at_y(double y) const {
    return top_ + kPanelHeight - kBottom - (y - y_.low) / (y_.high - y_.low) * (kPanelHeight - kTop - kBottom);
  }
  std::string line(double x1, double y1, double x2, double y2, const char* more) const {
    return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2, more);
  }
  std::string axes() const {
    const double bottom = top_ + kPanelHeight - kBottom, right = kWidth - kRight;
    std::string out;
    for (const double tick : panel_.log_x ? log_ticks(x_) : plot_ticks(x_.low, x_.high, 8)) {
      out += line(at_x(tick), top_ + kTop, at_x(tick), bottom, "stroke=\"#ddd\"");
      out += text_at(at_x(tick), bottom + 16, fmt::format("{:g}", tick), "middle");
    }
    for (const double tick : plot_ticks(y_.low, y_.high, 5)) {
      out += line(kLeft, at_y(tick), right, at_y(tick), "stroke=\"#ddd\"");
      out += text_at(kLeft - 6, at_y(tick) + 4, fmt::format("{:g}", tick), "end");
    }
    out += line(kLeft, bottom, right, bottom, "stroke=\"#333\"") + line(kLeft, top_ + kTop, kLeft, bottom, "stroke=\"#333\"");
    out += text_at((kLeft + right) / 2, bottom + 36, panel_.x_label, "middle");
    const double middle = (top_ + kTop + bottom) / 2;
    return out +
           text_at(16, middle, panel_.y_label, "middle", fmt::format(" transform=\"rotate(-90 16 {:.1f})\"", middle).c_str());
  }
  std::string curve(const PlotCurve& curve, size_t number) const {
    std::string points;
    for (const auto& [x, y] : curve.points) {
      if (!std::isfinite(x) || !std::isfinite(y) || (panel_.log_x && x <= 0)) continue;
      points += fmt::format("{:.1f},{:.1f} ", at_x(x), at_y(y));
    }
    const char* color = kColors[number % kColors.size()];
    std::string out =
        fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\" points=\"{}\"/>\n", color, points);
    if (panel_.curves.size() < 2) return out;
    const double y = top_ + kTop + 14 + 16 * static_cast<double>(number), right = kWidth - kRight;
    const double from = names_right_ ? right - 28 : kLeft + 8;
    out += line(from, y - 4, from + 20, y - 4, fmt::format("stroke=\"{}\" stroke-width=\"2\"", color).c_str());
    return out + text_at(names_right_ ? from - 6 : from + 26, y, curve.name, names_right_ ? "end" : "start");
  }
  // Are curves less in the way of their names at the right than at the left?
  bool names_fit_right() const {
    constexpr int kSteps = 20;  // of a line between two points
    double width = 0;
    for (const PlotCurve& curve : panel_.curves) width = std::max(width, 42 + 6.5 * static_cast<double>(curve.name.size()));
    const double bottom = top_ + kTop + 16 * static_cast<double>(panel_.curves.size()) + 6;
    int left = 0, right = 0;
    for (const PlotCurve& curve : panel_.curves) {
      for (size_t i = 1; i < curve.points.size(); ++i) {
        const auto& [x1, y1] = curve.points[i - 1];
        const auto& [x2, y2] = curve.points[i];
        if (panel_.log_x && (x1 <= 0 || x2 <= 0)) continue;
        for (int step = 0; step < kSteps; ++step) {
          const double share = static_cast<double>(step) / kSteps;
          const double x = at_x(x1) + share * (at_x(x2) - at_x(x1)), y = at_y(y1) + share * (at_y(y2) - at_y(y1));
          if (!(y < bottom)) continue;
          left += static_cast<int>(x < kLeft + width);
          right += static_cast<int>(x > kWidth - kRight - width);
        }
      }
    }
    return right < left;
  }
  std::string mark(const PlotMark& mark, size_t number) const {
    const bool outside = !std::isfinite(mark.x) || mark.x < x_.low || mark.x > x_.high || (panel_.log_x && mark.x <= 0);
    if (outside) return "";
    const double x = at_x(mark.x), y = top_ + kPanelHeight - kBottom - 8 - 14 * static_cast<double>(number);
    const bool left = x > kWidth * 0.7;
    return line(x, top_ + kTop, x, top_ + kPanelHeight - kBottom, "stroke=\"#888\" stroke-dasharray=\"4 3\"") +
           text_at(left ? x - 4 : x + 4, y, mark.label, left ? "end" : "start");
  }

  const PlotPanel& panel_;
  double top_;
  Range x_, y_;
  bool names_right_;
};

}  // namespace

std::vector<double> plot_ticks(double low, double high, int count) {
  if (!(high > low) || !std::isfinite(high - low) || count < 1) return {};
  const double rough = (high - low) / count, power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double digit : {1, 2, 5}) {
    if (digit * power >= rough) {
      step = digit * power;
      break;
    }
  }
  std::vector<double> ticks;
  for (double i = std::ceil(low / step); i * step <= high + 1e-9 * step; ++i) ticks.push_back(i * step);
  return ticks;
}

PlotCurve cumulative_curve(std::string name, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  PlotCurve curve{std::move(name), {}};
  // Thousands of steps are not seen: 500 are.
  const size_t stride = std::max<size_t>(1, values.size() / 500);
  double before = 0;
  for (size_t i = 0; i < values.size(); i += stride) {
    const size_t last = std::min(values.size(), i + stride) - 1;
    curve.points.emplace_back(values[i], before);
    before = 100.0 * static_cast<double>(last + 1) / static_cast<double>(values.size());
    curve.points.emplace_back(values[last], before);
  }
  return curve;
}

std::string svg_plot(const std::string& title, const std::vector<std::string>& notes, const std::vector<PlotPanel>& panels) {
  const double head = 40 + 17 * static_cast<double>(notes.size());
  const double height = head + kPanelHeight * static_cast<double>(panels.size()) + 10;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      kWidth, height);
  out += text_at(kLeft, 26, title, "start", " font-size=\"17\" font-weight=\"bold\"");
  for (size_t i = 0; i < notes.size(); ++i) out += text_at(kLeft, 46 + 17 * static_cast<double>(i), notes[i], "start");
  for (size_t i = 0; i < panels.size(); ++i) out += Drawing(panels[i], head + kPanelHeight * static_cast<double>(i)).draw();
  return out + "</svg>\n";
}

}  // namespace pagoda
