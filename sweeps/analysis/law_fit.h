// A law of few constants that was fitted to a table: what the laws beside L(N, D) of Hoffmann et al. have in
// common.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "sweeps/analysis/estimate.h"

namespace minichilla {

struct LawFit {
  std::string name;      ///< its key in fit.json
  std::string equation;  ///< "L = (N_c/N)^alpha_N"
  std::string refused;   ///< why there is no estimate; empty when there is one
  std::vector<std::pair<std::string, Estimate>> constants;
  /// Profile likelihood intervals of some of them; an end that the runs do not bound is infinite.
  std::map<std::string, Interval80And95> profile;
  double objective = 0;  ///< that was minimised
  int runs_used = 0;
  std::vector<std::string> notes;

  /// The constant of that name; std::out_of_range when there is none.
  const Estimate& at(const std::string& constant) const;
};

}  // namespace minichilla
