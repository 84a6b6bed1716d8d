// One budget of approach 2: the valley of losses against ln N, and its minimum.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sweeps/analysis/akima.h"
#include "sweeps/analysis/bootstrap.h"
#include "sweeps/analysis/fit.h"

namespace minichilla {

inline constexpr std::size_t kSmallestSizes =
    4;  ///< a parabola has three parameters: below it fits any points

/// The runs of one budget, by ascending size. Losses are logarithms where FitOptions::log_loss says so.
struct ValleyData {
  double C;
  bool log_loss;
  std::vector<double> x;  ///< ln N
  std::vector<double> loss;
  std::vector<double> weight;
  std::vector<double> sizes;    ///< distinct x, ascending
  std::vector<double> ln_cost;  ///< ln(C / D), FLOPs per token, for each of `sizes`

  /// The tokens that the budget pays for a model of exp(x) parameters.
  double tokens_at(double x) const;
  double loss_of(double value) const;  ///< nats per token of a value of `loss`
};

/// Sorts `runs` by size. Their weights are divided by `mean_weight`.
ValleyData valley_data(double C, std::vector<Observation>& runs, bool log_loss, double mean_weight = 1);

struct Parabola {
  double centre = 0, quadratic = 0, linear = 0, constant = 0;  ///< in x − centre
  double minimum() const { return centre - linear / (2 * quadratic); }
  double at(double x) const { return constant + (x - centre) * (linear + (x - centre) * quadratic); }
};

struct Valley {
  std::string refused;       ///< why there is no minimum that can be used; empty when there is one
  double low = 0, high = 0;  ///< the sizes fitted, in x
  Parabola parabola;         ///< of Interpolation::windowed for an Akima spline: it tells the noise
  std::optional<AkimaSpline> spline;

  double minimum() const { return spline ? spline->minimum() : parabola.minimum(); }
  double at(double x) const { return spline ? spline->at(x) : parabola.at(x); }
};

/// The valley through `loss`, one value for each of data.x.
Valley find_valley(const ValleyData& data, const std::vector<double>& loss, const FitOptions& options);

/// Adds the parabola's residuals as those of runs of weight one, relative to the loss and with their leverage
/// taken out, 1/sqrt(1 − h).
void add_residuals(const ValleyData& data, const Valley& valley, LossNoise& noise);

/// Losses drawn anew: the parabola with noise where it was fitted; elsewhere, and for a spline, which has no
/// residuals, the runs' own losses with noise.
std::vector<double> redraw(const ValleyData& data, const Valley& valley, const LossNoise& noise, double scale,
                           ResampleRandom& random);

}  // namespace minichilla
