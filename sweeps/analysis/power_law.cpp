#include "sweeps/analysis/power_law.h"

#include <cmath>

#include "sweeps/analysis/bootstrap.h"

namespace minichilla {

std::optional<LogLine> fit_log_line(std::span<const double> x, std::span<const double> y,
                                    std::span<const double> weights) {
  double total = 0, mean_x = 0, mean_y = 0;
  const auto weight = [&](std::size_t i) { return weights.empty() ? 1.0 : weights[i]; };
  for (std::size_t i = 0; i < x.size(); ++i) {
    total += weight(i);
    mean_x += weight(i) * std::log(x[i]);
    mean_y += weight(i) * std::log(y[i]);
  }
  if (!(total > 0)) return std::nullopt;
  mean_x /= total;
  mean_y /= total;
  double covariance = 0, variance = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double dx = std::log(x[i]) - mean_x;
    covariance += weight(i) * dx * (std::log(y[i]) - mean_y);
    variance += weight(i) * dx * dx;
  }
  // Equal x leave rounding errors behind, not zero.
  if (!(variance > 1e-20 * total)) return std::nullopt;
  const double slope = covariance / variance;
  return LogLine{slope, mean_y - slope * mean_x};
}

std::optional<PowerLaws::Resample> fit_laws(std::span<const double> C, std::span<const double> N,
                                            std::span<const double> D, std::span<const double> weights) {
  const auto params = fit_log_line(C, N, weights);
  const auto tokens = fit_log_line(C, D, weights);
  if (!params || !tokens) return std::nullopt;
  return PowerLaws::Resample{params->slope, tokens->slope, std::exp(params->intercept),
                             std::exp(tokens->intercept)};
}

PowerLaws with_intervals(const PowerLaws::Resample& laws, std::vector<PowerLaws::Resample> given,
                         int resamples) {
  const auto estimate = [&](double PowerLaws::Resample::*member) {
    std::vector<double> samples;
    for (const PowerLaws::Resample& sample : given) samples.push_back(sample.*member);
    return Estimate{laws.*member, interval_of(std::move(samples), resamples)};
  };
  PowerLaws result;
  result.a = estimate(&PowerLaws::Resample::a);
  result.b = estimate(&PowerLaws::Resample::b);
  result.coefficient_params = estimate(&PowerLaws::Resample::coefficient_params);
  result.coefficient_tokens = estimate(&PowerLaws::Resample::coefficient_tokens);
  result.resamples = std::move(given);
  return result;
}

}  // namespace minichilla
