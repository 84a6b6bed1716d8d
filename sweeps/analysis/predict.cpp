#include "sweeps/analysis/predict.h"

#include <algorithm>
#include <cmath>

#include "sweeps/analysis/bootstrap.h"
#include "sweeps/analysis/power_law.h"

namespace minichilla {
namespace {

constexpr double kWidestLog = 600;         ///< budgets and sizes are looked for within e^±600
constexpr double kReach = kWidestLog - 1;  ///< what is found beyond it is an end of the search, no root
constexpr int kBisections = 200;

/// Root of an ascending function in [low, high] of a logarithm; an end where there is no change of sign.
template <class Function>
double bisect(double low, double high, Function&& function) {
  for (int i = 0; i < kBisections; ++i) {
    const double middle = (low + high) / 2;
    if (middle == low || middle == high) break;
    (function(middle) < 0 ? low : high) = middle;
  }
  return (low + high) / 2;
}

struct Point {
  double C, N, D, loss;
};

Point law_point(const PowerLaws::Resample& laws, double C) {
  return {C, laws.coefficient_params * std::pow(C, laws.a), laws.coefficient_tokens * std::pow(C, laws.b), 0};
}

Point surface_point(const ParametricFit::Surface& surface, const FlopsTrend& trend, double C) {
  const SurfaceOptimum optimum = surface_optimum(surface, trend, C);
  const bool found = std::fabs(std::log(optimum.N)) < kReach;
  return {C, found ? optimum.N : std::nan(""), optimum.D, optimum.loss};
}

/// What is given: a budget, or the N or D whose budget is looked for.
struct Question {
  enum class Given { C, N, D } given;
  double value;
};

/// The budget that a law answers with; not finite when it does not reach the value.
double law_budget(const PowerLaws::Resample& laws, const Question& question) {
  if (question.given == Question::Given::C) return question.value;
  const bool params = question.given == Question::Given::N;
  const double exponent = params ? laws.a : laws.b;
  const double coefficient = params ? laws.coefficient_params : laws.coefficient_tokens;
  if (!(exponent > 0)) return std::nan("");
  return std::exp((std::log(question.value) - std::log(coefficient)) / exponent);
}

double surface_budget(const ParametricFit::Surface& surface, const FlopsTrend& trend,
                      const Question& question) {
  if (question.given == Question::Given::C) return question.value;
  const double ln_C = bisect(-kWidestLog, kWidestLog, [&](double x) {
    const SurfaceOptimum optimum = surface_optimum(surface, trend, std::exp(x));
    return std::log(question.given == Question::Given::N ? optimum.N : optimum.D) - std::log(question.value);
  });
  return std::fabs(ln_C) < kReach ? std::exp(ln_C) : std::nan("");
}

/// ln(L − E): what N and D can still change. Far out L equals E in a double, while this still differs.
double log_reducible_loss(const ParametricFit::Surface& s, double N, double D) {
  const double of_params = std::log(s.A) - s.alpha * std::log(N);
  const double of_tokens = std::log(s.B) - s.beta * std::log(D);
  return std::max(of_params, of_tokens) + std::log1p(std::exp(-std::fabs(of_params - of_tokens)));
}

/// The fewest FLOPs with the loss of N and D, which cost C.
double least_budget(const ParametricFit::Surface& surface, const FlopsTrend& trend, double N, double D,
                    double C) {
  const double wanted = log_reducible_loss(surface, N, D);
  const double ln_C = bisect(-kWidestLog, std::log(C), [&](double x) {
    const SurfaceOptimum optimum = surface_optimum(surface, trend, std::exp(x));
    return wanted - log_reducible_loss(surface, optimum.N, optimum.D);
  });
  return ln_C > -kReach ? std::min(std::exp(ln_C), C) : std::nan("");
}

/// Value and intervals from the points of the main fit and of the resamples.
Optimum optimum_of(const std::string& approach, const Question& question, const Point& main,
                   const std::vector<Point>& resamples, bool with_loss) {
  const auto estimate = [&](double Point::*member) {
    std::vector<double> samples;
    for (const Point& point : resamples) samples.push_back(point.*member);
    return Estimate{main.*member, interval_of(std::move(samples), static_cast<int>(resamples.size()))};
  };
  Optimum optimum{approach, main.C, estimate(&Point::N), estimate(&Point::D), {}, {}};
  if (question.given == Question::Given::N) optimum.N = {question.value, {}};
  if (question.given == Question::Given::D) optimum.D = {question.value, {}};
  if (question.given != Question::Given::C) optimum.C_interval = estimate(&Point::C).interval;
  if (with_loss) optimum.loss = estimate(&Point::loss);
  return optimum;
}

bool is_usable(const Point& point) {
  return std::isfinite(point.C) && std::isfinite(point.N) && std::isfinite(point.D) && point.C > 0 &&
         point.N > 0 && point.D > 0;
}

void add_law(const std::string& approach, const PowerLaws& laws, const Question& question,
             std::vector<Optimum>& optima) {
  const PowerLaws::Resample main{laws.a.value, laws.b.value, laws.coefficient_params.value,
                                 laws.coefficient_tokens.value};
  const Point value = law_point(main, law_budget(main, question));
  if (!is_usable(value)) return;
  std::vector<Point> resamples;
  for (const PowerLaws::Resample& resample : laws.resamples) {
    resamples.push_back(law_point(resample, law_budget(resample, question)));
  }
  // An interval that the bootstrap of the laws was refused is not made up here.
  if (!laws.a.interval) resamples.clear();
  optima.push_back(optimum_of(approach, question, value, resamples, false));
}

std::vector<Optimum> answer(const Fit& fit, const Question& question) {
  std::vector<Optimum> optima;
  if (fit.envelope.refused.empty()) add_law("envelope", fit.envelope.laws, question, optima);
  if (fit.isoflop.refused.empty()) add_law("isoflop", fit.isoflop.laws, question, optima);
  if (const ParametricFit* best = best_surface(fit)) {
    const auto point = [&](const ParametricFit::Surface& surface) {
      return surface_point(surface, fit.flops_trend, surface_budget(surface, fit.flops_trend, question));
    };
    const Point value = point(best->surface());
    std::vector<Point> resamples;
    for (const ParametricFit::Surface& surface : best->resamples) resamples.push_back(point(surface));
    if (!best->a.interval) resamples.clear();
    if (is_usable(value))
      optima.push_back(optimum_of(name_of_surface(fit), question, value, resamples, true));
  }
  return optima;
}

}  // namespace

double FlopsTrend::ratio(double N) const {
  return std::clamp(std::exp(intercept + slope * std::log(N)), smallest, largest);
}

FlopsTrend flops_trend_of(std::span<const Observation> runs) {
  FlopsTrend trend;
  std::vector<double> N, ratio;
  for (const Observation& run : runs) {
    N.push_back(run.N);
    ratio.push_back(run.C / (6 * run.N * run.D));
  }
  if (runs.empty()) return trend;
  const auto [smallest, largest] = std::minmax_element(ratio.begin(), ratio.end());
  trend.smallest = *smallest;
  trend.largest = *largest;
  if (const auto line = fit_log_line(N, ratio)) {
    trend.slope = line->slope;
    trend.intercept = line->intercept;
  } else {
    for (const double value : ratio) trend.intercept += std::log(value) / static_cast<double>(ratio.size());
  }
  return trend;
}

SurfaceOptimum surface_optimum(const ParametricFit::Surface& s, const FlopsTrend& trend, double C) {
  const double ln_C = std::log(C);
  const auto ln_D = [&](double ln_N) { return ln_C - std::log(6 * trend.ratio(std::exp(ln_N))) - ln_N; };
  // Derivative of the loss by ln N: −alpha·A/N^alpha + (1 + slope)·beta·B/D^beta, as the difference of the
  // logs.
  const double ln_N = bisect(-kWidestLog, kWidestLog, [&](double x) {
    const double free = trend.intercept + trend.slope * x;
    const bool held = free <= std::log(trend.smallest) || free >= std::log(trend.largest);
    const double slope = held ? 0 : std::max(trend.slope, -0.9);
    return std::log(s.beta * s.B * (1 + slope)) - s.beta * ln_D(x) - (std::log(s.alpha * s.A) - s.alpha * x);
  });
  const double N = std::exp(ln_N), D = std::exp(ln_D(ln_N));
  return {N, D, s.loss(N, D)};
}

std::optional<Allocation> allocation(const Fit& fit, double N, double D) {
  const ParametricFit* best = best_surface(fit);
  if (!best) return std::nullopt;
  const double C = 6 * fit.flops_trend.ratio(N) * N * D;
  const auto estimate = [&](auto&& value_of) {
    std::vector<double> samples;
    if (best->a.interval) {
      for (const ParametricFit::Surface& resample : best->resamples) samples.push_back(value_of(resample));
    }
    const int resamples = static_cast<int>(samples.size());
    return Estimate{value_of(best->surface()), interval_of(std::move(samples), resamples)};
  };
  Allocation result{C, N, D, {}, {}, {}};
  result.loss = estimate([&](const ParametricFit::Surface& surface) { return surface.loss(N, D); });
  result.least_C = estimate(
      [&](const ParametricFit::Surface& surface) { return least_budget(surface, fit.flops_trend, N, D, C); });
  result.cost = {C / result.least_C.value, std::nullopt};
  if (const auto& least = result.least_C.interval) {
    result.cost.interval =
        Interval80And95{C / least->high80, C / least->low80, C / least->high95, C / least->low95};
  }
  return result;
}

std::optional<Allocation> allocation_of_budget(const Fit& fit, double N, double C) {
  return allocation(fit, N, C / (6 * fit.flops_trend.ratio(N) * N));
}

double ParametricFit::Surface::loss(double N, double D) const {
  return E + A * std::pow(N, -alpha) + B * std::pow(D, -beta);
}

std::optional<bool> approaches_agree(const Fit& fit) {
  std::vector<Interval80And95> intervals;
  const auto add = [&](const std::string& refused, const Estimate& a) {
    if (refused.empty() && a.interval) intervals.push_back(*a.interval);
  };
  add(fit.isoflop.refused, fit.isoflop.laws.a);
  for (const ParametricFit* surface :
       {&fit.parametric, &fit.variable_projection, &fit.variable_projection_robust}) {
    add(surface->refused, surface->a);
  }
  add(fit.envelope.refused, fit.envelope.laws.a);
  if (intervals.size() < 2) return std::nullopt;
  for (const Interval80And95& one : intervals) {
    for (const Interval80And95& other : intervals) {
      if (one.low95 > other.high95) return false;
    }
  }
  return true;
}

std::vector<Optimum> predict(const Fit& fit, double C) {
  return answer(fit, {Question::Given::C, C});
}
std::vector<Optimum> predict_for_params(const Fit& fit, double N) {
  return answer(fit, {Question::Given::N, N});
}
std::vector<Optimum> predict_for_tokens(const Fit& fit, double D) {
  return answer(fit, {Question::Given::D, D});
}

}  // namespace minichilla
