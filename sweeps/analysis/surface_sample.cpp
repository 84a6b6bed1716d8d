#include "sweeps/analysis/surface_sample.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <tuple>

#include "sweeps/analysis/surface_fit.h"

namespace minichilla {
namespace {

constexpr std::size_t kFewestRuns = 8;
constexpr std::size_t kFewestDistinct = 3;
constexpr std::size_t kSmallestStratum = 4;
constexpr double kSmallestSpan =
    1.2;  ///< of C: below it all runs are one budget, along which N and D are tied
constexpr double kCentralShare = 0.4;  ///< of the residuals, which tell their density at zero
constexpr double kSmallestA = 0.02, kLargestA = 0.98;
constexpr int kProfilePoints = 24;  ///< of a profile's curve, on each side
constexpr int kProfileBisections = 40, kProfileDoublings = 12;

using Group = std::vector<std::size_t>;

/// Rows of one run, or seeds of one N and D in one budget.
std::vector<Group> groups_of(std::span<const Observation> runs) {
  std::map<std::string, Group> by_name;
  for (std::size_t i = 0; i < runs.size(); ++i) by_name[runs[i].run].push_back(i);
  std::vector<Group> groups;
  std::map<std::tuple<double, double, double>, std::size_t> cells;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Group& same_name = by_name[runs[i].run];
    if (same_name.size() > 1) {
      if (same_name.front() == i) groups.push_back(same_name);
      continue;
    }
    const auto [cell, is_new] = cells.try_emplace({runs[i].N, runs[i].D, runs[i].budget}, groups.size());
    if (is_new) groups.emplace_back();
    groups[cell->second].push_back(i);
  }
  return groups;
}

double budget_of(std::span<const Observation> runs, const Group& group) {
  return runs[group.front()].budget;
}

bool spans_budgets(std::span<const Observation> runs, const Group& group) {
  return std::any_of(group.begin(), group.end(),
                     [&](std::size_t i) { return runs[i].budget != budget_of(runs, group); });
}

/// The profile of `a`, outwards from its value to half beyond the 95 % interval, or to the end of what is
/// looked at.
ProfileCurve curve_of_a(double a, const Interval80And95& interval, const ProfileScale& scale,
                        const std::function<double(double)>& rise) {
  const auto threshold = [&](double z) { return std::pow(t_quantile(z, scale.degrees), 2); };
  ProfileCurve curve{{}, threshold(kNormal80), threshold(kNormal95)};
  const auto add_side = [&](double end) {
    const double last = std::clamp(a + 1.5 * (end - a), kSmallestA, kLargestA);
    for (int i = 1; i <= kProfilePoints; ++i) {
      const double at = std::lerp(a, last, i / double{kProfilePoints}), squared = scale.per_unit * rise(at);
      if (std::isfinite(squared)) curve.points.emplace_back(at, std::max(squared, 0.0));
      if (!(squared < 1.5 * curve.at95)) return;
    }
  };
  add_side(interval.low95);
  std::reverse(curve.points.begin(), curve.points.end());
  curve.points.emplace_back(a, 0);
  add_side(interval.high95);
  return curve;
}

}  // namespace

double a_of(const Surface& s) {
  return s.beta / (s.alpha + s.beta);
}
double b_of(const Surface& s) {
  return s.alpha / (s.alpha + s.beta);
}
double G_of(const Surface& s) {
  return std::pow(s.alpha * s.A / (s.beta * s.B), 1 / (s.alpha + s.beta));
}

std::string surface_refusal(std::span<const Observation> runs) {
  if (runs.size() < kFewestRuns) {
    return std::to_string(runs.size()) + (runs.size() == 1 ? " run" : " runs") +
           ", a surface of five parameters needs at least " + std::to_string(kFewestRuns);
  }
  std::set<double> N, D;
  double smallest = runs[0].C, largest = runs[0].C;
  for (const Observation& run : runs) {
    N.insert(run.N);
    D.insert(run.D);
    smallest = std::min(smallest, run.C);
    largest = std::max(largest, run.C);
  }
  if (N.size() < kFewestDistinct) {
    return std::to_string(N.size()) + (N.size() == 1 ? " model size" : " model sizes") +
           ", at least 3 are needed";
  }
  if (D.size() < kFewestDistinct) {
    return std::to_string(D.size()) + (D.size() == 1 ? " token count" : " token counts") +
           ", at least 3 are needed";
  }
  if (largest < kSmallestSpan * smallest) {
    return "all runs spent nearly the same FLOPs: N and D are tied, at least two budgets are needed";
  }
  return "";
}

