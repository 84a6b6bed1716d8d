// A plan as people and programs read it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sweeps/planner.h"

namespace minichilla {

/// What is shown around the rows of a plan.
struct PlanView {
  int workers = 1;
  std::vector<std::string> warnings;
  std::string unit = "core";    ///< what a worker has one of
  bool table = true;            ///< false: only what is around it
  std::size_t most_rows = 200;  ///< longer tables are cut, with a line that says so
};

/// Heading, one line per run (under its budget where there are any), notes, warnings, totals.
std::string plan_text(const SweepPlan& plan, const PlanView& view);

/// {runs: [...], totals: {...}, warnings: [...], notes: [...]}; all rows.
nlohmann::ordered_json plan_json(const SweepPlan& plan, const PlanView& view);

}  // namespace minichilla
