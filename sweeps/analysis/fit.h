// The three estimates of Hoffmann et al. 2022 with bootstrap intervals, and their file, fit.json.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sweeps/analysis/estimate.h"
#include "sweeps/analysis/law_fit.h"
#include "sweeps/analysis/run_table.h"

namespace minichilla {

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
/// The frontier as others read it (see frontier_laws.h): no interval, for comparison.
struct FrontierLaw {
  std::string method;       ///< "hull" or "binned"
  bool with_edges = false;  ///< points won by the smallest or the largest model included
  double a = 0, b = 0;
  int points = 0, sizes = 0, dropped = 0;  ///< points fitted, models among them, points left out at the edges
  int unfinished = 0;  ///< points before the last fifth of their runs, where a schedule is not done
};

struct EnvelopeFit {
  std::string refused;  ///< why there is no estimate; empty when there is one
  PowerLaws laws;
  /// The points that the laws were fitted to: the middle of each stretch of C that one model wins (see
  /// envelope.h).
  std::vector<FrontierPoint> frontier;
  std::vector<FrontierLaw> other_readings;
  std::vector<std::string> notes;
};

/// How approach 2 finds the minimum of a budget.
enum class Interpolation {
  windowed,  ///< a parabola over the sizes near its own minimum
  parabola,  ///< a parabola over all sizes
  akima      ///< an Akima spline through all sizes
};

/// Approach 2: the minimum of the valley in log N of each budget.
struct IsoflopProfile {
  double C = 0;  ///< the budget
  std::vector<Observation> runs;
  bool used = false;
  std::string reason;  ///< why not, when not used
  /// loss (or ln loss, with FitOptions::log_loss) = quadratic·x² + linear·x + constant, x = ln N; all zero
  /// for an Akima spline.
  double quadratic = 0, linear = 0, constant = 0;
  std::vector<std::pair<double, double>> curve;  ///< N and loss of what was fitted, over the sizes fitted
  Estimate params_opt, tokens_opt, loss_opt;
  double smallest_N = 0,
         largest_N = 0;  ///< the sizes that the parabola was fitted to: a window around its minimum
};
struct IsoflopFit {
  std::string refused;
  PowerLaws laws;
  Interpolation interpolation = Interpolation::windowed;
  bool log_loss = false;
  /// How far from the truth this grid puts `a`, were the fitted surface the truth: by a parabola over all
  /// sizes, and by the interpolation used. Nothing when there is no surface.
  std::optional<Estimate> predicted_bias_a, predicted_bias_a_used;
  std::vector<IsoflopProfile> profiles;
  std::vector<std::string> notes;
};

/// How the likelihood falls off on both sides of an estimate, everything else refitted.
struct ProfileCurve {
  std::vector<std::pair<double, double>> points;  ///< the value held, and the squared t value there
  double at80 = 0, at95 = 0;                      ///< squared t values where the intervals end
};

/// The surface L(N, D) = E + A/N^alpha + B/D^beta, fitted by approach 3 (Huber loss on log L) or by variable
/// projection (see variable_projection.h).
struct ParametricFit {
  std::string refused;
  Estimate E, A, B, alpha, beta;
  Estimate a, b;  ///< beta/(alpha+beta), alpha/(alpha+beta)
  Estimate G;     ///< (alpha·A / (beta·B))^(1/(alpha+beta))
  /// Approach 3: Σ Huber(log L̂ − log L), delta = huber_delta. Variable projection: Σ (L̂ − L)²; its robust
  /// form: Σ Huber(1 − L/L̂) with the delta that it chose.
  double objective = 0;
  int runs_used = 0;
  std::vector<std::string> notes;
  /// Bootstrap resamples (E, A, B, alpha, beta), for intervals of whatever is predicted from the fit.
  struct Surface {
    double E, A, B, alpha, beta;
    double loss(double N, double D) const;
  };
  Surface surface() const { return {E.value, A.value, B.value, alpha.value, beta.value}; }
  std::vector<Surface> resamples;
  /// Profile likelihood intervals of E, alpha, beta and a by name; an end that the runs do not bound is
  /// infinite.
  std::map<std::string, Interval80And95> profile;
  ProfileCurve profile_of_a;  ///< empty where `a` has no profile
  /// Of the normal equations in all five parameters, and in the two that variable projection looks for.
  double condition_number = 0, condition_number_projected = 0;
};

/// "windowed", "parabola" or "akima".
const char* name_of(Interpolation interpolation);

/// What --approach may name, in the order of the output; "all" are all of them.
const std::vector<std::string>& approach_names();

struct FitOptions {
  std::vector<std::string> approaches;  ///< names of approach_names(); empty: all
  bool wants(const std::string& approach) const;
  int bootstrap = 200;  ///< resamples; what is resampled differs by approach, see docs/fitting.md
  std::uint64_t seed = 1;
  double huber_delta = 1e-3;
  // Forms of the surface, for approach 3 and variable projection:
  bool tied_exponents = false;    ///< alpha = beta
  std::optional<double> fixed_E;  ///< zero allowed
  bool mean_squares = false;      ///< approach 3 minimises squares of the log residuals, not Huber losses
  /// The surface of fresh text for repeated_data.h, and where it is from; nothing: from the runs of one
  /// epoch.
  std::optional<ParametricFit::Surface> base_law;
  std::string base_law_source;
  /// Called with the finished fraction, from one thread at a time; may be empty. What it throws ends the fit.
  std::function<void(double)> on_progress;
  bool check_verdict = true;  ///< hold out the largest budget, count FLOPs in other ways
  int threads = 0;            ///< 0: one per core. The results do not depend on it.
  /// Approach 2 fits its parabola to sizes within this factor of the minimum (and at least to the nearest
  /// five); infinity: to all.
  double isoflop_window = 4;
  Interpolation interpolation = Interpolation::windowed;
  bool log_loss = false;  ///< approach 2 works on ln L
};

/// Why an approach that FitOptions::approaches leaves out has no estimate.
inline constexpr const char* kNotAskedFor = "not asked for";

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

/// See verdict.h.
struct Verdict {
  std::string believed;
  std::vector<std::string> reasons;
  std::optional<bool> approaches_agree;
};

/// How well a fit of the smaller budgets predicts the largest.
struct HeldOut {
  double C = 0;         ///< the budget held out, or the FLOPs above which runs were
  bool budget = false;  ///< which of the two
  int runs = 0;
  /// Of the losses predicted by approach 3, relative: mean, and root of the mean square.
  std::optional<double> loss_error, loss_error_rms;
  std::optional<double> params_predicted, params_found;  ///< the minimum there by approach 2
};

/// The exponents with parameters and FLOPs counted in one way.
struct Accounting {
  std::string name;
  double a, b;
};

struct Fit {
  std::string source;
  TableOptions selection;            ///< what of the source was fitted
  int dropped = 0;                   ///< runs of highest loss that were left out
  std::string flop_count = "given";  ///< see flop_count_names()
  int runs = 0;
  double smallest_C = 0, largest_C = 0;
  /// C of a run ÷ (6·N·D), geometric mean over the runs: small models spend attention FLOPs beside 6·N·D.
  double flops_per_6nd = 1;
  FlopsTrend flops_trend;  ///< the same by model size
  EnvelopeFit envelope;
  IsoflopFit isoflop;
  ParametricFit parametric, variable_projection, variable_projection_robust;
  std::vector<LawFit> kaplan;         ///< see kaplan.h; empty when not asked for, as the next
  std::vector<LawFit> learning_rate;  ///< see hyperparameter_laws.h
  LawFit repeated_data, overtraining;
  std::vector<std::string> asked_for;  ///< FitOptions::approaches
  std::vector<Optimum>
      predictions;  ///< for ten times the largest budget, by every approach that was not refused
  Verdict verdict;
  std::optional<HeldOut> held_out;
  std::vector<Accounting> accountings;
  std::vector<std::string> notes;
  std::string answer;  ///< the result in one sentence for a human
};

Fit fit_all(const RunTable& table, const FitOptions& options);

/// The surface that stands for the fit: of approach 3, else of variable projection, robust before plain; null
/// when there is none. And its name in fit.json.
const ParametricFit* best_surface(const Fit& fit);
std::string name_of_surface(const Fit& fit);

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
nlohmann::json to_json(const Estimate& estimate);
nlohmann::json to_json(const std::vector<Optimum>& optima);
/// InputError names the file and the key that is missing or wrong.
Fit fit_from_json(const nlohmann::json& json, const std::string& file);
/// The same of a file's content.
Fit parse_fit(const std::string& content, const std::string& file);

}  // namespace minichilla
