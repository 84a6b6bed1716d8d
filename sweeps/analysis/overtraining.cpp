#include "sweeps/analysis/overtraining.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "sweeps/analysis/law_bootstrap.h"
#include "sweeps/analysis/linear_algebra.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kOvertrainingStream = 40;
constexpr std::size_t kFewestOvertrained = 5, kFewestForInterval = 8;
constexpr double kSmallestEta = 0.01, kLargestEta = 2;
constexpr int kEtaGrid = 60, kGoldenSteps = 40;

struct OvertrainingPoint {
  double ln_C, ln_M, loss;
};

struct OvertrainingLaw {
  std::vector<double> terms;  ///< E, a, b
  double squares = std::numeric_limits<double>::infinity();
};

/// E, a, b at one eta, with the columns scaled to one at the centre; infinite squares where one is negative.
OvertrainingLaw law_at(double eta, const std::vector<OvertrainingPoint>& points,
                       const std::vector<double>& weight) {
  std::vector<double> rows, value;
  const double centre = points.front().ln_C;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const OvertrainingPoint& point = points[i];
    const double root = std::sqrt(weight[i]);
    rows.insert(rows.end(), {root, root * std::exp(eta * (point.ln_M - point.ln_C + centre)),
                             root * std::exp(eta * (-point.ln_M - point.ln_C + centre))});
    value.push_back(root * point.loss);
  }
  OvertrainingLaw law;
  law.terms = solve_least_squares(rows, 3, value).solution;
  if (!all_finite(law.terms) || *std::min_element(law.terms.begin(), law.terms.end()) < 0) return law;
  law.squares = 0;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const double fitted =
        law.terms[0] * rows[3 * i] + law.terms[1] * rows[3 * i + 1] + law.terms[2] * rows[3 * i + 2];
    law.squares += (fitted - value[i]) * (fitted - value[i]);
  }
  for (const std::size_t term : {1, 2}) law.terms[term] *= std::exp(eta * centre);
  return law;
}

/// The best eta on a grid, then by golden section between its neighbours.
double best_eta(const std::vector<OvertrainingPoint>& points, const std::vector<double>& weight) {
  const auto eta_of = [](int i) {
    return kSmallestEta * std::pow(kLargestEta / kSmallestEta, i / (kEtaGrid - 1.0));
  };
  int best = 0;
  double lowest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kEtaGrid; ++i) {
    const double squares = law_at(eta_of(i), points, weight).squares;
    if (squares < lowest) {
      lowest = squares;
      best = i;
    }
  }
  if (!std::isfinite(lowest) || best == 0 || best + 1 == kEtaGrid) return std::nan("");
  const double golden = (std::sqrt(5.0) - 1) / 2;
  double low = eta_of(best - 1), high = eta_of(best + 1);
  for (int i = 0; i < kGoldenSteps; ++i) {
    const double left = high - golden * (high - low), right = low + golden * (high - low);
    const bool lower_left = law_at(left, points, weight).squares <= law_at(right, points, weight).squares;
    (lower_left ? high : low) = lower_left ? right : left;
  }
  return (low + high) / 2;
}

}  // namespace

LawFit fit_overtraining(const RunTable& table, const FitOptions& options) {
  LawFit fit;
  fit.name = "overtraining";
  fit.equation = "L = E + (a*M^eta + b*M^-eta)*C^-eta, M = D/N";
  std::vector<OvertrainingPoint> points;
  std::set<double> sizes, ratios;
  for (const Observation& run : table.runs) {
    points.push_back({std::log(run.C), std::log(run.D / run.N), run.loss});
    sizes.insert(run.N);
    ratios.insert(std::round(10 * points.back().ln_M));
  }
  if (points.size() < kFewestOvertrained || sizes.size() < 3 || ratios.size() < 2) {
    fit.refused = std::to_string(points.size()) + " runs of " + std::to_string(sizes.size()) + " sizes at " +
                  std::to_string(ratios.size()) +
                  " values of tokens per parameter, at least 5 of 3 and 2 are needed";
    return fit;
  }
  const auto constants = [&](const std::vector<double>& weight) -> std::vector<double> {
    const double eta = best_eta(points, weight);
    if (!std::isfinite(eta)) return std::vector<double>(4, std::nan(""));
    const OvertrainingLaw law = law_at(eta, points, weight);
    return {law.terms[0], law.terms[1], law.terms[2], eta};
  };
  FitOptions part = options;
  if (points.size() < kFewestForInterval) part.bootstrap = 0;
  fill_law({"E", "a", "b", "eta"}, constants, draw_from(points.size()), points.size(), part,
           kOvertrainingStream, "no eta between 0.01 and 2 with positive E, a and b", fit);
  if (!fit.refused.empty()) return fit;
  fit.objective = law_at(fit.at("eta").value, points, std::vector<double>(points.size(), 1.0)).squares;
  if (part.bootstrap < options.bootstrap)
    fit.notes.emplace_back("no intervals: fewer than eight runs for four constants");
  return fit;
}

double overtrained_loss(const LawFit& law, double C, double M) {
  const double eta = law.at("eta").value;
  return law.at("E").value +
         (law.at("a").value * std::pow(M, eta) + law.at("b").value * std::pow(M, -eta)) * std::pow(C, -eta);
}

}  // namespace minichilla