RunSampler::RunSampler(std::span<const Observation> runs) : runs_(runs.size()) {
  const std::vector<Group> groups = groups_of(runs);
  if (std::any_of(groups.begin(), groups.end(), [&](const Group& g) { return spans_budgets(runs, g); })) {
    strata_ = {groups};
    return;
  }
  std::map<double, std::vector<Group>> budgets;
  for (const Group& group : groups) budgets[budget_of(runs, group)].push_back(group);
  // One run alone would be drawn in every resample, as if it had no noise.
  std::vector<Group> together;
  for (auto& [budget, members] : budgets) {
    if (members.size() < kSmallestStratum) {
      together.insert(together.end(), members.begin(), members.end());
    } else {
      strata_.push_back(std::move(members));
    }
  }
  if (!together.empty()) strata_.push_back(std::move(together));
}

std::vector<double> RunSampler::draw(ResampleRandom& random) const {
  std::vector<double> weight(runs_);
  for (const auto& stratum : strata_) {
    for (std::size_t i = 0; i < stratum.size(); ++i) {
      for (const std::size_t run : stratum[random.below(stratum.size())]) ++weight[run];
    }
  }
  return weight;
}

std::vector<Surface> bootstrap_surfaces(
    std::span<const Observation> runs, const FitOptions& options, std::uint64_t stream,
    const std::function<Surface(const std::vector<double>&)>& surface_of) {
  const RunSampler sampler(runs);
  std::vector<Surface> surfaces(static_cast<std::size_t>(options.bootstrap));
  const auto work = [&](int index) {
    ResampleRandom random(options.seed, stream, static_cast<std::uint64_t>(index));
    surfaces[static_cast<std::size_t>(index)] = surface_of(sampler.draw(random));
  };
  for_each_resample(options.bootstrap, options.threads, work, options.on_progress);
  std::erase_if(surfaces, [](const Surface& s) {
    return !(std::isfinite(G_of(s)) && std::isfinite(s.E) && std::isfinite(s.A) && std::isfinite(s.B));
  });
  return surfaces;
}

void fill_estimates(const Surface& main, int asked, ParametricFit& fit) {
  const auto estimate = [&](auto&& value_of) {
    std::vector<double> samples;
    for (const Surface& surface : fit.resamples) samples.push_back(value_of(surface));
    return Estimate{value_of(main), interval_of(std::move(samples), asked)};
  };
  fit.E = estimate([](const Surface& s) { return s.E; });
  fit.A = estimate([](const Surface& s) { return s.A; });
  fit.B = estimate([](const Surface& s) { return s.B; });
  fit.alpha = estimate([](const Surface& s) { return s.alpha; });
  fit.beta = estimate([](const Surface& s) { return s.beta; });
  fit.a = estimate(a_of);
  fit.b = estimate(b_of);
  fit.G = estimate(G_of);
}

ProfileScale huber_scale(std::span<const double> residuals, double delta, int free_parameters) {
  ProfileScale scale;
  scale.degrees = static_cast<int>(residuals.size()) - free_parameters;
  if (scale.degrees < 1) return scale;
  std::vector<double> sizes;
  double squares = 0;
  for (const double residual : residuals) {
    sizes.push_back(std::fabs(residual));
    squares += std::pow(std::min(sizes.back(), delta), 2);
  }
  std::sort(sizes.begin(), sizes.end());
  // psi' is 1 inside ±delta. Few residuals lie there when delta is small: their share is then taken from the
  // density of a wider centre.
  const double reach = std::max(delta, percentile(sizes, kCentralShare));
  const auto inside = std::upper_bound(sizes.begin(), sizes.end(), reach) - sizes.begin();
  const double slope = static_cast<double>(inside) / static_cast<double>(sizes.size()) * delta / reach;
  scale.per_unit = 2 * slope * scale.degrees / squares;
  return scale;
}

