// A sweep made by formula, with the fit that belongs to it: what reports are tested on without training
// anything.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// L = 1.3 + 20/N^0.4 + 200/D^0.4: a = b = 1/2.
inline double surface_loss(double N, double D) {
  return 1.3 + 20 * std::pow(N, -0.4) + 200 * std::pow(D, -0.4);
}

/// Six sizes per budget, a factor of two apart around the optimum, a little noise; curves of 20 evaluations
/// that end in the run's loss. C = 6·N·D.
inline RunTable synthetic_table(const std::vector<double>& budgets) {
  RunTable table;
  table.source = "sweeps/synthetic";
  table.budgets_planned = true;
  for (const double C : budgets) {
    const double optimum = std::pow(0.1, 1.25) * std::sqrt(C / 6);
    for (int i = 0; i < 6; ++i) {
      Observation run;
      run.N = std::round(optimum * std::pow(2.0, i - 2.5));
      run.D = C / (6 * run.N);
      run.C = run.budget = C;
      const double noise = 0.003 * std::sin(12.9898 * static_cast<double>(table.runs.size() + 1));
      run.loss = surface_loss(run.N, run.D) + noise;
      run.seed = 1;
      run.run = "run-" + std::to_string(table.runs.size());
      Curve curve{run.run, run.N, {}};
      for (int point = 1; point <= 20; ++point) {
        const double D = run.D * point / 20;
        curve.points.push_back({D, 6 * run.N * D, surface_loss(run.N, D) + noise});
      }
      table.runs.push_back(run);
      table.curves.push_back(curve);
    }
  }
  return table;
}

inline std::vector<double> synthetic_budgets() {
  return {1e11, 3e11, 1e12, 3e12};
}

inline FitOptions quick_options() {
  FitOptions options;
  options.bootstrap = 10;
  options.threads = 1;
  return options;
}

}  // namespace minichilla
