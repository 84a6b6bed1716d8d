// The three estimates of Hoffmann et al. 2022 with bootstrap intervals, and their file, fit.json.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sweeps/analysis/run_table.h"

namespace minichilla {

struct Interval80And95 {
  double low80, high80;  ///< 10th to 90th percentile of the bootstrap, as Hoffmann et al.
  double low95, high95;
};

/// A value with its bootstrap interval; none where fewer than half of the resamples gave one.
struct Estimate {
  double value = 0;
  std::optional<Interval80And95> interval;
};

/// N_opt = coefficient_params · C^a and D_opt = coefficient_tokens · C^b.
struct PowerLaws {
  Estimate a, b;
  Estimate coefficient_params, coefficient_tokens;
  /// Bootstrap resamples of the four, for intervals of whatever is predicted from the laws.
  struct Resample {
    double a, b, coefficient_params, coefficient_tokens;
  };
  std::vector<Resample> resamples;
};

/// Approach 1: which model is best at each FLOP count, over all training curves.
struct FrontierPoint {
  double C, N, D, loss;
  std::string run;
};
struct EnvelopeFit {
  std::string refused;  ///< why there is no estimate; empty when there is one
  PowerLaws laws;
  /// The points that the laws were fitted to: the middle of each stretch of C that one model wins (see
  /// envelope.h).
  std::vector<FrontierPoint> frontier;
  std::vector<std::string> notes;
};

/// Approach 2: the minimum of a parabola in log N for each budget.
struct IsoflopProfile {
  double C = 0;  ///< the budget
  std::vector<Observation> runs;
  bool used = false;
  std::string reason;                              ///< why not, when not used
  double quadratic = 0, linear = 0, constant = 0;  ///< loss = quadratic·x² + linear·x + constant, x = ln N
  Estimate params_opt, tokens_opt, loss_opt;
  double smallest_N = 0,
         largest_N = 0;  ///< the sizes that the parabola was fitted to: a window around its minimum
};
struct IsoflopFit {
  std::string refused;
  PowerLaws laws;
  std::vector<IsoflopProfile> profiles;
  std::vector<std::string> notes;
};

/// Approach 3: Huber loss on log L, minimised over L(N, D) = E + A/N^alpha + B/D^beta.
struct ParametricFit {
  std::string refused;
  Estimate E, A, B, alpha, beta;
  Estimate a, b;         ///< beta/(alpha+beta), alpha/(alpha+beta)
  Estimate G;            ///< (alpha·A / (beta·B))^(1/(alpha+beta))
  double objective = 0;  ///< Σ Huber(log L̂ − log L), delta = huber_delta
  int runs_used = 0;
  std::vector<std::string> notes;
  /// Bootstrap resamples (E, A, B, alpha, beta), for intervals of whatever is predicted from the fit.
  struct Surface {
    double E, A, B, alpha, beta;
    double loss(double N, double D) const;
  };
  Surface surface() const { return {E.value, A.value, B.value, alpha.value, beta.value}; }
  std::vector<Surface> resamples;
};

struct FitOptions {
  int bootstrap = 200;  ///< resamples; what is resampled differs by approach, see docs/fitting.md
  std::uint64_t seed = 1;
  double huber_delta = 1e-3;
  /// Called with the finished fraction, from one thread at a time; may be empty. What it throws ends the fit.
  std::function<void(double)> on_progress;
  int threads = 0;  ///< 0: one per core. The results do not depend on it.
  /// Approach 2 fits its parabola to sizes within this factor of the minimum (and at least to the nearest
  /// five); infinity: to all.
  double isoflop_window = 4;
};

/// How the FLOPs of the fitted runs depend on model size: C = 6·N·D · exp(intercept + slope·ln N), the
/// exponential held within [smallest, largest], which the runs had.
struct FlopsTrend {
  double intercept = 0, slope = 0, smallest = 1, largest = 1;
  double ratio(double N) const;  ///< C / (6·N·D)
};

/// The compute-optimal point for a budget.
struct Optimum {
  std::string approach;  ///< "envelope", "isoflop", "parametric", or the name of a law (published_laws.h)
  double C;
  Estimate N, D;
  std::optional<Estimate> loss;
  std::optional<Interval80And95>
      C_interval;  ///< where C was asked for, by predict_for_params or predict_for_tokens
};

struct Fit {
  std::string source;
  int runs = 0;
  double smallest_C = 0, largest_C = 0;
  /// C of a run ÷ (6·N·D), geometric mean over the runs: small models spend attention FLOPs beside 6·N·D.
  double flops_per_6nd = 1;
  FlopsTrend flops_trend;  ///< the same by model size
  EnvelopeFit envelope;
  IsoflopFit isoflop;
  ParametricFit parametric;
  std::vector<Optimum>
      predictions;  ///< for ten times the largest budget, by every approach that was not refused
  std::vector<std::string> notes;
  std::string answer;  ///< the result in one sentence for a human
};

Fit fit_all(const RunTable& table, const FitOptions& options);

/// The optimum by every approach that was not refused.
std::vector<Optimum> predict(const Fit& fit, double C);

/// The budget whose optimum has N parameters, or D tokens; approaches whose law does not reach it are left
/// out.
std::vector<Optimum> predict_for_params(const Fit& fit, double N);
std::vector<Optimum> predict_for_tokens(const Fit& fit, double D);

/// Whether the exponents a of the approaches that were not refused lie in each other's 95 % intervals;
/// nothing when fewer than two have an interval.
std::optional<bool> approaches_agree(const Fit& fit);

nlohmann::json to_json(const Fit& fit);
nlohmann::json to_json(const std::vector<Optimum>& optima);
/// InputError names the file and the key that is missing or wrong.
Fit fit_from_json(const nlohmann::json& json, const std::string& file);
/// The same of a file's content.
Fit parse_fit(const std::string& content, const std::string& file);

}  // namespace minichilla
