#include "sweeps/analysis/fit.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "kernels/error.h"
#include "sweeps/analysis/envelope.h"
#include "sweeps/analysis/hyperparameter_laws.h"
#include "sweeps/analysis/isoflop.h"
#include "sweeps/analysis/isoflop_bias.h"
#include "sweeps/analysis/kaplan.h"
#include "sweeps/analysis/overtraining.h"
#include "sweeps/analysis/parametric.h"
#include "sweeps/analysis/predict.h"
#include "sweeps/analysis/repeated_data.h"
#include "sweeps/analysis/variable_projection.h"
#include "sweeps/analysis/verdict.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

constexpr double kPredictionFactor = 10;

/// The part [from, from + share] of the whole progress.
FitOptions with_progress_from(const FitOptions& options, double from, double share) {
  FitOptions part = options;
  if (options.on_progress) {
    part.on_progress = [=, whole = options.on_progress](double fraction) { whole(from + share * fraction); };
  }
  return part;
}

/// The noise between runs as approach 3 sees it, where approach 2 has nothing to say.
LossNoise noise_of(const RunTable& table, const ParametricFit& fit) {
  LossNoise noise;
  constexpr int kParameters = 5;
  const auto surface = fit.surface();
  const auto runs = static_cast<double>(table.runs.size());
  for (const Observation& run : table.runs) {
    noise.residuals.push_back((run.loss / surface.loss(run.N, run.D) - 1) *
                              std::sqrt(runs / (runs - kParameters)));
  }
  noise.degrees = static_cast<int>(table.runs.size()) - kParameters;
  return noise;
}

void summarise(const RunTable& table, Fit& fit) {
  fit.source = table.source;
  fit.selection = table.selection;
  fit.dropped = table.dropped;
  fit.flop_count = table.flop_count;
  fit.runs = static_cast<int>(table.runs.size() + table.batch_runs.size());
  fit.notes = table.notes;
  if (table.runs.empty()) return;
  fit.smallest_C = fit.largest_C = table.runs[0].C;
  double sum = 0;
  for (const Observation& run : table.runs) {
    fit.smallest_C = std::min(fit.smallest_C, run.C);
    fit.largest_C = std::max(fit.largest_C, run.C);
    sum += std::log(run.C / (6 * run.N * run.D));
  }
  fit.flops_per_6nd = std::exp(sum / static_cast<double>(table.runs.size()));
  fit.flops_trend = flops_trend_of(table.runs);
}

struct NamedExponent {
  std::string approach;
  const Estimate* a;
};

/// What gave an estimate, the one to be believed first.
std::vector<NamedExponent> exponents_of(const Fit& fit) {
  std::vector<NamedExponent> exponents;
  if (fit.isoflop.refused.empty()) exponents.push_back({"isoflop", &fit.isoflop.laws.a});
  if (const ParametricFit* surface = best_surface(fit)) {
    exponents.push_back({name_of_surface(fit), &surface->a});
  }
  if (fit.envelope.refused.empty()) exponents.push_back({"envelope", &fit.envelope.laws.a});
  std::stable_partition(exponents.begin(), exponents.end(), [&](const NamedExponent& exponent) {
    return exponent.approach == fit.verdict.believed;
  });
  return exponents;
}

std::string range_text(const Estimate& estimate, const char* format) {
  if (!estimate.interval) return "";
  char text[80];
  std::snprintf(text, sizeof text, format, estimate.interval->low80, estimate.interval->high80);
  return text;
}

std::string count_range(const Estimate& estimate) {
  if (!estimate.interval) return format_count(estimate.value);
  return format_count(estimate.value) + " (" + format_count(estimate.interval->low80) + " to " +
         format_count(estimate.interval->high80) + ")";
}

bool has_other_law(const Fit& fit) {
  std::vector<const LawFit*> laws = {&fit.repeated_data, &fit.overtraining};
  for (const LawFit& law : fit.kaplan) laws.push_back(&law);
  for (const LawFit& law : fit.learning_rate) laws.push_back(&law);
  return std::any_of(laws.begin(), laws.end(),
                     [](const LawFit* law) { return law->refused.empty() && !law->constants.empty(); });
}

