// IsoFLOP sweeps drawn from a known surface.
#pragma once

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "sweeps/analysis/fit.h"

namespace minichilla {

struct SweepDesign {
  ParametricFit::Surface surface{1.3, 60, 400, 0.34, 0.34};
  std::vector<double> budgets = {1e11, 3.1623e11, 1e12, 3.1623e12};
  int sizes = 6;             ///< of a ladder, about the optimum
  int seeds = 1;             ///< runs of each cell
  double noise = 0;          ///< standard deviation of ln loss between runs
  double unfinished = 0.03;  ///< relative surplus of the loss at the start of a schedule
  double ladder = 1.8;       ///< ratio between sizes
};

inline double true_a(const ParametricFit::Surface& s) {
  return s.beta / (s.alpha + s.beta);
}

inline double true_optimum(const ParametricFit::Surface& s, double C) {
  return std::pow(s.alpha * s.A / (s.beta * s.B), 1 / (s.alpha + s.beta)) * std::pow(C / 6, true_a(s));
}

/// One run with a curve whose losses are too high before its end, all shifted by the run's noise.
inline void add_run(const SweepDesign& design, double C, double N, int seed, double shift, RunTable& table) {
  constexpr int kPoints = 20;
  const double D = C / (6 * N);
  const std::string name = "run" + std::to_string(table.runs.size());
  table.runs.push_back({N, D, C, design.surface.loss(N, D) * shift, C, name, seed});
  Curve curve{name, N, {}};
  for (int i = 1; i <= kPoints; ++i) {
    const double done = i / static_cast<double>(kPoints);
    const double surplus = 1 + design.unfinished * (1 - done);
    curve.points.push_back({D * done, C * done, design.surface.loss(N, D * done) * surplus * shift});
  }
  table.curves.push_back(std::move(curve));
}

inline RunTable simulated_sweep(const SweepDesign& design, std::uint64_t seed) {
  constexpr double kFirstRung = 5000;
  RunTable table;
  table.source = "simulation";
  table.budgets_planned = true;
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  for (const double C : design.budgets) {
    const double middle = std::log(true_optimum(design.surface, C) / kFirstRung) / std::log(design.ladder);
    const double first = std::round(middle - (design.sizes - 1) / 2.0);
    for (int i = 0; i < design.sizes; ++i) {
      for (int j = 0; j < design.seeds; ++j) {
        const double shift = std::exp(design.noise * normal(random));
        add_run(design, C, kFirstRung * std::pow(design.ladder, first + i), j, shift, table);
      }
    }
  }
  return table;
}

inline FitOptions without_bootstrap() {
  FitOptions options;
  options.bootstrap = 0;
  return options;
}

}  // namespace minichilla
