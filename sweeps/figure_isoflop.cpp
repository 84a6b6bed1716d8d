// IsoFLOP curves: loss against N, one parabola per budget (Hoffmann et al. 2022, figure 3 left).
#include <algorithm>
#include <cmath>

#include "sweeps/figure_script.h"
#include "sweeps/figures.h"

namespace minichilla {
namespace {

bool has_curve(const IsoflopProfile& profile) {
  const auto finite = [](const auto& point) {
    return std::isfinite(point.first) && std::isfinite(point.second);
  };
  return !profile.curve.empty() && std::all_of(profile.curve.begin(), profile.curve.end(), finite);
}

/// The sizes that the parabola was fitted to; all of the profile's where the fit does not say.
PlotRange fitted_range(const IsoflopProfile& profile) {
  if (profile.smallest_N > 0 && profile.largest_N > profile.smallest_N)
    return {profile.smallest_N, profile.largest_N};
  RangeFinder range(true);
  for (const Observation& run : profile.runs) range.add(run.N);
  return range.padded(0);
}

void add_curve(FigureScript& figure, const IsoflopProfile& profile, const std::string& style) {
  const std::string source = figure.block("curve of budget " + gnuplot_power(profile.C) + ": N, loss");
  for (const auto& [N, loss] : profile.curve) figure.row({N, loss});
  figure.plot(source + " using 1:2 with lines " + style + " notitle");
}

void add_minimum(FigureScript& figure, const IsoflopProfile& profile, const std::string& colour) {
  const double N = profile.params_opt.value;
  const auto& interval = profile.params_opt.interval;
  const std::string source =
      figure.block("minimum of budget " + gnuplot_power(profile.C) + ": N, loss, N low, N high");
  figure.row({N, profile.loss_opt.value, interval ? interval->low80 : N, interval ? interval->high80 : N});
  figure.plot(source + " using 1:2:3:4 with xerrorbars pt 13 ps 1.3 lw 2 lc rgb '#111111' notitle");
  figure.plot(source + " using 1:2 with points pt 13 ps 0.75 lc rgb '" + colour + "' notitle");
}

bool in_window(const IsoflopProfile& profile, const Observation& run) {
  const PlotRange range = fitted_range(profile);
  return run.N >= range.low * (1 - 1e-9) && run.N <= range.high * (1 + 1e-9);
}

/// Filled points took part in the parabola, hollow ones lie outside its window.
void add_runs(FigureScript& figure, const IsoflopProfile& profile, const std::string& colour) {
  for (const bool inside : {true, false}) {
    std::vector<const Observation*> runs;
    for (const Observation& run : profile.runs) {
      if (in_window(profile, run) == inside) runs.push_back(&run);
    }
    if (runs.empty()) continue;
    const std::string source = figure.block("runs of budget " + gnuplot_power(profile.C) +
                                            (inside ? "" : " outside the curve's window") + ": N, loss");
    for (const Observation* run : runs) figure.row({run->N, run->loss});
    figure.plot(source + " using 1:2 with points pt " + (inside ? "7" : "6") + " ps 0.8 lc rgb '" + colour +
                "' notitle");
  }
}

void add_profile(FigureScript& figure, const IsoflopProfile& profile, const std::string& colour) {
  const std::string line = "lw 2 lc rgb '" + colour + "'" + (profile.used ? "" : " dt (6,5)");
  if (has_curve(profile)) add_curve(figure, profile, line);
  add_runs(figure, profile, colour);
  if (profile.used) add_minimum(figure, profile, colour);
  figure.plot("keyentry with linespoints pt 7 ps 0.8 " + line + " title '" + gnuplot_power(profile.C) +
              (profile.used ? "'" : " (refused)'"));
}

/// All losses where they fit in; runs outside the parabolas' windows may leave the figure at the top rather
/// than press the parabolas flat.
PlotRange loss_range(const std::vector<IsoflopProfile>& profiles) {
  RangeFinder fitted(false), all(false);
  for (const IsoflopProfile& profile : profiles) {
    for (const Observation& run : profile.runs) {
      all.add(run.loss);
      if (in_window(profile, run)) fitted.add(run.loss);
    }
    if (profile.used) fitted.add(profile.loss_opt.value);
  }
  const PlotRange inner = fitted.padded(0), outer = all.padded(0);
  RangeFinder shown(false);
  shown.add(std::min(inner.low, outer.low));
  shown.add(std::min(outer.high, inner.high + 0.8 * (inner.high - inner.low)));
  shown.add(inner.high);
  return shown.padded(0.06);
}

std::string runs_above(const std::vector<IsoflopProfile>& profiles, double loss) {
  int above = 0;
  for (const IsoflopProfile& profile : profiles) {
    for (const Observation& run : profile.runs) above += run.loss > loss ? 1 : 0;
  }
  if (above == 0) return "";
  return " Above the figure: " + std::to_string(above) + (above == 1 ? " run" : " runs") + " of higher loss.";
}

std::string caption_of(const IsoflopFit& fit) {
  const bool spline = fit.interpolation == Interpolation::akima;
  std::string caption =
      "Each colour is one FLOP budget, each point one run. The curve is " +
      std::string(spline ? "an Akima spline" : "a parabola") +
      " in log N, drawn over the sizes that "
      "it was fitted to (filled points); the diamond is its minimum, the compute-optimal size, with its 80 % "
      "bootstrap "
      "interval.";
  for (const IsoflopProfile& profile : fit.profiles) {
    if (!profile.used) caption += " Dashed: a budget that was refused; the table of minima says why.";
    if (!profile.used) break;
  }
  return caption;
}

}  // namespace

Figure isoflop_figure(const FigureInput& input) {
  Figure result{"isoflop", "IsoFLOP curves", caption_of(input.fit.isoflop), "", "", ""};
  const auto& profiles = input.fit.isoflop.profiles;
  RangeFinder N(true);
  for (const IsoflopProfile& profile : profiles) {
    for (const Observation& run : profile.runs) N.add(run.N);
  }
  if (N.empty()) {
    result.missing =
        input.fit.isoflop.refused.empty() ? "No runs share a FLOP budget." : input.fit.isoflop.refused;
    return result;
  }
  const PlotRange losses = loss_range(profiles);
  result.caption += runs_above(profiles, losses.high);
  FigureScript figure(result.name);
  figure.log_axis('x', params_axis(input), N.padded(0.06));
  figure.linear_axis('y', "Final loss (" + input.table.loss_unit + ")", losses);
  figure.command("set rmargin at screen 0.765");
  figure.command("set key at screen 0.775, graph 1 left top title 'Budget in FLOPs' left");
  for (std::size_t i = 0; i < profiles.size(); ++i) {
    if (!profiles[i].runs.empty()) add_profile(figure, profiles[i], rank_colour(i, profiles.size()));
  }
  figure.plot("keyentry with points pt 13 ps 1.3 lc rgb '#111111' title 'minimum'");
  result.script = figure.script();
  result.data = figure.data();
  return result;
}

}  // namespace minichilla
