// How long a plan will take: a short measurement of every distinct shape and batch, kept in the sweep folder.
#pragma once

#include <filesystem>
#include <functional>

#include "sweeps/planner.h"

namespace minichilla {

struct SpeedOptions {
  int workers = 1;  ///< measure as many at once, since neighbours share caches and memory bandwidth
  DeviceMaker make_device = make_planning_cpu;  ///< what to measure
  std::uint64_t memory_available = 0;           ///< larger runs are not measured; 0: unknown
  double seconds =
      8;  ///< of wall clock for all measurements together (a large model's single step may take longer)
  /// Called with measurements done and to do; may be empty. Never called from two threads at once; what it
  /// throws ends the measurement.
  std::function<void(int, int)> on_progress;
};

/// Fills tokens_per_s and estimated_s of every row: from `cache` (a file; absent or of another machine:
/// ignored) or by measuring. With more than 40 distinct shapes and batches, 40 of them are measured and the
/// others take the FLOP/s of the nearest one, as do those that are too large; where all are, the rows stay as
/// they are. The estimate holds the training steps and the forward passes of
/// the evaluations.
void estimate_times(SweepPlan& plan, const std::filesystem::path& cache, const SpeedOptions& options);

/// The same for workers of which each does so many FLOPs of the column `flops` per second.
void assume_speed(SweepPlan& plan, double flops_per_s);

/// Tokens that a run's evaluations read: at its `evaluate.every`, and after the last step. `train_seconds` is
/// the time of its steps, which decides evaluations by the clock.
double evaluated_tokens(const TrainConfig& train, double train_seconds);

}  // namespace minichilla