Interval80And95 profile_interval(double value, double step, double lowest, double highest,
                                 const ProfileScale& scale, const std::function<double(double)>& rise) {
  const auto end = [&](double direction, double z) {
    const double wanted = std::pow(t_quantile(z, scale.degrees), 2);
    const auto reached = [&](double at) { return scale.per_unit * rise(at) >= wanted; };
    double inside = value, outside = value;
    for (int i = 0; i < kProfileDoublings; ++i) {
      outside = std::clamp(value + direction * step * std::exp2(i), lowest, highest);
      if (reached(outside)) break;
      if (outside == lowest || outside == highest || i + 1 == kProfileDoublings) return direction * INFINITY;
      inside = outside;
    }
    for (int i = 0; i < kProfileBisections && std::fabs(outside - inside) > 1e-5 * step; ++i) {
      const double middle = (inside + outside) / 2;
      (reached(middle) ? outside : inside) = middle;
    }
    return (inside + outside) / 2;
  };
  return {end(-1, kNormal80), end(1, kNormal80), end(-1, kNormal95), end(1, kNormal95)};
}

void add_surface_profiles(const SurfaceData& data, const SurfaceConstraint& given, const Surface& surface,
                          double lowest_E, const ProfileScale& scale,
                          const std::function<double(const SurfaceConstraint&)>& rise, ParametricFit& fit) {
  const auto profile = [&](double value, double step, double low, double high, auto&& hold) {
    return profile_interval(value, step, low, high, scale, [&](double at) {
      SurfaceConstraint held = given;
      hold(held, at);
      return rise(held);
    });
  };
  const double low = kSmallestExponent, high = kLargestExponent;
  if (!given.E) {
    const double smallest = std::exp(*std::min_element(data.z.begin(), data.z.end()));
    fit.profile["E"] = profile(surface.E, kProfileStep * smallest, lowest_E * smallest, smallest,
                               [](auto& held, double at) { held.E = at; });
  }
  fit.profile["alpha"] =
      profile(surface.alpha, kProfileStep * surface.alpha, low, high, [&](auto& held, double at) {
        held.alpha = at;
        if (given.ratio) held.beta = at;
        held.ratio.reset();
      });
  if (given.ratio) return;  // beta is alpha, and a is 1/2
  fit.profile["beta"] = profile(surface.beta, kProfileStep * surface.beta, low, high,
                                [](auto& held, double at) { held.beta = at; });
  fit.profile["a"] = profile(a_of(surface), kProfileStep, kSmallestA, kLargestA,
                             [](auto& held, double at) { held.ratio = at / (1 - at); });
  fit.profile_of_a = curve_of_a(a_of(surface), fit.profile["a"], scale, [&](double at) {
    SurfaceConstraint held = given;
    held.ratio = at / (1 - at);
    return rise(held);
  });
}

void add_surface_notes(std::span<const Observation> runs, bool E_is_zero, const FitOptions& options,
                       ParametricFit& fit) {
  double smallest = runs[0].loss;
  for (const Observation& run : runs) smallest = std::min(smallest, run.loss);
  if (!options.fixed_E) {
    if (E_is_zero) {
      fit.notes.emplace_back("E ran to zero: the runs do not determine the irreducible loss");
    } else if (fit.E.interval && fit.E.interval->low95 < 0.01 * smallest) {
      fit.notes.emplace_back(
          "the interval of E reaches down to zero: the runs bound the irreducible loss from above only");
    }
  }
  if (runs.size() < 20) {
    char text[120];
    std::snprintf(text, sizeof text, "%zu runs for five parameters: intervals from so few are rough",
                  runs.size());
    fit.notes.emplace_back(text);
  }
}

}  // namespace minichilla
