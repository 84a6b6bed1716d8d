// What the fitted surface leaves over, against compute: a law that bends shows here first.
#include <algorithm>
#include <cmath>
#include <map>

#include "sweeps/figure_script.h"
#include "sweeps/figures.h"

namespace minichilla {
namespace {

constexpr int kParts = 8;  ///< of the range of ln C, where runs have no budgets
constexpr std::size_t kFewestForMean = 2;
constexpr double kWidest = 3;  ///< times the 10th to 90th percentile: what lies beyond leaves the figure

struct Residual {
  double C, percent, N, group;
};

std::vector<Residual> residuals_of(const FigureInput& input, const ParametricFit::Surface& surface) {
  const bool budgets = !budgets_of(input.table).empty();
  const Fit& fit = input.fit;
  std::vector<Residual> residuals;
  for (const Observation& run : input.table.runs) {
    const double share = std::log(run.C / fit.smallest_C) / std::log(fit.largest_C / fit.smallest_C);
    residuals.push_back({run.C, 100 * std::log(run.loss / surface.loss(run.N, run.D)), run.N,
                         budgets ? run.budget : std::min(std::floor(kParts * share), kParts - 1.0)});
  }
  return residuals;
}

/// The range of most residuals and of the zero line.
PlotRange percent_range(const std::vector<Residual>& residuals) {
  std::vector<double> sorted;
  for (const Residual& one : residuals) {
    if (std::isfinite(one.percent)) sorted.push_back(one.percent);
  }
  std::sort(sorted.begin(), sorted.end());
  RangeFinder range(false);
  range.add(0);
  if (!sorted.empty()) {
    const double low = sorted[sorted.size() / 10], high = sorted[sorted.size() * 9 / 10];
    const double reach = kWidest * std::max(high - low, 1e-6);
    range.add(std::max(sorted.front(), low - reach));
    range.add(std::min(sorted.back(), high + reach));
  }
  return range.padded(0.08);
}

void add_means(FigureScript& figure, const std::vector<Residual>& residuals, bool budgets) {
  std::map<double, std::vector<const Residual*>> groups;
  for (const Residual& one : residuals) {
    if (std::isfinite(one.percent) && (!budgets || one.group > 0)) groups[one.group].push_back(&one);
  }
  const std::string source = figure.block("means: C, residual in percent of the loss");
  int means = 0;
  for (const auto& [key, members] : groups) {
    if (members.size() < kFewestForMean) continue;
    double C = 0, percent = 0;
    for (const Residual* one : members) {
      C += std::log(one->C) / static_cast<double>(members.size());
      percent += one->percent / static_cast<double>(members.size());
    }
    figure.row({std::exp(C), percent});
    ++means;
  }
  if (means == 0) {
    figure.row({std::nan(""), std::nan("")});
    return;
  }
  figure.plot(source + " using 1:2 with linespoints lw 2 pt 5 ps 0.9 lc rgb '#111111' title '" +
              (budgets ? "mean of a budget" : "mean of an eighth of the range") + "'");
}

std::string caption_of(const Fit& fit, std::size_t outside) {
  const bool parametric = name_of_surface(fit) == "parametric";
  std::string caption =
      std::string("How far each run's loss lies above (positive) or below the surface ") +
      (parametric ? "of approach 3" : "of variable projection") +
      ", in percent. Means that wander off zero as compute grows say that the law bends, and that "
      "extrapolations "
      "from it will be off.";
  if (outside > 0) {
    caption += " Outside the figure: " + std::to_string(outside) + (outside == 1 ? " run." : " runs.");
  }
  return caption;
}

}  // namespace

Figure residuals_figure(const FigureInput& input) {
  Figure result{"residuals", "What the surface leaves over", "", "", "", ""};
  const ParametricFit* surface = best_surface(input.fit);
  if (!surface) {
    result.missing = "No surface L(N, D) was fitted: " + input.fit.parametric.refused + ".";
    return result;
  }
  if (input.table.runs.empty() || !(input.fit.largest_C > input.fit.smallest_C)) {
    result.missing = "The runs have one compute only.";
    return result;
  }
  const std::vector<Residual> residuals = residuals_of(input, surface->surface());
  const PlotRange percent = percent_range(residuals);
  RangeFinder C(true), N(true);
  for (const Residual& one : residuals) {
    C.add(one.C);
    N.add(one.N);
  }
  FigureScript figure(result.name);
  figure.log_axis('x', "Training compute C (FLOPs)", C.padded(0.04));
  figure.linear_axis('y', "Residual of the loss (%)", percent);
  figure.colour_bar(params_axis(input), N.padded(0));
  figure.command("set key bottom left");
  figure.plot("0 with lines lw 1.5 dt (8,5) lc rgb '#666666' notitle");
  const std::string source = figure.block("residuals: C, percent of the loss, N");
  for (const Residual& one : residuals) figure.row({one.C, one.percent, one.N});
  figure.plot(source + " using 1:2:3 with points pt 7 ps 0.8 lc palette notitle");
  add_means(figure, residuals, !budgets_of(input.table).empty());
  const auto outside = std::count_if(residuals.begin(), residuals.end(), [&](const Residual& one) {
    return !(one.percent >= percent.low && one.percent <= percent.high);
  });
  result.caption = caption_of(input.fit, static_cast<std::size_t>(outside));
  result.script = figure.script();
  result.data = figure.data();
  return result;
}

}  // namespace minichilla
