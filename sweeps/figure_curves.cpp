// Figures of training curves: the envelope over FLOPs (Hoffmann et al. 2022, figure 2 left) and loss against
// tokens.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "sweeps/figure_script.h"
#include "sweeps/figures.h"

namespace minichilla {
namespace {

constexpr std::size_t kMostPanels = 12;
constexpr const char* kThinLine = " with lines lw 1 lc palette notitle";

/// Loss range that shows how curves end: their steep beginnings may leave the figure at the top.
PlotRange loss_range(const std::vector<Curve>& curves) {
  std::vector<double> losses;
  double worst_end = 0;
  for (const Curve& curve : curves) {
    for (const CurvePoint& point : curve.points) {
      if (std::isfinite(point.loss)) losses.push_back(point.loss);
    }
    if (!curve.points.empty() && std::isfinite(curve.points.back().loss)) {
      worst_end = std::max(worst_end, curve.points.back().loss);
    }
  }
  if (losses.empty()) return {0, 1};
  std::sort(losses.begin(), losses.end());
  RangeFinder range(false);
  range.add(losses.front());
  range.add(std::max(worst_end, losses[losses.size() * 9 / 10]));
  return range.padded(0.05);
}

/// Range of D or C over the points whose loss is in the figure.
PlotRange visible_range(const std::vector<Curve>& curves, PlotRange losses, double CurvePoint::*coordinate) {
  RangeFinder range(true);
  for (const Curve& curve : curves) {
    for (const CurvePoint& point : curve.points) {
      if (point.loss <= losses.high) range.add(point.*coordinate);
    }
  }
  return range.padded(0.03);
}

PlotRange params_range(const std::vector<Curve>& curves) {
  RangeFinder range(true);
  for (const Curve& curve : curves) range.add(curve.N);
  return range.padded(0);
}

bool any_points(const std::vector<Curve>& curves) {
  return std::any_of(curves.begin(), curves.end(), [](const Curve& curve) { return !curve.points.empty(); });
}

/// Loss of a curve at C, on a straight line in log C between its points; NaN before its first and after its
/// last.
double loss_at(const Curve& curve, double C) {
  const auto& points = curve.points;
  const auto after = std::lower_bound(points.begin(), points.end(), C,
                                      [](const CurvePoint& point, double value) { return point.C < value; });
  if (after == points.end() || (after == points.begin() && after->C > C)) return std::nan("");
  if (after->C == C) return after->loss;
  const CurvePoint& before = *(after - 1);
  const double part = std::log(C / before.C) / std::log(after->C / before.C);
  return before.loss + part * (after->loss - before.loss);
}

/// The best loss that any run had reached by each compute.
std::vector<CurvePoint> lower_envelope(const std::vector<Curve>& curves, PlotRange C) {
  constexpr int kSamples = 400;
  std::vector<CurvePoint> envelope;
  double best = INFINITY;
  for (int i = 0; i <= kSamples; ++i) {
    const double at = C.low * std::pow(C.high / C.low, static_cast<double>(i) / kSamples);
    for (const Curve& curve : curves) best = std::fmin(best, loss_at(curve, at));
    if (std::isfinite(best)) envelope.push_back({0, at, best});
  }
  return envelope;
}

/// The compute that any run has seen.
PlotRange compute_range(const std::vector<Curve>& curves) {
  RangeFinder range(true);
  for (const Curve& curve : curves) {
    for (const CurvePoint& point : curve.points) range.add(point.C);
  }
  return range.padded(0);
}

void add_envelope(FigureScript& figure, const RunTable& table, const EnvelopeFit& fit) {
  const std::string line = figure.block("lower envelope: C, loss");
  for (const CurvePoint& point : lower_envelope(table.curves, compute_range(table.curves)))
    figure.row({point.C, point.loss});
  figure.plot(line + " using 1:2 with lines lw 2 lc rgb '#111111' title 'lower envelope'");
  if (fit.frontier.empty()) return;
  const std::string points = figure.block("points of approach 1: C, loss");
  for (const FrontierPoint& point : fit.frontier) figure.row({point.C, point.loss});
  figure.plot(points + " using 1:2 with points pt 7 ps 0.9 lc rgb '#111111' notitle");
  figure.plot(points + " using 1:2 with points pt 7 ps 0.5 lc rgb '#f0b000' notitle");
  figure.plot("keyentry with points pt 7 ps 0.7 lc rgb '#f0b000' title 'points of approach 1'");
}

/// The curves of one panel: those whose final run belongs to `budget`.
std::map<double, std::vector<const Curve*>> curves_by_budget(const RunTable& table) {
  std::map<std::string, double> budget_of;
  for (const Observation& run : table.runs) budget_of[run.run] = run.budget;
  std::map<double, std::vector<const Curve*>> groups;
  for (const Curve& curve : table.curves) {
    const auto found = budget_of.find(curve.run);
    if (!curve.points.empty()) groups[found == budget_of.end() ? 0 : found->second].push_back(&curve);
  }
  if (groups.size() <= kMostPanels) return groups;
  std::map<double, std::vector<const Curve*>> together;
  for (const auto& [budget, curves] : groups) {
    together[0].insert(together[0].end(), curves.begin(), curves.end());
  }
  return together;
}

void add_panel(FigureScript& figure, const std::vector<const Curve*>& curves, const std::string& comment) {
  const std::string source = figure.block(comment + ": D, loss, N");
  for (const Curve* curve : curves) {
    for (const CurvePoint& point : curve->points) figure.row({point.D, point.loss, curve->N});
    figure.gap();
  }
  figure.plot(source + " using 1:2:3" + kThinLine);
  figure.end_plot();
}

/// Screen coordinates of panel `i` in a grid: one set of axes labels at the left and the bottom, a colour bar
/// right.
void place_panel(FigureScript& figure, std::size_t i, std::size_t columns, std::size_t rows) {
  const auto place = [](double low, double high, std::size_t index, std::size_t count, double gap) {
    const double size = (high - low - gap * static_cast<double>(count - 1)) / static_cast<double>(count);
    const double begin = low + static_cast<double>(index) * (size + gap);
    return std::pair(begin, begin + size);
  };
  const auto [left, right] = place(0.085, 0.84, i % columns, columns, 0.03);
  const auto [bottom, top] = place(0.125, 0.945, rows - 1 - i / columns, rows, 0.07);
  figure.command("set lmargin at screen " + std::to_string(left) + "; set rmargin at screen " +
                 std::to_string(right));
  figure.command("set bmargin at screen " + std::to_string(bottom) + "; set tmargin at screen " +
                 std::to_string(top));
}

}  // namespace

Figure envelope_figure(const FigureInput& input) {
  Figure result{"envelope", "Training-curve envelope", "", "", "", ""};
  result.caption =
      "Every thin line is the loss of one run while it trains, coloured by model size. The black line is the "
      "lower "
      "envelope, the best loss that any run had reached by that compute; the dots are the points that "
      "approach 1 is "
      "fitted to.";
  const auto& curves = input.table.curves;
  if (!any_points(curves)) {
    result.missing = "The table has no training curves.";
    return result;
  }
  if (!input.fit.envelope.refused.empty()) {
    result.caption += " Approach 1 gave no estimate: " + input.fit.envelope.refused + ".";
  }
  FigureScript figure(result.name);
  const PlotRange losses = loss_range(curves);
  figure.log_axis('x', "Training compute C (FLOPs)", visible_range(curves, losses, &CurvePoint::C));
  figure.linear_axis('y', "Loss (" + input.table.loss_unit + ")", losses);
  figure.colour_bar(params_axis(input), params_range(curves));
  figure.command("set key bottom left");
  const std::string source = figure.block("training curves, a blank line between runs: C, loss, N");
  for (const Curve& curve : curves) {
    for (const CurvePoint& point : curve.points) figure.row({point.C, point.loss, curve.N});
    figure.gap();
  }
  figure.plot(source + " using 1:2:3" + kThinLine);
  add_envelope(figure, input.table, input.fit.envelope);
  result.script = figure.script();
  result.data = figure.data();
  return result;
}

Figure curves_figure(const FigureInput& input) {
  Figure result{"curves", "Loss curves of all runs", "", "", "", ""};
  const auto& curves = input.table.curves;
  if (!any_points(curves)) {
    result.missing = "The table has no training curves.";
    return result;
  }
  const auto groups = curves_by_budget(input.table);
  result.caption =
      groups.size() > 1
          ? "One panel per FLOP budget: the same compute, spent on few tokens by large models and on many "
            "tokens by small ones."
          : "Loss of every run against the tokens it was trained on.";
  const std::size_t columns = groups.size() > 6    ? 4
                              : groups.size() == 4 ? 2
                                                   : std::min<std::size_t>(groups.size(), 3);
  const std::size_t rows = (groups.size() + columns - 1) / columns;
  FigureScript figure(result.name, rows > 2 ? 280 * static_cast<int>(rows) : kFigureHeight);
  const PlotRange losses = loss_range(curves), tokens = visible_range(curves, losses, &CurvePoint::D);
  figure.command("set multiplot");
  figure.colour_bar(params_axis(input), params_range(curves));
  std::size_t i = 0;
  for (const auto& [budget, members] : groups) {
    const bool left = i % columns == 0, bottom = i + columns >= groups.size();
    place_panel(figure, i, columns, rows);
    figure.log_axis('x', bottom ? "Training tokens D" : "", tokens, bottom);
    figure.linear_axis('y', left ? "Loss (" + input.table.loss_unit + ")" : "", losses, left);
    const std::string name = budget > 0 ? "C = " + gnuplot_power(budget) + " FLOPs" : "";
    figure.command("set label 1 '" + name + "' at graph 0, graph 1.045 left");
    add_panel(figure, members, budget > 0 ? "curves of budget " + gnuplot_power(budget) : "curves");
    figure.command("unset colorbox");
    ++i;
  }
  figure.command("unset multiplot");
  result.script = figure.script();
  result.data = figure.data();
  return result;
}

}  // namespace minichilla
