// One run extrapolated: from the early part of its curve, its loss at the end of its schedule and of longer
// ones.
//
// While the learning rate has yet to decay, the loss lies above that of a run that ends there, by an amount
// that the run's own curve does not tell. So it is learned from finished runs of the same sweep: how far
// their losses still fell, in logarithms, from the same share of their schedules on. Two relations are tried:
//   decline   fall = c0 + c1·(fall from half of those tokens to here): what falls fast goes on falling
//   size      fall = c0 + c1·ln N + c2·ln D
// and the one is used that predicts held-out finished runs better. A longer schedule multiplies the loss by
// S(N, D')/S(N, D), S being the surface of approach 3 through the finished runs.
//
// The error is what the same method makes on finished runs that were held out the way the question asks:
// together with the other seeds of their N and D; with their whole size where no finished run has this run's
// size; and predicted from runs of less compute alone where this run is larger than all finished ones.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "sweeps/analysis/estimate.h"
#include "sweeps/analysis/run_table.h"

namespace minichilla {

/// The loss where a schedule ends.
struct ScheduleEnd {
  double D = 0;
  std::string refused;  ///< why there is no loss; empty when there is one
  Estimate loss;        ///< with Student's t times `error` for an interval, where finished runs told it
  double error = 0;     ///< on held-out runs, relative: root of the mean square
  double worst = 0;     ///< the largest
  int checked = 0;      ///< how many could be held out; with fewer than four there is no interval
};

struct Extrapolation {
  double from_D = 0, from_loss = 0;  ///< the last point of the run
  double share = 0;                  ///< of its schedule
  int finished = 0;                  ///< runs that the relation was learned from
  std::string relation;              ///< "decline" or "size"
  std::vector<ScheduleEnd> ends;     ///< of the run's own schedule, then of the longer ones
  std::vector<std::string> notes;
};

/// `beginning` is the early part of a run's curve on a schedule of `end` tokens; `longer` are the tokens of
/// longer schedules. A finished run of the same name teaches nothing. InputError when the beginning is no
/// beginning, does not reach back to half of its tokens, or fewer than five finished runs have such a curve.
Extrapolation extrapolate(const RunTable& finished, const Curve& beginning, double end,
                          std::span<const double> longer);

}  // namespace minichilla
