// The fitted surface L(N, D) as contours over the runs (Hoffmann et al. 2022, figure 4 left).
#include <algorithm>
#include <cmath>

#include "sweeps/figure_script.h"
#include "sweeps/figures.h"

namespace minichilla {
namespace {

constexpr int kSurfaceSamples = 160;

double between(double low, double high, int i, int n) {
  return low * std::pow(high / low, static_cast<double>(i) / n);
}

/// The D at which the surface has `loss` for a model of N parameters; NaN where no D does.
double tokens_at(const ParametricFit::Surface& surface, double N, double loss) {
  const double rest = loss - surface.E - surface.A * std::pow(N, -surface.alpha);
  return rest > 0 ? std::pow(surface.B / rest, 1 / surface.beta) : std::nan("");
}

/// Levels a reader can count on: multiples of a nice step over the losses of most runs, of twice as much and
/// so on over those of the worst.
std::vector<double> contour_levels(const ParametricFit::Surface& surface, PlotRange N, PlotRange D,
                                   const std::vector<Observation>& runs) {
  std::vector<double> losses;
  for (const Observation& run : runs) losses.push_back(run.loss);
  std::sort(losses.begin(), losses.end());
  const double low = std::min(surface.loss(N.high, D.high), losses.front());
  const double most = losses[losses.size() * 9 / 10], worst = surface.loss(N.low, D.low);
  double step = nice_step(std::max((most - low) / 9, 1e-4));
  std::vector<double> levels;
  for (double level = std::ceil(low / step) * step; level <= worst && levels.size() < 24; level += step) {
    levels.push_back(level);
    if (level > most) step *= 2;
  }
  return levels;
}

void add_contours(FigureScript& figure, const FigureInput& input, PlotRange N, PlotRange D) {
  const ParametricFit::Surface surface = input.fit.parametric.surface();
  const std::vector<double> levels = contour_levels(surface, N, D, input.table.runs);
  const int decimals = levels.size() > 1 ? decimals_of_step(levels[1] - levels[0]) : 2;
  double label_above = 0;
  for (const double level : levels) {
    char text[32];
    std::snprintf(text, sizeof text, "%.*f", decimals, level);
    const std::string source = figure.block(std::string("contour of loss ") + text + ": N, D");
    for (int i = 0; i <= kSurfaceSamples; ++i) {
      const double at = between(N.low, N.high, i, kSurfaceSamples);
      const double tokens = tokens_at(surface, at, level);
      // A vertical stretch of many decades is cut where the figure ends, not joined across it.
      figure.row({at, tokens < D.high * 100 ? tokens : std::nan("")});
    }
    figure.plot(source + " using 1:2 with lines lw 1 lc rgb '#8a94a6' notitle");
    const double end = tokens_at(surface, N.high, level);
    const double spacing = std::pow(D.high / D.low, 0.035);
    if (!(end > D.low && end < D.high) || (label_above > 0 && end * spacing > label_above)) continue;
    figure.command(std::string("set label '") + text + "' at graph 1.008, first " + std::to_string(end) +
                   " left textcolor rgb '#5b6577'");
    label_above = end;
  }
}

/// N_opt and D_opt of approach 3 over the budgets up to ten times the largest.
std::vector<Optimum> efficient_frontier(const Fit& fit) {
  std::vector<Optimum> frontier;
  constexpr int kPoints = 40;
  for (int i = 0; i <= kPoints; ++i) {
    for (const Optimum& optimum : predict(fit, between(fit.smallest_C, 10 * fit.largest_C, i, kPoints))) {
      if (optimum.approach == "parametric") frontier.push_back(optimum);
    }
  }
  return frontier;
}

void add_frontier(FigureScript& figure, const std::vector<Optimum>& frontier) {
  if (frontier.empty()) return;
  const std::string source = figure.block("efficient frontier: N, D");
  for (const Optimum& optimum : frontier) figure.row({optimum.N.value, optimum.D.value});
  figure.plot(source + " using 1:2 with lines lw 3 lc rgb '#111111' notitle");
  const std::string star = figure.block("optimum for ten times the largest budget: N, D");
  figure.row({frontier.back().N.value, frontier.back().D.value});
  figure.plot(star + " using 1:2 with points pt 7 ps 1.3 lc rgb '#111111' notitle");
}

void add_runs(FigureScript& figure, const FigureInput& input) {
  const std::vector<double> budgets = budgets_of(input.table);
  for (std::size_t i = 0; i <= budgets.size(); ++i) {
    std::vector<Observation> members;
    const double budget = i < budgets.size() ? budgets[i] : 0;
    for (const Observation& run : input.table.runs) {
      if (run.budget == budget) members.push_back(run);
    }
    if (members.empty()) continue;
    std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.N < b.N; });
    const std::string name = budget > 0 ? gnuplot_power(budget) : "runs";
    const std::string colour = budget > 0 ? rank_colour(i, budgets.size()) : "#777777";
    const std::string source = figure.block("runs of budget " + name + ": N, D");
    for (const Observation& run : members) figure.row({run.N, run.D});
    const char* style = budget > 0 ? " with linespoints dt (7,4) lw 1" : " with points";
    figure.plot(source + " using 1:2" + style + " pt 7 ps 0.8 lc rgb '" + colour + "' title '" + name + "'");
  }
}

}  // namespace

Figure surface_figure(const FigureInput& input) {
  Figure result{"surface", "Fitted loss over model size and tokens", "", "", "", ""};
  const bool fitted = input.fit.parametric.refused.empty();
  result.caption =
      fitted ? "Grey contours: the loss that approach 3 fits, L(N, D) = E + A/N^α + B/D^β. Points: the runs; "
               "those "
               "of one budget lie on a dotted line. The black line is where each budget is spent best."
             : "The runs over model size and tokens. Approach 3 gave no estimate: " +
                   input.fit.parametric.refused + ".";
  RangeFinder N(true), D(true);
  for (const Observation& run : input.table.runs) {
    N.add(run.N);
    D.add(run.D);
  }
  if (N.empty()) {
    result.missing = "The table has no finished runs.";
    return result;
  }
  const std::vector<Optimum> frontier = fitted ? efficient_frontier(input.fit) : std::vector<Optimum>();
  for (const Optimum& optimum : frontier) {
    N.add(optimum.N.value);
    D.add(optimum.D.value);
  }
  const PlotRange N_range = N.padded(0.05), D_range = D.padded(0.05);
  FigureScript figure(result.name);
  figure.log_axis('x', params_axis(input), N_range);
  figure.log_axis('y', "Training tokens D", D_range);
  figure.command("set rmargin at screen 0.735");
  figure.command("set key at screen 0.795, graph 1 left top");
  if (!budgets_of(input.table).empty()) figure.command("set key title 'Budget in FLOPs' left");
  if (fitted) add_contours(figure, input, N_range, D_range);
  if (fitted) add_frontier(figure, frontier);
  add_runs(figure, input);
  if (fitted) {
    figure.plot("keyentry with lines lw 1 lc rgb '#8a94a6' title 'fitted loss'");
    figure.plot("keyentry with lines lw 3 lc rgb '#111111' title 'efficient frontier'");
    figure.plot("keyentry with points pt 7 ps 1.3 lc rgb '#111111' title 'at 10× budget'");
  }
  result.script = figure.script();
  result.data = figure.data();
  return result;
}

}  // namespace minichilla
