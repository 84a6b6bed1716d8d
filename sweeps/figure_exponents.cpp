// What the runs say about the exponents: the bootstrap cloud of (alpha, beta), and the profile of a.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "sweeps/analysis/bootstrap.h"
#include "sweeps/analysis/published_laws.h"
#include "sweeps/figure_script.h"
#include "sweeps/figures.h"

namespace minichilla {
namespace {

/// One way to fit the surface: as the other figures colour it (Okabe and Ito 2008).
struct SurfaceWay {
  const char* label;
  const char* colour;
  const ParametricFit* fit;
};

std::vector<SurfaceWay> ways_of(const Fit& fit) {
  std::vector<SurfaceWay> ways;
  for (const SurfaceWay& way :
       {SurfaceWay{"variable projection", "cc79a7", &fit.variable_projection},
        SurfaceWay{"variable projection, robust", "e69f00", &fit.variable_projection_robust},
        SurfaceWay{"approach 3", "009e73", &fit.parametric}}) {
    if (way.fit->refused.empty()) ways.push_back(way);
  }
  return ways;
}

/// The range of 98 % of the resamples and of the estimates.
PlotRange cloud_range(const std::vector<SurfaceWay>& ways, double ParametricFit::Surface::*exponent) {
  RangeFinder range(false);
  for (const SurfaceWay& way : ways) {
    std::vector<double> values;
    for (const auto& resample : way.fit->resamples) values.push_back(resample.*exponent);
    std::sort(values.begin(), values.end());
    if (!values.empty()) range.add(percentile(values, 0.01));
    if (!values.empty()) range.add(percentile(values, 0.99));
    range.add(way.fit->surface().*exponent);
  }
  const PlotRange padded = range.padded(0.05);
  return {std::max(padded.low, 0.0), padded.high};
}

struct PublishedPoint {
  const char* law;
  const char* name;
};
constexpr PublishedPoint kPublished[] = {{"hoffmann_unrounded", "Hoffmann et al. 2022"},
                                         {"besiroglu", "Besiroglu et al. 2024"},
                                         {"muennighoff_c4", "Muennighoff et al. 2023"}};

/// The ranges with the published exponents in them, where that does not press the cloud together.
void make_room_for_published(PlotRange& alpha, PlotRange& beta) {
  constexpr double kWorthwhile = 3;
  RangeFinder wide_alpha(false), wide_beta(false);
  for (const double end : {alpha.low, alpha.high}) wide_alpha.add(end);
  for (const double end : {beta.low, beta.high}) wide_beta.add(end);
  for (const PublishedPoint& point : kPublished) {
    wide_alpha.add(parse_law(point.law).surface.alpha);
    wide_beta.add(parse_law(point.law).surface.beta);
  }
  const PlotRange a = wide_alpha.padded(0.05), b = wide_beta.padded(0.05);
  const auto growth = [](PlotRange wide, PlotRange narrow) {
    return (wide.high - wide.low) / (narrow.high - narrow.low);
  };
  if (growth(a, alpha) > kWorthwhile || growth(b, beta) > kWorthwhile) return;
  alpha = a;
  beta = b;
}

/// Rays of equal a = beta/(alpha + beta), with a label where they leave the figure.
void add_rays(FigureScript& figure, PlotRange alpha, PlotRange beta) {
  const double smallest = beta.low / (alpha.high + beta.low), largest = beta.high / (alpha.low + beta.high);
  const double step = nice_step((largest - smallest) / 8);
  for (int i = 1; i * step < 1; ++i) {
    const double a = i * step, slope = a / (1 - a);
    const double right = std::min(alpha.high, beta.high / slope);
    const double left = std::max(alpha.low, beta.low / slope);
    if (!(right > left)) continue;
    char text[320];
    std::snprintf(text, sizeof text,
                  "set arrow from first %.10g, first %.10g to first %.10g, first %.10g nohead back lw 1 lc "
                  "rgb '#b0b7c3'",
                  left, slope * left, right, slope * right);
    figure.command(text);
    const bool at_right = slope * alpha.high <= beta.high;
    std::snprintf(text, sizeof text,
                  "set label 'a = %.*f' at first %.10g, first %.10g %s textcolor rgb '#5b6577'",
                  decimals_of_step(step), a, right, slope * right,
                  at_right ? "left offset 0.6, 0" : "center offset 0, 0.6");
    figure.command(text);
  }
}

void add_cloud(FigureScript& figure, const SurfaceWay& way) {
  const std::string colour = std::string(" lc rgb '#") + way.colour + "'";
  const std::string cloud = figure.block(std::string("resamples by ") + way.label + ": alpha, beta");
  for (const auto& resample : way.fit->resamples) figure.row({resample.alpha, resample.beta});
  figure.plot(cloud + " using 1:2 with points pt 7 ps 0.35 lc rgb '#80" + way.colour + "' notitle");
  const std::string value = figure.block(std::string("estimate by ") + way.label + ": alpha, beta");
  figure.row({way.fit->alpha.value, way.fit->beta.value});
  figure.plot(value + " using 1:2 with points pt 7 ps 1.7 lc rgb '#111111' notitle");
  figure.plot(value + " using 1:2 with points pt 7 ps 1.3" + colour + " notitle");
}

/// Names of those published laws that lie outside the figure.
std::string add_published(FigureScript& figure, PlotRange alpha, PlotRange beta) {
  std::string outside;
  int point_type = 4;
  for (const PublishedPoint& point : kPublished) {
    const ParametricFit::Surface surface = parse_law(point.law).surface;
    const bool inside = surface.alpha >= alpha.low && surface.alpha <= alpha.high &&
                        surface.beta >= beta.low && surface.beta <= beta.high;
    if (!inside) {
      char text[120];
      std::snprintf(text, sizeof text, "%s%s (%.3f, %.3f)", outside.empty() ? "" : ", ", point.name,
                    surface.alpha, surface.beta);
      outside += text;
      continue;
    }
    const std::string source = figure.block(std::string(point.name) + ": alpha, beta");
    figure.row({surface.alpha, surface.beta});
    figure.plot(source + " using 1:2 with points pt " + std::to_string(point_type) +
                " ps 1.4 lw 2 lc rgb '#111111' title '" + point.name + "'");
    point_type += 2;
  }
  return outside;
}

}  // namespace

Figure cloud_figure(const FigureInput& input) {
  Figure result{"cloud", "How well the runs know the two exponents", "", "", "", ""};
  const std::vector<SurfaceWay> ways = ways_of(input.fit);
  if (ways.empty()) {
    result.missing = "No surface L(N, D) was fitted: " + input.fit.parametric.refused + ".";
    return result;
  }
  if (std::all_of(ways.begin(), ways.end(), [](const auto& way) { return way.fit->resamples.empty(); })) {
    result.missing = "The fit has no bootstrap.";
    return result;
  }
  PlotRange alpha = cloud_range(ways, &ParametricFit::Surface::alpha);
  PlotRange beta = cloud_range(ways, &ParametricFit::Surface::beta);
  make_room_for_published(alpha, beta);
  FigureScript figure(result.name);
  figure.linear_axis('x', "Exponent of model size, α", alpha);
  figure.linear_axis('y', "Exponent of tokens, β", beta);
  figure.command("set rmargin at screen 0.635; set tmargin at screen 0.945");
  figure.command("set key at screen 0.715, graph 1 left top");
  add_rays(figure, alpha, beta);
  for (const SurfaceWay& way : ways) add_cloud(figure, way);
  for (auto way = ways.rbegin(); way != ways.rend(); ++way) {
    figure.plot(std::string("keyentry with points pt 7 ps 1.2 lc rgb '#") + way->colour + "' title '" +
                way->label + "'");
  }
  const std::string outside = add_published(figure, alpha, beta);
  result.caption =
      "Small points: α and β of each bootstrap resample; large ones: the estimates. Along a grey ray the "
      "compute-optimal size grows with the same a = β/(α + β): a cloud that lies along a ray leaves a well "
      "known though neither exponent is.";
  if (!outside.empty()) result.caption += " Outside the figure: " + outside + ".";
  result.script = figure.script();
  result.data = figure.data();
  return result;
}

Figure profile_figure(const FigureInput& input) {
  Figure result{"profile", "The likelihood of the exponent a", "", "", "", ""};
  std::vector<SurfaceWay> ways = ways_of(input.fit);
  std::erase_if(ways, [](const SurfaceWay& way) { return way.fit->profile_of_a.points.empty(); });
  if (ways.empty()) {
    result.missing =
        best_surface(input.fit)
            ? "The fit has no profile of a: it was made without a bootstrap, with alpha = beta, or by an "
              "older version."
            : "No surface L(N, D) was fitted: " + input.fit.parametric.refused + ".";
    return result;
  }
  RangeFinder a(false);
  double top = 0;
  for (const SurfaceWay& way : ways) {
    top = std::max(top, 1.5 * way.fit->profile_of_a.at95);
    for (const auto& [value, squared] : way.fit->profile_of_a.points) a.add(value);
  }
  const ProfileCurve& first = ways.back().fit->profile_of_a;
  FigureScript figure(result.name);
  figure.linear_axis('x', "Exponent a, held", a.padded(0.02));
  figure.linear_axis('y', "Fall of the likelihood (squared t value)", {0, top});
  figure.command("set rmargin at screen 0.68");
  figure.command("set key at screen 0.715, graph 1 left top");
  for (const auto& [name, level] : {std::pair{"80 %", first.at80}, {"95 %", first.at95}}) {
    figure.plot(std::to_string(level) + " with lines lw 1.5 dt (8,5) lc rgb '#666666' notitle");
    figure.command(std::string("set label '") + name + "' at graph 0.012, first " + std::to_string(level) +
                   " left offset 0, 0.6 textcolor rgb '#5b6577'");
  }
  for (auto way = ways.rbegin(); way != ways.rend(); ++way) {
    const std::string source = figure.block(std::string("profile by ") + way->label + ": a, squared t value");
    for (const auto& [value, squared] : way->fit->profile_of_a.points) figure.row({value, squared});
    figure.plot(source + " using 1:2 with lines lw 2 lc rgb '#" + way->colour + "' title '" + way->label +
                "'");
  }
  result.caption =
      "How much worse the best surface fits when a is held at a value and everything else is fitted again. "
      "Values of a under a dashed line lie in that interval; a curve that stays under it does not bound a on "
      "that side.";
  result.script = figure.script();
  result.data = figure.data();
  return result;
}

}  // namespace minichilla
