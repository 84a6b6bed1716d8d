// A sweep folder: sweep.yaml (as planned) · plan.json · runs/<run-id>/config.yaml · calibration.json.
#pragma once

#include <filesystem>
#include <string>

#include "sweeps/planner.h"

namespace minichilla {

/// What storing a plan changed.
struct StoreChanges {
  int added = 0;    ///< runs that the folder did not have
  int present = 0;  ///< runs of this plan that were there
  int others = 0;   ///< runs of earlier plans that this one does not have: they stay
};

/// What store_plan() would change, with its refusals.
StoreChanges check_plan(const std::filesystem::path& sweep, const SweepPlan& plan, bool extend);

/// Writes the plan into `sweep`, which is created when missing: run folders first, plan.json last, so that a
/// plan cut short is planned anew. Runs are named by their content, so that storing a plan again changes
/// nothing but paths, checkpoint and log intervals in the configs. A folder that already holds a plan without
/// some of these runs is refused with InputError unless `extend`; so is a folder with other files that is not
/// a sweep. IoError.
StoreChanges store_plan(const std::filesystem::path& sweep, const SweepPlan& plan, bool extend);

/// Whether `sweep` holds a stored plan.
bool is_sweep(const std::filesystem::path& sweep);

}  // namespace minichilla
