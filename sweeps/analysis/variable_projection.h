// The surface L(N, D) = E + A/N^alpha + B/D^beta by variable projection (Golub and Pereyra 1973).
//
// Once alpha and beta are chosen, E, A and B are a linear least-squares problem with non-negative unknowns.
// So only the two exponents are looked for: on a dense grid, then by Gauss-Newton steps on the projected
// residuals. The long flat valley that stops other optimizers lies in E, A and B; the condition numbers of
// the normal equations in five parameters and in two tell how much is gained.
//
// The plain form minimises squares of L̂ − L: runs that failed pull it. The robust form minimises Huber losses
// of (L − L̂)/L̂ by iteratively reweighted least squares, with a threshold of 1.345 robust standard deviations
// of the residuals, so that it loses 5 % of efficiency where the noise is normal and little where it is not.
//
// Needs, refusals, constraints (alpha = beta, fixed E) and intervals are those of approach 3 (parametric.h).
#pragma once

#include "sweeps/analysis/fit.h"

namespace minichilla {

enum class ProjectionForm { plain, robust };

ParametricFit fit_variable_projection(const RunTable& table, ProjectionForm form, const FitOptions& options);

}  // namespace minichilla
