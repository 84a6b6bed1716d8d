#include "sweeps/analysis/isoflop.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "sweeps/analysis/power_law.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kIsoflopStream = 2, kScatterStream = 4;
constexpr double kWidthOf80Percent = 2.5631;  ///< of a normal distribution, in standard deviations
constexpr std::size_t kSmallestSizes = 4;  ///< a parabola has three parameters: below this it fits any points
constexpr std::size_t kWindowSizes = 5;
constexpr int kWindowPasses = 5;

/// The runs of one budget, by ascending size.
struct Profile {
  double C;
  std::vector<double> x;  ///< ln N
  std::vector<double> loss;
  std::vector<double> sizes;    ///< distinct x, ascending
  std::vector<double> ln_cost;  ///< ln(C / D), FLOPs per token, for each of `sizes`
};

struct Parabola {
  std::string refused;
  double centre = 0, quadratic = 0, linear = 0, constant = 0;  ///< in x − centre
  double low = 0, high = 0;                                    ///< window in x
  double minimum() const { return centre - linear / (2 * quadratic); }
  double at(double x) const { return constant + (x - centre) * (linear + (x - centre) * quadratic); }
};

Profile make_profile(double C, std::vector<Observation>& runs) {
  std::stable_sort(runs.begin(), runs.end(), [](const auto& a, const auto& b) { return a.N < b.N; });
  Profile profile{C, {}, {}, {}, {}};
  std::vector<int> members;
  for (const Observation& run : runs) {
    const double x = std::log(run.N);
    profile.x.push_back(x);
    profile.loss.push_back(run.loss);
    if (profile.sizes.empty() || x > profile.sizes.back()) {
      profile.sizes.push_back(x);
      profile.ln_cost.push_back(0);
      members.push_back(0);
    }
    profile.ln_cost.back() += std::log(run.C / run.D);
    ++members.back();
  }
  for (std::size_t i = 0; i < members.size(); ++i) profile.ln_cost[i] /= members[i];
  return profile;
}

/// Where FLOPs per token are interpolated: budget ÷ FLOPs per token is the tokens that N parameters leave.
double tokens_at(const Profile& profile, double x) {
  const auto& sizes = profile.sizes;
  std::size_t i = 1;
  while (i + 1 < sizes.size() && sizes[i] < x) ++i;
  const double t = (x - sizes[i - 1]) / (sizes[i] - sizes[i - 1]);
  return profile.C / std::exp(std::lerp(profile.ln_cost[i - 1], profile.ln_cost[i], t));
}

/// Least squares over the runs in [low, high].
Parabola fit_window(const Profile& profile, const std::vector<double>& loss, double low, double high) {
  Parabola result;
  result.low = low;
  result.high = high;
  result.centre = (low + high) / 2;
  Eigen::Matrix3d normal = Eigen::Matrix3d::Zero();
  Eigen::Vector3d right = Eigen::Vector3d::Zero();
  const double half = (high - low) / 2;  // scaled to [−1, 1]: the normal equations stay well conditioned
  for (std::size_t i = 0; i < loss.size(); ++i) {
    if (profile.x[i] < low || profile.x[i] > high) continue;
    const double u = (profile.x[i] - result.centre) / half;
    const Eigen::Vector3d row(1, u, u * u);
    normal += row * row.transpose();
    right += loss[i] * row;
  }
  const Eigen::Vector3d solution = normal.ldlt().solve(right);
  result.constant = solution[0];
  result.linear = solution[1] / half;
  result.quadratic = solution[2] / (half * half);
  return result;
}

/// The sizes within `factor` of `x`, and at least the nearest five, as an interval of x.
std::pair<double, double> window_around(const Profile& profile, double x, double factor) {
  std::vector<double> distances;
  for (const double size : profile.sizes) distances.push_back(std::fabs(size - x));
  std::vector<double> sorted = distances;
  std::sort(sorted.begin(), sorted.end());
  const double nearest = sorted[std::min(kWindowSizes, sorted.size()) - 1];
  const double reach = std::max(std::log(factor), nearest) + 1e-9;
  double low = x, high = x;
  bool first = true;
  for (std::size_t i = 0; i < distances.size(); ++i) {
    if (distances[i] > reach) continue;
    if (first) low = profile.sizes[i];
    high = profile.sizes[i];
    first = false;
  }
  return {low, high};
}

