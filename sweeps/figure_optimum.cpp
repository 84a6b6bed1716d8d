// The compute-optimal N and D against compute, by all approaches, with intervals and Hoffmann et al.'s line.
#include <algorithm>
#include <cmath>

#include "sweeps/analysis/published_laws.h"
#include "sweeps/figure_script.h"
#include "sweeps/figures.h"
#include "sweeps/hoffmann.h"

namespace minichilla {
namespace {

constexpr int kOptimumSamples = 48;
constexpr const char* kHoffmannStyle = "lw 1.5 dt (8,5) lc rgb '#666666'";
constexpr const char* kBesirogluStyle = "lw 1.5 dt (2,4) lc rgb '#666666'";
constexpr double kReach = 10;  ///< lines end at so many times the largest budget

/// Which of the two optima a figure shows.
struct Quantity {
  const char* name;
  const char* symbol;  ///< exponent: "a" or "b"
  Estimate Optimum::*optimum;
  Estimate PowerLaws::*exponent;
  Estimate ParametricFit::*parametric_exponent;
  Estimate IsoflopProfile::*minimum;
  double FrontierPoint::*frontier;
  double HoffmannPoint::*hoffmann;
  double hoffmann_exponent;
};

/// One approach: its colour (Okabe and Ito 2008, told apart by colour-blind readers too), its law's exponent.
struct Approach {
  const char* id;
  const char* label;
  const char* colour;
  const std::string* refused;
  const Estimate* exponent;
};

std::vector<Approach> approaches_of(const Fit& fit, const Quantity& quantity) {
  return {
      {"envelope", "1, envelope", "0072b2", &fit.envelope.refused, &(fit.envelope.laws.*quantity.exponent)},
      {"isoflop", "2, IsoFLOP", "d55e00", &fit.isoflop.refused, &(fit.isoflop.laws.*quantity.exponent)},
      {"parametric", "3, L(N, D)", "009e73", &fit.parametric.refused,
       &(fit.parametric.*quantity.parametric_exponent)}};
}

std::string exponent_text(const char* symbol, const Estimate& estimate) {
  char text[96];
  if (estimate.interval) {
    std::snprintf(text, sizeof text, "%s = %.2f [%.2f, %.2f]", symbol, estimate.value,
                  estimate.interval->low80, estimate.interval->high80);
  } else {
    std::snprintf(text, sizeof text, "%s = %.2f", symbol, estimate.value);
  }
  return text;
}

std::vector<double> budgets_drawn(const Fit& fit) {
  std::vector<double> budgets;
  for (int i = 0; i <= kOptimumSamples; ++i) {
    budgets.push_back(fit.smallest_C *
                      std::pow(kReach * fit.largest_C / fit.smallest_C, i / double{kOptimumSamples}));
  }
  return budgets;
}

struct LawPoint {
  double C;
  Estimate value;
};

std::vector<LawPoint> law_of(const Fit& fit, const Approach& approach, const Quantity& quantity) {
  std::vector<LawPoint> law;
  for (const double C : budgets_drawn(fit)) {
    for (const Optimum& optimum : predict(fit, C)) {
      if (optimum.approach == approach.id) law.push_back({C, optimum.*quantity.optimum});
    }
  }
  return law;
}

void add_law(FigureScript& figure, const Approach& approach, const Quantity& quantity,
             const std::vector<LawPoint>& law) {
  const std::string source = figure.block(std::string("approach ") + approach.label + ": C, " +
                                          quantity.name + ", low, high (80 %)");
  bool banded = false;
  for (const LawPoint& point : law) {
    const auto& interval = point.value.interval;
    banded = banded || interval.has_value();
    figure.row({point.C, point.value.value, interval ? interval->low80 : std::nan(""),
                interval ? interval->high80 : std::nan("")});
  }
  const std::string colour = std::string(" lc rgb '#") + approach.colour + "'";
  if (banded) {
    figure.plot(source + " using 1:3:4 with filledcurves fs transparent solid 0.16 noborder" + colour +
                " notitle");
  }
  figure.plot(source + " using 1:2 with lines lw 2" + colour + " notitle");
}

void add_frontier(FigureScript& figure, const Fit& fit, const Quantity& quantity, RangeFinder& range) {
  if (!fit.envelope.refused.empty() || fit.envelope.frontier.empty()) return;
  const std::string source = figure.block(std::string("frontier points of approach 1: C, ") + quantity.name);
  for (const FrontierPoint& point : fit.envelope.frontier) {
    figure.row({point.C, point.*quantity.frontier});
    range.add(point.*quantity.frontier);
  }
  figure.plot(source + " using 1:2 with points pt 7 ps 0.6 lc rgb '#0072b2' notitle");
}

void add_minima(FigureScript& figure, const Fit& fit, const Quantity& quantity, RangeFinder& range) {
  std::string source;
  for (const IsoflopProfile& profile : fit.isoflop.profiles) {
    if (!profile.used) continue;
    if (source.empty())
      source = figure.block(std::string("IsoFLOP minima: C, ") + quantity.name + ", low, high (80 %)");
    const Estimate& minimum = profile.*quantity.minimum;
    const double value = minimum.value;
    figure.row({profile.C, value, minimum.interval ? minimum.interval->low80 : value,
                minimum.interval ? minimum.interval->high80 : value});
    range.add(value);
  }
  if (source.empty()) return;
  figure.plot(source + " using 1:2:3:4 with yerrorbars pt 13 ps 1.3 lw 1.5 lc rgb '#d55e00' notitle");
}

void add_hoffmann(FigureScript& figure, const Fit& fit, const Quantity& quantity, RangeFinder& range) {
  const std::string source = figure.block(std::string("Hoffmann et al. 2022: C, ") + quantity.name);
  for (const double C : budgets_drawn(fit)) {
    const double value =
        kHoffmannAnchor.*quantity.hoffmann * std::pow(C / kHoffmannAnchor.C, quantity.hoffmann_exponent);
    figure.row({C, value});
    range.add(value);
  }
  figure.plot(source + " using 1:2 with lines " + kHoffmannStyle + " notitle");
}

/// The surface that Besiroglu et al. fitted to the same runs.
void add_besiroglu(FigureScript& figure, const Fit& fit, const Quantity& quantity, RangeFinder& range) {
  const std::string source = figure.block(std::string("Besiroglu et al. 2024: C, ") + quantity.name);
  const Fit law = fit_of_law(parse_law("besiroglu"));
  for (const double C : budgets_drawn(fit)) {
    for (const Optimum& optimum : predict(law, C)) {
      figure.row({C, (optimum.*quantity.optimum).value});
      range.add((optimum.*quantity.optimum).value);
    }
  }
  figure.plot(source + " using 1:2 with lines " + kBesirogluStyle + " notitle");
}

bool has_minima(const Fit& fit) {
  const auto& profiles = fit.isoflop.profiles;
  return std::any_of(profiles.begin(), profiles.end(), [](const auto& profile) { return profile.used; });
}

std::string hoffmann_caption(double smallest_C) {
  if (smallest_C >= kHoffmannSmallestBudget)
    return " Dashed: Hoffmann et al.'s approach 1; dotted: Besiroglu et al.'s new fit to their runs.";
  char text[320];
  std::snprintf(
      text, sizeof text,
      " Dashed: Hoffmann et al.'s approach 1, slope 0.50 through their Table 3 (10⁹ parameters, "
      "2.02×10¹⁰ tokens, "
      "1.21×10²⁰ FLOPs), extended %.1f decades below their smallest budget; dotted: Besiroglu et "
      "al.'s new fit to the same runs. A comparison of slopes on other data, not a prediction for this "
      "text.",
      std::log10(kHoffmannSmallestBudget / smallest_C));
  return text;
}

std::string caption_of(const Fit& fit) {
  std::string caption =
      "Lines: the power laws with their 80 % bootstrap bands, drawn on to ten times the largest budget (grey "
      "ground).";
  if (has_minima(fit)) caption += " Diamonds: the minima of the IsoFLOP curves with 80 % intervals.";
  if (!fit.envelope.frontier.empty()) caption += " Dots: points of the training-curve envelope.";
  caption += hoffmann_caption(fit.smallest_C);
  for (const auto& [number, refused] :
       {std::pair{1, &fit.envelope.refused}, {2, &fit.isoflop.refused}, {3, &fit.parametric.refused}}) {
    if (!refused->empty())
      caption += " Approach " + std::to_string(number) + " gave no estimate: " + *refused + ".";
  }
  return caption;
}

void set_ground(FigureScript& figure, const Fit& fit, PlotRange C) {
  char text[160];
  std::snprintf(
      text, sizeof text,
      "set object 1 rectangle from first %.10g, graph 0 to first %.10g, graph 1 behind fc rgb '#f3f4f6' "
      "fs solid noborder",
      fit.largest_C, C.high);
  figure.command(text);
  figure.command("set label 1 'extrapolated' at graph 0.985, graph 0.035 right textcolor rgb '#666666'");
}

std::string hoffmann_entry(const Fit& fit, const Quantity& quantity) {
  char title[160];
  std::snprintf(title, sizeof title, "lines %s title 'Hoffmann et al. 2022, slope %.2f%s'", kHoffmannStyle,
                quantity.hoffmann_exponent,
                fit.smallest_C < kHoffmannSmallestBudget ? " (extrapolated)" : "");
  return title;
}

/// The legend under the figure, lines in one column and points in the other.
void add_legend(FigureScript& figure, const Fit& fit, const Quantity& quantity) {
  figure.command("set bmargin at screen 0.33");
  figure.command("set key at screen 0.54, screen 0.01 center bottom vertical maxrows 4 width -4");
  for (const Approach& approach : approaches_of(fit, quantity)) {
    const bool refused = !approach.refused->empty();
    figure.plot(std::string("keyentry with lines lw 2 lc rgb '#") + approach.colour + "' title 'Approach " +
                approach.label + ":  " +
                (refused ? "no estimate" : exponent_text(quantity.symbol, *approach.exponent)) + "'");
  }
  if (!fit.envelope.frontier.empty()) {
    figure.plot("keyentry with points pt 7 ps 0.6 lc rgb '#0072b2' title 'points of the envelope'");
  }
  if (has_minima(fit)) {
    figure.plot("keyentry with points pt 13 ps 1.3 lc rgb '#d55e00' title 'minima of the IsoFLOP curves'");
  }
  figure.plot("keyentry with " + hoffmann_entry(fit, quantity));
  figure.plot(std::string("keyentry with lines ") + kBesirogluStyle + " title 'Besiroglu et al. 2024'");
}

Figure optimum_figure(const FigureInput& input, Figure result, const Quantity& quantity,
                      const std::string& label) {
  const Fit& fit = input.fit;
  if (!(fit.smallest_C > 0) || !(fit.largest_C >= fit.smallest_C)) {
    result.missing = "The table has no finished runs.";
    return result;
  }
  FigureScript figure(result.name);
  RangeFinder range(true), bands(true);
  add_hoffmann(figure, fit, quantity, range);
  add_besiroglu(figure, fit, quantity, range);
  add_frontier(figure, fit, quantity, range);
  for (const Approach& approach : approaches_of(fit, quantity)) {
    if (!approach.refused->empty()) continue;
    const std::vector<LawPoint> law = law_of(fit, approach, quantity);
    for (const LawPoint& point : law) {
      range.add(point.value.value);
      if (point.value.interval) bands.add(point.value.interval->low80);
      if (point.value.interval) bands.add(point.value.interval->high80);
    }
    if (!law.empty()) add_law(figure, approach, quantity, law);
  }
  add_minima(figure, fit, quantity, range);
  // A hopelessly wide band may leave the figure; it must not press the rest of it flat.
  const PlotRange values = range.padded(0.05), wide = bands.padded(0);
  if (!bands.empty()) range.add(std::max(wide.low, values.low / 3));
  if (!bands.empty()) range.add(std::min(wide.high, values.high * 3));
  RangeFinder C(true);
  C.add(fit.smallest_C);
  C.add(kReach * fit.largest_C);
  for (const FrontierPoint& point : fit.envelope.frontier) C.add(point.C);
  const PlotRange C_range = C.padded(0.03);
  figure.log_axis('x', "Training compute C (FLOPs)", C_range);
  figure.log_axis('y', label, range.padded(0.05));
  set_ground(figure, fit, C_range);
  add_legend(figure, fit, quantity);
  result.script = figure.script();
  result.data = figure.data();
  return result;
}

}  // namespace

Figure params_figure(const FigureInput& input) {
  const Quantity quantity = {"N",
                             "a",
                             &Optimum::N,
                             &PowerLaws::a,
                             &ParametricFit::a,
                             &IsoflopProfile::params_opt,
                             &FrontierPoint::N,
                             &HoffmannPoint::N,
                             kHoffmannEnvelope.a};
  return optimum_figure(input, {"params", "Compute-optimal model size", caption_of(input.fit), "", "", ""},
                        quantity, "Compute-optimal model size N (" + input.params_unit + ")");
}

Figure tokens_figure(const FigureInput& input) {
  const Quantity quantity = {"D",
                             "b",
                             &Optimum::D,
                             &PowerLaws::b,
                             &ParametricFit::b,
                             &IsoflopProfile::tokens_opt,
                             &FrontierPoint::D,
                             &HoffmannPoint::D,
                             kHoffmannEnvelope.b};
  return optimum_figure(input,
                        {"tokens", "Compute-optimal training tokens", "The same for the tokens.", "", "", ""},
                        quantity, "Compute-optimal training tokens D");
}

}  // namespace minichilla
