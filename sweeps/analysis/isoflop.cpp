#include "sweeps/analysis/isoflop.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "sweeps/analysis/isoflop_profile.h"
#include "sweeps/analysis/power_law.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kIsoflopStream = 2, kScatterStream = 4;
constexpr double kWidthOf80Percent = 2.5631;  ///< of a normal distribution, in standard deviations
constexpr int kCurvePoints = 61;              ///< of a profile's curve

/// The minima of the used budgets, from the runs or from a resample.
struct Minima {
  std::vector<double> C, N, D, loss;
  std::vector<std::size_t> profile;
};

void add_minimum(const ValleyData& data, const Valley& valley, std::size_t index, Minima& minima) {
  const double x = valley.minimum();
  minima.C.push_back(data.C);
  minima.N.push_back(std::exp(x));
  minima.D.push_back(data.tokens_at(x));
  minima.loss.push_back(data.loss_of(valley.at(x)));
  minima.profile.push_back(index);
}

std::vector<Minima> bootstrap(const std::vector<ValleyData>& profiles, const std::vector<Valley>& valleys,
                              const LossNoise& noise, const FitOptions& options) {
  std::vector<Minima> resamples(static_cast<std::size_t>(noise.known() ? options.bootstrap : 0));
  const auto work = [&](int index) {
    ResampleRandom random(options.seed, kIsoflopStream, static_cast<std::uint64_t>(index));
    Minima& minima = resamples[static_cast<std::size_t>(index)];
    const double scale = noise.draw_scale(random);
    for (std::size_t i = 0; i < profiles.size(); ++i) {
      if (!valleys[i].refused.empty()) continue;
      const std::vector<double> loss = redraw(profiles[i], valleys[i], noise, scale, random);
      const Valley valley = find_valley(profiles[i], loss, options);
      if (valley.refused.empty()) add_minimum(profiles[i], valley, i, minima);
    }
  };
  for_each_resample(static_cast<int>(resamples.size()), options.threads, work, options.on_progress);
  return resamples;
}

/// The noise that runs of mean weight have is the one that approach 1 takes over.
double mean_weight_of(const RunTable& table, IsoflopFit& fit) {
  double sum = 0, smallest = INFINITY, largest = 0;
  for (const Observation& run : table.runs) {
    sum += run.weight;
    smallest = std::min(smallest, run.weight);
    largest = std::max(largest, run.weight);
  }
  if (largest > smallest) {
    char text[120];
    std::snprintf(text, sizeof text, "runs count by their weights, which differ by a factor of up to %.3g",
                  largest / smallest);
    fit.notes.emplace_back(text);
  }
  return sum / static_cast<double>(table.runs.size());
}

std::vector<ValleyData> make_profiles(const RunTable& table, bool log_loss, IsoflopFit& fit) {
  std::map<double, std::vector<Observation>> budgets;
  std::size_t without = 0;
  for (const Observation& run : table.runs) {
    if (run.budget > 0) {
      budgets[run.budget].push_back(run);
    } else {
      ++without;
    }
  }
  const double mean_weight = mean_weight_of(table, fit);
  std::vector<ValleyData> profiles;
  for (auto& [C, runs] : budgets) {
    profiles.push_back(valley_data(C, runs, log_loss, mean_weight));
    IsoflopProfile profile;
    profile.C = C;
    profile.runs = std::move(runs);
    fit.profiles.push_back(std::move(profile));
  }
  if (without > 0 && !budgets.empty()) {
    fit.notes.push_back(std::to_string(without) + " of " + std::to_string(table.runs.size()) +
                        " runs belong to no budget and were left out");
  }
  return profiles;
}

void fill_profile(const ValleyData& data, const Valley& valley, IsoflopProfile& result) {
  result.used = valley.refused.empty();
  result.reason = valley.refused;
  if (data.sizes.size() < kSmallestSizes) return;
  const Parabola& parabola = valley.parabola;
  if (!valley.spline) {
    result.quadratic = parabola.quadratic;
    result.linear = parabola.linear - 2 * parabola.quadratic * parabola.centre;
    result.constant = parabola.at(0);
  }
  const double low = valley.spline ? data.sizes.front() : valley.low;
  const double high = valley.spline ? data.sizes.back() : valley.high;
  // The bounds are sizes of runs; through the logarithm and back they would miss them by a rounding error.
  for (const Observation& run : result.runs) {
    const double x = std::log(run.N);
    if (x == low) result.smallest_N = run.N;
    if (x == high) result.largest_N = run.N;
  }
  for (int i = 0; i < kCurvePoints; ++i) {
    const double x = std::lerp(low, high, i / (kCurvePoints - 1.0));
    result.curve.emplace_back(std::exp(x), data.loss_of(valley.at(x)));
  }
  if (!result.used) return;
  Minima minima;
  add_minimum(data, valley, 0, minima);
  result.params_opt.value = minima.N[0];
  result.tokens_opt.value = minima.D[0];
  result.loss_opt.value = minima.loss[0];
}

void fill_intervals(const std::vector<Minima>& resamples, IsoflopFit& fit) {
  const std::size_t count = fit.profiles.size();
  std::vector<std::vector<double>> N(count), D(count), loss(count);
  for (const Minima& minima : resamples) {
    for (std::size_t i = 0; i < minima.profile.size(); ++i) {
      const std::size_t profile = minima.profile[i];
      N[profile].push_back(minima.N[i]);
      D[profile].push_back(minima.D[i]);
      loss[profile].push_back(minima.loss[i]);
    }
  }
  const int asked = static_cast<int>(resamples.size());
  for (std::size_t i = 0; i < count; ++i) {
    if (!fit.profiles[i].used) continue;
    const std::size_t lost = resamples.size() - N[i].size();
    if (10 * lost > resamples.size()) {
      fit.notes.push_back(
          "budget " + format_count(fit.profiles[i].C) + ": " + std::to_string(100 * lost / resamples.size()) +
          " % of the resamples had no minimum there, so its interval and the laws' are too narrow");
    }
    fit.profiles[i].params_opt.interval = interval_of(std::move(N[i]), asked);
    fit.profiles[i].tokens_opt.interval = interval_of(std::move(D[i]), asked);
    fit.profiles[i].loss_opt.interval = interval_of(std::move(loss[i]), asked);
  }
}

