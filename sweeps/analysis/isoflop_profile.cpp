#include "sweeps/analysis/isoflop_profile.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "sweeps/analysis/linear_algebra.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

constexpr std::size_t kWindowSizes = 5;
constexpr int kWindowPasses = 5;

/// Least squares over the runs in [low, high].
Parabola fit_parabola(const ValleyData& data, const std::vector<double>& loss, double low, double high) {
  Parabola result;
  result.centre = (low + high) / 2;
  SymmetricSystem normal(3);
  const double half = (high - low) / 2;  // scaled to [−1, 1]: the normal equations stay well conditioned
  for (std::size_t i = 0; i < loss.size(); ++i) {
    if (data.x[i] < low || data.x[i] > high) continue;
    const double u = (data.x[i] - result.centre) / half;
    normal.add(std::array{1.0, u, u * u}, loss[i], data.weight[i]);
  }
  const SymmetricSystem::Vector solution = normal.solve();
  result.constant = solution[0];
  result.linear = solution[1] / half;
  result.quadratic = solution[2] / (half * half);
  return result;
}

/// The sizes within `factor` of `x`, and at least the nearest five, as an interval of x.
std::pair<double, double> window_around(const ValleyData& data, double x, double factor) {
  std::vector<double> distances;
  for (const double size : data.sizes) distances.push_back(std::fabs(size - x));
  std::vector<double> sorted = distances;
  std::sort(sorted.begin(), sorted.end());
  const double nearest = sorted[std::min(kWindowSizes, sorted.size()) - 1];
  const double reach = std::max(std::log(factor), nearest) + 1e-9;
  double low = x, high = x;
  bool first = true;
  for (std::size_t i = 0; i < distances.size(); ++i) {
    if (distances[i] > reach) continue;
    if (first) low = data.sizes[i];
    high = data.sizes[i];
    first = false;
  }
  return {low, high};
}

std::string count_reason(std::size_t sizes) {
  return std::to_string(sizes) + (sizes == 1 ? " model size" : " model sizes") +
         ", a parabola needs at least " + std::to_string(kSmallestSizes);
}

/// The parabola in the window around its own minimum.
Valley windowed_parabola(const ValleyData& data, const std::vector<double>& loss, double factor) {
  Valley result;
  const double smallest = data.sizes.front(), largest = data.sizes.back();
  const auto best = std::min_element(loss.begin(), loss.end()) - loss.begin();
  double x = data.x[static_cast<std::size_t>(best)];
  for (int pass = 0; pass < kWindowPasses; ++pass) {
    const auto [low, high] = window_around(data, x, factor);
    if (pass > 0 && low == result.low && high == result.high) break;
    result.low = low;
    result.high = high;
    result.parabola = fit_parabola(data, loss, low, high);
    if (!(result.parabola.quadratic > 0)) break;
    x = std::clamp(result.parabola.minimum(), smallest, largest);
  }
  if (!(result.parabola.quadratic > 0)) {
    result.refused = "the parabola opens downwards: the losses have no minimum in N";
  } else if (const double minimum = result.parabola.minimum(); minimum < smallest || minimum > largest) {
    const bool below = minimum < smallest;
    result.refused = "the minimum, at " + format_count(std::exp(minimum)) + " parameters, is " +
                     (below ? "below the smallest" : "above the largest") + " model of this budget, " +
                     format_count(std::exp(below ? smallest : largest));
  }
  return result;
}

/// Runs of one size count as their weighted mean.
AkimaSpline spline_through(const ValleyData& data, const std::vector<double>& loss) {
  std::vector<double> sum(data.sizes.size()), count(data.sizes.size());
  for (std::size_t i = 0; i < loss.size(); ++i) {
    const auto at = std::lower_bound(data.sizes.begin(), data.sizes.end(), data.x[i]) - data.sizes.begin();
    sum[static_cast<std::size_t>(at)] += data.weight[i] * loss[i];
    count[static_cast<std::size_t>(at)] += data.weight[i];
  }
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] /= count[i];
  return {data.sizes, sum};
}

