// What the approaches say together: whether they agree, which to believe and why, how well the smaller
// budgets predict the largest, and what the exponent is when FLOPs and parameters are counted otherwise.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// The approach to be believed on these runs (a name of fit.json, empty when every one was refused) with its
/// reasons, one sentence each; approaches_agree of fit.h.
Verdict verdict_of(const RunTable& table, const Fit& fit);

/// The fit without the largest budget, or without the runs above a third of the largest C where there are no
/// budgets, against what those runs found. Nothing when what remains gives no fit.
std::optional<HeldOut> hold_out_largest(const RunTable& table, const Fit& fit, const FitOptions& options);

/// The exponent `a` of the surface under each way to count parameters and FLOPs that the runs tell.
std::vector<Accounting> account_flops(const RunTable& table, const Fit& fit, const FitOptions& options);

}  // namespace minichilla
