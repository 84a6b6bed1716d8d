#include "sweeps/analysis/serving.h"

#include <cmath>

namespace minichilla {
namespace {

constexpr int kSectionSteps = 200;
constexpr double kUpwards = 5;  ///< e-folds above the given N that are looked at

}  // namespace

std::optional<ServedOptimum> inference_adjusted(const ParametricFit::Surface& s, const FlopsTrend& trend,
                                                double N, double D, double inference_tokens) {
  // ln of the loss above E, where rounding leaves some.
  const double reducible = s.A * std::pow(N, -s.alpha) + s.B * std::pow(D, -s.beta);
  if (!(reducible > 0) || !std::isfinite(reducible)) return std::nullopt;
  const double smallest = std::log(s.A / reducible) / s.alpha;  // where no number of tokens is enough
  const auto tokens = [&](double ln_N) {
    return std::pow(s.B / (reducible - s.A * std::exp(-s.alpha * ln_N)), 1 / s.beta);
  };
  const auto total = [&](double ln_N, double training_tokens) {
    const double size = std::exp(ln_N);
    return size * trend.ratio(size) * (6 * training_tokens + 2 * inference_tokens);
  };
  const double golden = (std::sqrt(5.0) - 1) / 2;
  double low = smallest, high = std::log(N) + kUpwards;
  for (int i = 0; i < kSectionSteps; ++i) {
    const double left = high - golden * (high - low), right = low + golden * (high - low);
    if (total(left, tokens(left)) <= total(right, tokens(right))) {
      high = right;
    } else {
      low = left;
    }
  }
  const double ln_N = (low + high) / 2, best = std::exp(ln_N), best_tokens = tokens(ln_N);
  return ServedOptimum{inference_tokens,
                       best,
                       best_tokens,
                       s.loss(N, D),
                       6 * trend.ratio(best) * best * best_tokens,
                       total(ln_N, best_tokens),
                       total(std::log(N), D)};
}

std::optional<TrainingCost> training_cost(const Hardware& hardware, double C) {
  if (!hardware.peak) return std::nullopt;
  constexpr double kSecondsPerHour = 3600, kWattsPerKilowatt = 1000;
  TrainingCost cost;
  cost.hours = C / (*hardware.peak * hardware.mfu) / kSecondsPerHour;
  if (hardware.watts) cost.energy = cost.hours * *hardware.watts / kWattsPerKilowatt;
  if (hardware.price_hour) cost.price = cost.hours * *hardware.price_hour;
  if (hardware.price_kwh && cost.energy)
    cost.price = cost.price.value_or(0) + *cost.energy * *hardware.price_kwh;
  return cost;
}

}  // namespace minichilla
