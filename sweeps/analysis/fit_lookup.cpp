// What fit.h offers to look up in a fit and its options, for readers that fit nothing.
#include <algorithm>

#include "sweeps/analysis/fit.h"

namespace minichilla {

const std::vector<std::string>& approach_names() {
  static const std::vector<std::string> names = {
      "envelope", "isoflop",       "parametric",   "variable_projection",
      "kaplan",   "repeated_data", "overtraining", "learning_rate"};
  return names;
}

const char* name_of(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::parabola:
      return "parabola";
    case Interpolation::akima:
      return "akima";
    case Interpolation::windowed:
      break;
  }
  return "windowed";
}

bool FitOptions::wants(const std::string& approach) const {
  return approaches.empty() || std::find(approaches.begin(), approaches.end(), approach) != approaches.end();
}

const ParametricFit* best_surface(const Fit& fit) {
  for (const ParametricFit* one :
       {&fit.parametric, &fit.variable_projection_robust, &fit.variable_projection}) {
    if (one->refused.empty()) return one;
  }
  return nullptr;
}

std::string name_of_surface(const Fit& fit) {
  const ParametricFit* surface = best_surface(fit);
  return surface == &fit.variable_projection          ? "variable_projection"
         : surface == &fit.variable_projection_robust ? "variable_projection_robust"
                                                      : "parametric";
}

}  // namespace minichilla