std::string count_reason(std::size_t sizes) {
  return std::to_string(sizes) + (sizes == 1 ? " model size" : " model sizes") +
         ", a parabola needs at least " + std::to_string(kSmallestSizes);
}

/// The parabola in the window around its own minimum.
Parabola fit_profile(const Profile& profile, const std::vector<double>& loss, double factor) {
  Parabola result;
  if (profile.sizes.size() < kSmallestSizes) {
    result.refused = count_reason(profile.sizes.size());
    return result;
  }
  const double smallest = profile.sizes.front(), largest = profile.sizes.back();
  const auto best = std::min_element(loss.begin(), loss.end()) - loss.begin();
  double x = profile.x[static_cast<std::size_t>(best)];
  for (int pass = 0; pass < kWindowPasses; ++pass) {
    const auto [low, high] = window_around(profile, x, factor);
    if (pass > 0 && low == result.low && high == result.high) break;
    result = fit_window(profile, loss, low, high);
    if (!(result.quadratic > 0)) break;
    x = std::clamp(result.minimum(), smallest, largest);
  }
  if (!(result.quadratic > 0)) {
    result.refused = "the parabola opens downwards: the losses have no minimum in N";
  } else if (result.minimum() < smallest || result.minimum() > largest) {
    const bool below = result.minimum() < smallest;
    result.refused = "the minimum, at " + format_count(std::exp(result.minimum())) + " parameters, is " +
                     (below ? "below the smallest" : "above the largest") + " model of this budget, " +
                     format_count(std::exp(below ? smallest : largest));
  }
  return result;
}

/// Relative residuals with their leverage taken out, 1/sqrt(1 − h).
void add_residuals(const Profile& profile, const Parabola& parabola, LossNoise& noise) {
  Eigen::Matrix3d normal = Eigen::Matrix3d::Zero();
  std::vector<Eigen::Vector3d> rows;
  std::vector<double> residuals;
  const double half = (parabola.high - parabola.low) / 2;
  for (std::size_t i = 0; i < profile.x.size(); ++i) {
    if (profile.x[i] < parabola.low || profile.x[i] > parabola.high) continue;
    const double u = (profile.x[i] - parabola.centre) / half;
    rows.emplace_back(1, u, u * u);
    normal += rows.back() * rows.back().transpose();
    residuals.push_back(profile.loss[i] / parabola.at(profile.x[i]) - 1);
  }
  const Eigen::Matrix3d inverse = normal.inverse();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    // A point that alone decides its fit has leverage 1 and tells nothing about noise.
    const double free = 1 - rows[i].dot(inverse * rows[i]);
    if (free > 1e-6) noise.residuals.push_back(residuals[i] / std::sqrt(free));
  }
  noise.degrees += static_cast<int>(rows.size()) - 3;
}

/// Losses drawn anew: fitted value times noise in the window; outside it the run's own loss stands for the
/// fit.
std::vector<double> redraw(const Profile& profile, const Parabola& parabola, const LossNoise& noise,
                           double scale, ResampleRandom& random) {
  std::vector<double> loss(profile.x.size());
  for (std::size_t i = 0; i < loss.size(); ++i) {
    const bool inside = profile.x[i] >= parabola.low && profile.x[i] <= parabola.high;
    const double fitted = inside ? parabola.at(profile.x[i]) : profile.loss[i];
    loss[i] = fitted * (1 + scale * noise.draw(random));
  }
  return loss;
}

/// The minima of the used budgets, from the runs or from a resample.
struct Minima {
  std::vector<double> C, N, D, loss;
  std::vector<std::size_t> profile;
};

void add_minimum(const Profile& profile, const Parabola& parabola, std::size_t index, Minima& minima) {
  minima.C.push_back(profile.C);
  minima.N.push_back(std::exp(parabola.minimum()));
  minima.D.push_back(tokens_at(profile, parabola.minimum()));
  minima.loss.push_back(parabola.at(parabola.minimum()));
  minima.profile.push_back(index);
}

