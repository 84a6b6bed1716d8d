// The plan of a sweep: every run with its counts, costs and estimated time, before anything runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sweeps/analysis/sweep_folder.h"
#include "sweeps/device_choice.h"
#include "sweeps/grid.h"
#include "sweeps/schedule.h"

namespace minichilla {

class Corpus;

struct PlanRow {
  RunConfig config;  ///< complete: resolved against the corpus
  PlannedRun planned;
  FlopsPerToken flops_per_token;
  std::int64_t steps = 0, batch_sequences = 0;
  double epochs = 0;             ///< passes over the corpus' training split
  std::size_t memory_bytes = 0;  ///< of one worker, all that it allocates on its device
  double tokens_per_s = 0;       ///< 0: not measured
  double tokens_per_param() const {
    return static_cast<double>(planned.tokens) / static_cast<double>(planned.params);
  }
};

struct SweepPlan {
  SweepConfig config;  ///< with the corpus' absolute path, so that a sweep goes on from any folder
  std::vector<PlanRow> rows;
  std::vector<std::string> notes;  ///< what was left out or merged
  std::int64_t corpus_tokens = 0;  ///< of the training split
  int vocabulary = 0;
};

/// What decides a run's memory and, on one machine, its speed: shape, attention, batch.
std::string cost_key(const RunConfig& config);

/// Expands the sweep and resolves every run against the corpus; runs that are the same (equal ids) are merged
/// with a note. Memory is that of the devices that `make_device` gives. InputError for whatever is wrong with
/// the config. Touches no files and measures nothing.
SweepPlan make_plan(const SweepConfig& config, const Corpus& corpus,
                    const DeviceMaker& make_device = make_planning_cpu);

/// What a user should know before starting, one line each: data that repeats, runs too short for their
/// schedule, D < 5e3·N^0.74 (Kaplan et al. 2020, eq. 4.4), bands as wide as the context, budgets with too few
/// sizes, more memory than there is. `workers` run at once; `memory_available` is what they share on their
/// device, in bytes (0: unknown).
std::vector<std::string> plan_warnings(const SweepPlan& plan, int workers, std::uint64_t memory_available);

struct PlanTotals {
  int runs = 0;
  double tokens = 0;
  double flops = 0;        ///< column `flops`
  std::size_t memory = 0;  ///< the `workers` largest runs together
  Schedule schedule;  ///< of the workers, longest run first; all 0 when times were neither measured nor given
};
PlanTotals plan_totals(const SweepPlan& plan, int workers);

}  // namespace minichilla