std::string answer_of(const Fit& fit) {
  const std::vector<NamedExponent> exponents = exponents_of(fit);
  if (exponents.empty()) {
    return has_other_law(fit) ? "These runs give the laws above, not how the compute-optimal size grows."
                              : "No approach gives an estimate from these runs; the reasons are above.";
  }
  const NamedExponent& best = exponents.front();
  const auto prediction =
      std::find_if(fit.predictions.begin(), fit.predictions.end(),
                   [&](const Optimum& optimum) { return optimum.approach == best.approach; });
  char exponent[40];
  std::snprintf(exponent, sizeof exponent, "%.2f", best.a->value);
  std::string text;
  if (prediction != fit.predictions.end()) {
    text = "For " + format_count(prediction->C) + " FLOPs, ten times the largest budget, train " +
           count_range(prediction->N) + " parameters on " + count_range(prediction->D) + " tokens: ";
  }
  text += std::string("N_opt grows as C^") + exponent + range_text(*best.a, " (%.2f to %.2f)") +
          " by approach " +
          (best.approach == "isoflop"      ? "2"
           : best.approach == "parametric" ? "3"
           : best.approach == "envelope"   ? "1"
                                           : best.approach);
  if (best.a->interval) text += ", 80 % intervals";
  const auto agree = fit.verdict.approaches_agree;
  if (!agree) return text + (exponents.size() > 1 ? "." : "; no other approach gives an estimate.");
  return text + (*agree ? "; the approaches agree within their 95 % intervals."
                        : "; the approaches DISAGREE beyond their 95 % intervals, see the table.");
}

/// The laws beside the three approaches.
void fit_other_laws(const RunTable& table, const FitOptions& options, Fit& fit) {
  if (options.wants("kaplan")) fit.kaplan = fit_kaplan(table, with_progress_from(options, 0.7, 0.2));
  const FitOptions rest = with_progress_from(options, 0.9, 0.1);
  if (options.wants("repeated_data")) fit.repeated_data = fit_repeated_data(table, rest);
  if (options.wants("overtraining")) fit.overtraining = fit_overtraining(table, rest);
  if (options.wants("learning_rate")) fit.learning_rate = fit_hyperparameter_laws(table, rest);
}

}  // namespace

Fit fit_all(const RunTable& table, const FitOptions& options) {
  Fit fit;
  summarise(table, fit);
  fit.isoflop.refused = fit.parametric.refused = fit.envelope.refused = kNotAskedFor;
  fit.variable_projection.refused = fit.variable_projection_robust.refused = kNotAskedFor;
  fit.repeated_data.refused = fit.overtraining.refused = kNotAskedFor;
  fit.asked_for = options.approaches;
  LossNoise noise;
  // Approach 1 takes the noise between runs from approach 2.
  if (options.wants("isoflop") || options.wants("envelope")) {
    FitOptions part = with_progress_from(options, 0, 0.1);
    if (!options.wants("isoflop")) part.bootstrap = 0;
    IsoflopFit found = fit_isoflop(table, part, noise);
    if (options.wants("isoflop")) fit.isoflop = std::move(found);
  }
  if (options.wants("parametric"))
    fit.parametric = fit_parametric(table, with_progress_from(options, 0.1, 0.3));
  if (options.wants("variable_projection")) {
    fit.variable_projection =
        fit_variable_projection(table, ProjectionForm::plain, with_progress_from(options, 0.4, 0.1));
    fit.variable_projection_robust =
        fit_variable_projection(table, ProjectionForm::robust, with_progress_from(options, 0.5, 0.1));
  }
  const ParametricFit* surface = best_surface(fit);
  if (surface) add_predicted_bias(table, *surface, fit.flops_trend, options, fit.isoflop);
  if (!noise.known() && surface) noise = noise_of(table, *surface);
  if (options.wants("envelope"))
    fit.envelope = fit_envelope(table, with_progress_from(options, 0.6, 0.1), noise);
  fit_other_laws(table, options, fit);
  if (fit.largest_C > 0) fit.predictions = predict(fit, kPredictionFactor * fit.largest_C);
  if (options.check_verdict) {
    fit.held_out = hold_out_largest(table, fit, options);
    fit.accountings = account_flops(table, fit, options);
  }
  fit.verdict = verdict_of(table, fit);
  fit.answer = answer_of(fit);
  return fit;
}

}  // namespace minichilla