void use_spline(const ValleyData& data, const std::vector<double>& loss, Valley& valley) {
  valley.refused.clear();
  valley.spline = spline_through(data, loss);
  const double x = valley.minimum();
  if (x > data.sizes.front() && x < data.sizes.back()) return;
  valley.refused = "the lowest loss is that of the " +
                   std::string(x == data.sizes.front() ? "smallest" : "largest") + " model of this budget, " +
                   format_count(std::exp(x)) + " parameters";
}

}  // namespace

double ValleyData::tokens_at(double at) const {
  std::size_t i = 1;
  while (i + 1 < sizes.size() && sizes[i] < at) ++i;
  const double t = (at - sizes[i - 1]) / (sizes[i] - sizes[i - 1]);
  return C / std::exp(std::lerp(ln_cost[i - 1], ln_cost[i], t));
}

double ValleyData::loss_of(double value) const {
  return log_loss ? std::exp(value) : value;
}

ValleyData valley_data(double C, std::vector<Observation>& runs, bool log_loss, double mean_weight) {
  std::stable_sort(runs.begin(), runs.end(), [](const auto& a, const auto& b) { return a.N < b.N; });
  ValleyData data{C, log_loss, {}, {}, {}, {}, {}};
  std::vector<int> members;
  for (const Observation& run : runs) {
    const double x = std::log(run.N);
    data.x.push_back(x);
    data.loss.push_back(log_loss ? std::log(run.loss) : run.loss);
    data.weight.push_back(run.weight / mean_weight);
    if (data.sizes.empty() || x > data.sizes.back()) {
      data.sizes.push_back(x);
      data.ln_cost.push_back(0);
      members.push_back(0);
    }
    data.ln_cost.back() += std::log(run.C / run.D);
    ++members.back();
  }
  for (std::size_t i = 0; i < members.size(); ++i) data.ln_cost[i] /= members[i];
  return data;
}

Valley find_valley(const ValleyData& data, const std::vector<double>& loss, const FitOptions& options) {
  if (data.sizes.size() < kSmallestSizes) {
    Valley none;
    none.refused = count_reason(data.sizes.size());
    return none;
  }
  const bool whole = options.interpolation == Interpolation::parabola;
  Valley valley =
      windowed_parabola(data, loss, whole ? std::numeric_limits<double>::infinity() : options.isoflop_window);
  if (options.interpolation == Interpolation::akima) use_spline(data, loss, valley);
  return valley;
}

void add_residuals(const ValleyData& data, const Valley& valley, LossNoise& noise) {
  SymmetricSystem normal(3);
  std::vector<std::array<double, 3>> rows;  // scaled by the root of their weights, as the residuals
  std::vector<double> residuals;
  const Parabola& parabola = valley.parabola;
  const double half = (valley.high - valley.low) / 2;
  for (std::size_t i = 0; i < data.x.size(); ++i) {
    if (data.x[i] < valley.low || data.x[i] > valley.high) continue;
    const double u = (data.x[i] - parabola.centre) / half;
    const double scale = std::sqrt(data.weight[i]);
    rows.push_back({scale, scale * u, scale * u * u});
    normal.add(rows.back(), 0);
    const double fitted = parabola.at(data.x[i]);
    residuals.push_back(scale * (data.log_loss ? data.loss[i] - fitted : data.loss[i] / fitted - 1));
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = 0; j < 3; ++j) normal.right(j) = rows[i][j];
    const SymmetricSystem::Vector solved = normal.solve();
    // A point that alone decides its fit has leverage 1 and tells nothing about noise.
    const double free = 1 - std::inner_product(rows[i].begin(), rows[i].end(), solved.begin(), 0.0);
    if (free > 1e-6) noise.residuals.push_back(residuals[i] / std::sqrt(free));
  }
  noise.degrees += static_cast<int>(rows.size()) - 3;
}

std::vector<double> redraw(const ValleyData& data, const Valley& valley, const LossNoise& noise, double scale,
                           ResampleRandom& random) {
  std::vector<double> loss(data.x.size());
  for (std::size_t i = 0; i < loss.size(); ++i) {
    const bool inside = !valley.spline && data.x[i] >= valley.low && data.x[i] <= valley.high;
    const double fitted = inside ? valley.parabola.at(data.x[i]) : data.loss[i];
    const double change = scale * noise.draw(random) / std::sqrt(data.weight[i]);
    loss[i] = data.log_loss ? fitted + change : fitted * (1 + change);
  }
  return loss;
}

}  // namespace minichilla
