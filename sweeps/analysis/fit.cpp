#include "sweeps/analysis/fit.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "kernels/error.h"
#include "sweeps/analysis/envelope.h"
#include "sweeps/analysis/isoflop.h"
#include "sweeps/analysis/parametric.h"
#include "sweeps/analysis/predict.h"
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
  fit.runs = static_cast<int>(table.runs.size());
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
  const char* approach;
  const Estimate* a;
};

/// In the order in which they are believed: the profile of each budget needs no assumption about the surface.
std::vector<NamedExponent> exponents_of(const Fit& fit) {
  std::vector<NamedExponent> exponents;
  if (fit.isoflop.refused.empty()) exponents.push_back({"isoflop", &fit.isoflop.laws.a});
  if (fit.parametric.refused.empty()) exponents.push_back({"parametric", &fit.parametric.a});
  if (fit.envelope.refused.empty()) exponents.push_back({"envelope", &fit.envelope.laws.a});
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

std::string answer_of(const Fit& fit) {
  const std::vector<NamedExponent> exponents = exponents_of(fit);
  if (exponents.empty()) return "No approach gives an estimate from these runs; the reasons are above.";
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
          (std::string(best.approach) == "isoflop"      ? "2"
           : std::string(best.approach) == "parametric" ? "3"
                                                        : "1");
  if (best.a->interval) text += ", 80 % intervals";
  const auto agree = approaches_agree(fit);
  if (!agree) return text + (exponents.size() > 1 ? "." : "; no other approach gives an estimate.");
  return text + (*agree ? "; the approaches agree within their 95 % intervals."
                        : "; the approaches DISAGREE beyond their 95 % intervals, see the table.");
}

}  // namespace

Fit fit_all(const RunTable& table, const FitOptions& options) {
  Fit fit;
  summarise(table, fit);
  LossNoise noise;
  fit.isoflop = fit_isoflop(table, with_progress_from(options, 0, 0.1), noise);
  fit.parametric = fit_parametric(table, with_progress_from(options, 0.1, 0.7));
  if (!noise.known() && fit.parametric.refused.empty()) noise = noise_of(table, fit.parametric);
  fit.envelope = fit_envelope(table, with_progress_from(options, 0.8, 0.2), noise);
  if (fit.largest_C > 0) fit.predictions = predict(fit, kPredictionFactor * fit.largest_C);
  fit.answer = answer_of(fit);
  return fit;
}

}  // namespace minichilla
