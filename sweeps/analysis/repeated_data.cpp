#include "sweeps/analysis/repeated_data.h"

#include <cmath>
#include <cstdio>

#include "sweeps/analysis/law_bootstrap.h"
#include "sweeps/analysis/least_squares.h"
#include "sweeps/analysis/parametric.h"
#include "sweeps/analysis/published_laws.h"
#include "sweeps/analysis/surface_sample.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kRepeatedStream = 30;
constexpr std::size_t kFewestRepeated = 4;
constexpr double kOneEpoch = 1.01;        ///< epochs up to which a run counts as one of fresh text
constexpr double kMostRepetitions = 1e6;  ///< R* above it is the same as fresh data
constexpr double kFlat = 3;               ///< ratio of the profile's 80 % ends that is called flat

/// x·(1 + R*(1 − e^(−R/R*))) for a total of x·(1 + R).
double effective(double unique, double total, double decay) {
  const double repetitions = std::max(0.0, total / unique - 1);
  return unique - unique * decay * std::expm1(-repetitions / decay);
}

LeastSquaresProblem problem_of(const std::vector<Observation>& runs, const Surface& base, double delta) {
  LeastSquaresProblem problem;
  problem.residuals = runs.size();
  problem.delta = delta;
  problem.evaluate = [&runs, base](std::span<const double> p, std::span<double> residuals) {
    const double limit = std::log(kMostRepetitions);
    const double of_tokens = std::exp(std::min(p[0], limit)), of_params = std::exp(std::min(p[1], limit));
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const double loss =
          repeated_loss(base, of_tokens, of_params, runs[i].N, runs[i].D, runs[i].unique_tokens);
      residuals[i] = std::log(loss) - std::log(runs[i].loss);
    }
  };
  return problem;
}

std::vector<std::vector<double>> start_grid() {
  std::vector<std::vector<double>> starts;
  for (const double of_tokens : {2.0, 8.0, 30.0, 100.0, 1000.0}) {
    for (const double of_params : {0.5, 2.0, 8.0, 50.0}) {
      starts.push_back({std::log(of_tokens), std::log(of_params)});
    }
  }
  return starts;
}

/// The surface of fresh text: given, else fitted to runs of one epoch, else nothing with the reason in `fit`.
std::optional<Surface> base_of(const RunTable& table, const FitOptions& options, LawFit& fit) {
  if (options.base_law) {
    fit.notes.push_back("E, A, B, alpha and beta of one epoch: " + options.base_law_source);
    return *options.base_law;
  }
  RunTable fresh;
  for (const Observation& run : table.runs) {
    if (run.unique_tokens > 0 && run.D <= kOneEpoch * run.unique_tokens) fresh.runs.push_back(run);
  }
  FitOptions plain = options;
  plain.bootstrap = 0;
  plain.on_progress = nullptr;
  const ParametricFit base = fit_parametric(fresh, plain);
  if (!base.refused.empty()) {
    fit.refused = "the runs of one epoch do not give the surface of fresh text (" + base.refused +
                  "); name one with --base-law";
    return std::nullopt;
  }
  fit.notes.push_back("E, A, B, alpha and beta of one epoch: approach 3 on " +
                      std::to_string(fresh.runs.size()) + " runs of these");
  return base.surface();
}

void add_profile(const LeastSquaresProblem& problem, const LeastSquaresSolution& main, std::size_t held,
                 const std::string& name, LawFit& fit) {
  const ProfileScale scale = huber_scale(residuals_at(problem, main.parameters), problem.delta, 2);
  if (!(scale.per_unit > 0) || !std::isfinite(scale.per_unit)) return;
  std::vector<bool> stays(2, false);
  stays[held] = true;
  const auto rise = [&](double at) {
    std::vector<std::vector<double>> starts;
    for (const double other : {main.parameters[1 - held], 0.0, 2.0, 4.0}) {
      starts.push_back({other, other});
      starts.back()[held] = at;
    }
    return minimise_residuals(problem, starts, stays).objective - main.objective;
  };
  const Interval80And95 logs =
      profile_interval(main.parameters[held], 0.05, std::log(1e-2), std::log(kMostRepetitions), scale, rise);
  const auto end = [](double ln) { return ln == -INFINITY ? -INFINITY : std::exp(ln); };
  fit.profile[name] = {end(logs.low80), end(logs.high80), end(logs.low95), end(logs.high95)};
}

}  // namespace

double repeated_loss(const ParametricFit::Surface& base, double repetitions_tokens, double repetitions_params,
                     double N, double D, double unique) {
  const double fresh = std::min(unique, D);
  const double G = G_of(base);
  const double best_size = G * std::pow(fresh * G, a_of(base) / b_of(base));
  return base.loss(effective(std::min(best_size, N), N, repetitions_params),
                   effective(fresh, D, repetitions_tokens));
}

LawFit fit_repeated_data(const RunTable& table, const FitOptions& options) {
  LawFit fit;
  fit.name = "repeated_data";
  fit.equation = "L = E + A/N'^alpha + B/D'^beta";
  std::vector<Observation> runs;
  std::size_t repeated = 0;
  for (const Observation& run : table.runs) {
    if (!(run.unique_tokens > 0)) continue;
    runs.push_back(run);
    repeated += run.D > kOneEpoch * run.unique_tokens;
  }
  if (runs.empty()) {
    fit.refused = "no run tells its unique tokens (a column unique_tokens or U)";
    return fit;
  }
  if (repeated < kFewestRepeated) {
    fit.refused = std::to_string(repeated) + " runs of more than one epoch, at least " +
                  std::to_string(kFewestRepeated) + " are needed";
    return fit;
  }
  const auto base = base_of(table, options, fit);
  if (!base) return fit;
  const LeastSquaresProblem problem = problem_of(runs, *base, options.huber_delta);
  const LeastSquaresSolution main = minimise_residuals(problem, start_grid());
  const auto constants = [&](const std::vector<double>& weight) -> std::vector<double> {
    LeastSquaresProblem drawn = problem;
    drawn.weight = weight;
    // The valley is flat and has more than one end: a resample looks at both.
    const std::vector<double> p =
        minimise_residuals(drawn, {main.parameters, {std::log(8.0), std::log(8.0)}}).parameters;
    return {std::exp(p[0]), std::exp(p[1])};
  };
  fill_law({"R_D_star", "R_N_star"}, constants, draw_from(runs.size()), runs.size(), options, kRepeatedStream,
           "the runs do not determine R_D* and R_N*", fit);
  if (!fit.refused.empty()) return fit;
  fit.objective = main.objective;
  add_profile(problem, main, 0, "R_D_star", fit);
  add_profile(problem, main, 1, "R_N_star", fit);
  const auto found = fit.profile.find("R_D_star");
  if (found != fit.profile.end() && found->second.high80 > kFlat * found->second.low80) {
    fit.notes.emplace_back(
        "the objective is a nearly flat valley along R_D*: believe its profile interval, not its value");
  }
  return fit;
}

}  // namespace minichilla