void add_notes(const RunTable& table, std::size_t used, IsoflopFit& fit) {
  if (used == 2)
    fit.notes.emplace_back(
        "two budgets: the laws pass through both minima, so nothing tests that they are lines");
  if (!table.budgets_planned && !fit.profiles.empty()) {
    fit.notes.emplace_back("the budgets were not given: they are runs whose FLOPs lie together");
  }
  for (const IsoflopProfile& profile : fit.profiles) {
    double worst = 0;
    for (const Observation& run : profile.runs)
      worst = std::max(worst, std::fabs(std::log(run.C / profile.C)));
    if (worst > 0.1) {
      char text[160];
      std::snprintf(text, sizeof text,
                    "budget %s: a run spent %.0f %% more or less than it, which tilts the valley",
                    format_count(profile.C).c_str(), 100 * std::expm1(worst));
      fit.notes.emplace_back(text);
    }
  }
}

/// How far the minima scatter about the law in ln N: the standard deviation, and how much of it the noise
/// between runs explains.
struct Scatter {
  double found = 0, from_noise = 0;
  int degrees = 0;  ///< of freedom: budgets − 2
  double excess() const { return std::sqrt(std::max(0.0, found * found - from_noise * from_noise)); }
};

Scatter scatter_of(const Minima& minima, const PowerLaws::Resample& laws, const IsoflopFit& fit) {
  Scatter scatter;
  scatter.degrees = static_cast<int>(minima.C.size()) - 2;
  if (scatter.degrees < 1) return scatter;
  double squares = 0, noise = 0;
  for (std::size_t i = 0; i < minima.C.size(); ++i) {
    const double residual = std::log(minima.N[i] / (laws.coefficient_params * std::pow(minima.C[i], laws.a)));
    squares += residual * residual;
    if (const auto& interval = fit.profiles[minima.profile[i]].params_opt.interval) {
      const double deviation = std::log(interval->high80 / interval->low80) / kWidthOf80Percent;
      noise += deviation * deviation / static_cast<double>(minima.C.size());
    }
  }
  scatter.found = std::sqrt(squares / scatter.degrees);
  scatter.from_noise = std::sqrt(noise);
  return scatter;
}

/// The laws of all resamples, with the scatter of the minima that the noise between runs does not explain.
std::vector<PowerLaws::Resample> laws_of(const std::vector<Minima>& resamples,
                                         const std::vector<ValleyData>& profiles, double excess,
                                         std::uint64_t seed) {
  std::vector<PowerLaws::Resample> given;
  for (std::size_t index = 0; index < resamples.size(); ++index) {
    ResampleRandom random(seed, kScatterStream, index);
    Minima minima = resamples[index];
    for (std::size_t i = 0; i < minima.C.size(); ++i) {
      const double x = std::log(minima.N[i]) + excess * random.normal();
      minima.N[i] = std::exp(x);
      minima.D[i] = profiles[minima.profile[i]].tokens_at(x);
    }
    const auto laws = fit_laws(minima.C, minima.N, minima.D);
    if (laws) given.push_back(*laws);
  }
  return given;
}

}  // namespace

IsoflopFit fit_isoflop(const RunTable& table, const FitOptions& options, LossNoise& noise) {
  IsoflopFit fit;
  fit.interpolation = options.interpolation;
  fit.log_loss = options.log_loss;
  const std::vector<ValleyData> profiles = make_profiles(table, options.log_loss, fit);
  if (profiles.empty()) {
    fit.refused = "no run belongs to a budget: the runs have no common FLOPs";
    return fit;
  }
  std::vector<Valley> valleys;
  Minima minima;
  for (std::size_t i = 0; i < profiles.size(); ++i) {
    valleys.push_back(find_valley(profiles[i], profiles[i].loss, options));
    fill_profile(profiles[i], valleys[i], fit.profiles[i]);
    if (!fit.profiles[i].used) continue;
    add_residuals(profiles[i], valleys[i], noise);
    add_minimum(profiles[i], valleys[i], i, minima);
  }
  add_notes(table, minima.C.size(), fit);
  const std::vector<Minima> resamples = bootstrap(profiles, valleys, noise, options);
  fill_intervals(resamples, fit);
  const auto laws = fit_laws(minima.C, minima.N, minima.D);
  if (!laws) {
    fit.refused = minima.C.empty() ? "no budget has a usable minimum (see the profiles for the reasons)"
                                   : "one budget with a usable minimum, a law needs at least two";
    return fit;
  }
  const Scatter scatter = scatter_of(minima, *laws, fit);
  if (!resamples.empty() && scatter.found > 2 * scatter.from_noise) {
    char text[200];
    std::snprintf(
        text, sizeof text,
        "the minima scatter about the law by a factor of %.2g, more than the noise between runs explains; "
        "the laws' intervals include it",
        std::exp(scatter.found));
    fit.notes.emplace_back(text);
  }
  std::vector<PowerLaws::Resample> given = laws_of(resamples, profiles, scatter.excess(), options.seed);
  fit.laws = with_intervals(*laws, std::move(given), static_cast<int>(resamples.size()));
  return fit;
}

}  // namespace minichilla