std::vector<Minima> bootstrap(const std::vector<Profile>& profiles, const std::vector<Parabola>& parabolas,
                              const LossNoise& noise, const FitOptions& options) {
  std::vector<Minima> resamples(static_cast<std::size_t>(noise.known() ? options.bootstrap : 0));
  const auto work = [&](int index) {
    ResampleRandom random(options.seed, kIsoflopStream, static_cast<std::uint64_t>(index));
    Minima& minima = resamples[static_cast<std::size_t>(index)];
    const double scale = noise.draw_scale(random);
    for (std::size_t i = 0; i < profiles.size(); ++i) {
      if (!parabolas[i].refused.empty()) continue;
      const std::vector<double> loss = redraw(profiles[i], parabolas[i], noise, scale, random);
      const Parabola parabola = fit_profile(profiles[i], loss, options.isoflop_window);
      if (parabola.refused.empty()) add_minimum(profiles[i], parabola, i, minima);
    }
  };
  for_each_resample(static_cast<int>(resamples.size()), options.threads, work, options.on_progress);
  return resamples;
}

std::vector<Profile> make_profiles(const RunTable& table, IsoflopFit& fit) {
  std::map<double, std::vector<Observation>> budgets;
  std::size_t without = 0;
  for (const Observation& run : table.runs) {
    if (run.budget > 0) {
      budgets[run.budget].push_back(run);
    } else {
      ++without;
    }
  }
  std::vector<Profile> profiles;
  for (auto& [C, runs] : budgets) {
    profiles.push_back(make_profile(C, runs));
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

void fill_profile(const Profile& profile, const Parabola& parabola, IsoflopProfile& result) {
  result.used = parabola.refused.empty();
  result.reason = parabola.refused;
  if (profile.sizes.size() < kSmallestSizes) return;
  result.quadratic = parabola.quadratic;
  result.linear = parabola.linear - 2 * parabola.quadratic * parabola.centre;
  result.constant = parabola.at(0);
  // The bounds are sizes of runs; through the logarithm and back they would miss them by a rounding error.
  for (const Observation& run : result.runs) {
    const double x = std::log(run.N);
    if (x == parabola.low) result.smallest_N = run.N;
    if (x == parabola.high) result.largest_N = run.N;
  }
  if (!result.used) return;
  Minima minima;
  add_minimum(profile, parabola, 0, minima);
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
                                         const std::vector<Profile>& profiles, double excess,
                                         std::uint64_t seed) {
  std::vector<PowerLaws::Resample> given;
  for (std::size_t index = 0; index < resamples.size(); ++index) {
    ResampleRandom random(seed, kScatterStream, index);
    Minima minima = resamples[index];
    for (std::size_t i = 0; i < minima.C.size(); ++i) {
      const double x = std::log(minima.N[i]) + excess * random.normal();
      minima.N[i] = std::exp(x);
      minima.D[i] = tokens_at(profiles[minima.profile[i]], x);
    }
    const auto laws = fit_laws(minima.C, minima.N, minima.D);
    if (laws) given.push_back(*laws);
  }
  return given;
}

}  // namespace

IsoflopFit fit_isoflop(const RunTable& table, const FitOptions& options, LossNoise& noise) {
  IsoflopFit fit;
  const std::vector<Profile> profiles = make_profiles(table, fit);
  if (profiles.empty()) {
    fit.refused = "no run belongs to a budget: the runs have no common FLOPs";
    return fit;
  }
  std::vector<Parabola> parabolas;
  Minima minima;
  for (std::size_t i = 0; i < profiles.size(); ++i) {
    parabolas.push_back(fit_profile(profiles[i], profiles[i].loss, options.isoflop_window));
    fill_profile(profiles[i], parabolas[i], fit.profiles[i]);
    if (!fit.profiles[i].used) continue;
    add_residuals(profiles[i], parabolas[i], noise);
    add_minimum(profiles[i], parabolas[i], i, minima);
  }
  add_notes(table, minima.C.size(), fit);
  const std::vector<Minima> resamples = bootstrap(profiles, parabolas, noise, options);
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
