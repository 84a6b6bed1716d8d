#include "sweeps/analysis/extrapolate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "kernels/error.h"
#include "sweeps/analysis/bootstrap.h"
#include "sweeps/analysis/least_squares.h"
#include "sweeps/analysis/parametric.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

constexpr std::size_t kFewestTeachers = 5;
constexpr int kFewestChecked = 4;
constexpr double kLarger = 1.5;        ///< ratio of compute above which a run is larger than another
constexpr double kShortestGain = 1.2;  ///< ratio of tokens of a longer run that tests longer schedules
constexpr double kRounding = 1.001;    ///< of tokens: evaluations fall on whole steps

/// A run as the relations see it; losses are logarithms.
struct Example {
  double N, D;     ///< D of its whole schedule
  double here;     ///< loss at the share of its schedule that is looked from
  double decline;  ///< from half of those tokens to here
  double end = 0;  ///< loss of a finished run
  double fall() const { return here - end; }
};

/// ln loss on straight lines in ln D; nothing before the first point.
std::optional<double> log_loss_at(const std::vector<CurvePoint>& points, double D) {
  if (points.empty() || D * kRounding < points.front().D) return std::nullopt;
  auto after = std::lower_bound(points.begin(), points.end(), D,
                                [](const CurvePoint& point, double tokens) { return point.D < tokens; });
  if (after == points.end()) --after;
  if (after == points.begin()) return std::log(after->loss);
  const CurvePoint& before = *(after - 1);
  const double t = std::min(1.0, std::log(D / before.D) / std::log(after->D / before.D));
  return std::lerp(std::log(before.loss), std::log(after->loss), t);
}

std::optional<Example> example_of(const Curve& curve, double D, double share) {
  const auto here = log_loss_at(curve.points, share * D), half = log_loss_at(curve.points, share * D / 2);
  if (!here || !half || curve.points.back().D * kRounding < share * D) return std::nullopt;
  return Example{curve.N, D, *here, *half - *here};
}

std::vector<Example> finished_examples(const RunTable& table, const std::string& except, double share) {
  std::vector<Example> examples;
  for (const Curve& curve : table.curves) {
    if (curve.run == except || curve.points.empty()) continue;
    auto example = example_of(curve, curve.points.back().D, share);
    if (!example) continue;
    example->end = std::log(curve.points.back().loss);
    examples.push_back(*example);
  }
  return examples;
}

/// How finished runs are held out, so that each is asked what the run is asked.
struct HoldOut {
  bool new_size = false;  ///< no finished run has its size
  bool larger = false;    ///< than all finished runs, in compute

  /// Whether a run of N and D may teach about a held-out one of held_N and held_D.
  bool may_teach(double N, double D, double held_N, double held_D) const {
    if (N == held_N && (new_size || D == held_D)) return false;
    return !larger || N * D * kLarger <= held_N * held_D;
  }
};

enum class Relation { decline, size };

std::vector<double> features(const Example& example, Relation relation) {
  if (relation == Relation::decline) return {1, example.decline};
  // Near one, as the solver wants them; any other centre gives the same relation.
  return {1, std::log(example.N) - 10, std::log(example.D) - 10};
}

/// The fall of `example` by the relation through `teachers`; nothing when they are too few.
std::optional<double> predicted_fall(const std::vector<Example>& teachers, Relation relation,
                                     const Example& example) {
  if (teachers.size() < kFewestTeachers) return std::nullopt;
  const auto dot = [](std::span<const double> c, const std::vector<double>& x) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += c[i] * x[i];
    return sum;
  };
  std::vector<std::vector<double>> rows;
  for (const Example& one : teachers) rows.push_back(features(one, relation));
  LeastSquaresProblem problem;
  problem.residuals = teachers.size();
  problem.evaluate = [&](std::span<const double> parameters, std::span<double> residuals) {
    for (std::size_t i = 0; i < rows.size(); ++i)
      residuals[i] = dot(parameters, rows[i]) - teachers[i].fall();
  };
  const std::vector<double> wanted = features(example, relation);
  return dot(minimise_residuals(problem, {std::vector<double>(wanted.size(), 0.0)}).parameters, wanted);
}

/// How much the surface through `runs` changes ln loss from D to longer_D; nothing when there is none.
std::optional<double> gain_of_length(const std::vector<Observation>& runs, double N, double D,
                                     double longer_D, std::string* refused = nullptr) {
  RunTable table;
  table.runs = runs;
  FitOptions options;
  options.bootstrap = 0;
  const ParametricFit fit = fit_parametric(table, options);
  if (refused) *refused = fit.refused;
  if (!fit.refused.empty()) return std::nullopt;
  return std::log(fit.surface().loss(N, D) / fit.surface().loss(N, longer_D));
}

/// Finished runs of one sweep, and predictions from a part of them.
class FinishedRuns {
 public:
  FinishedRuns(const RunTable& table, const std::string& except, double share, HoldOut hold_out)
      : examples_(finished_examples(table, except, share)), hold_out_(hold_out) {
    for (const Observation& run : table.runs) {
      if (run.run != except) runs_.push_back(run);
    }
  }

  const std::vector<Example>& examples() const { return examples_; }
  const std::vector<Observation>& runs() const { return runs_; }

  /// Errors of ln loss at the ends of held-out runs.
  std::vector<double> errors(Relation relation) const {
    std::vector<double> errors;
    for (const Example& held : examples_) {
      const auto fall = predicted_fall(teachers_of(held, held), relation, held);
      if (fall) errors.push_back(held.here - *fall - held.end);
    }
    return errors;
  }

  /// The same at the ends of longer runs of the same size, from the early parts of shorter ones. Of several
  /// longer runs that is taken whose length is nearest to `ratio` times the shorter one's. `longest` receives
  /// the largest ratio of those found.
  std::vector<double> errors_of_longer(Relation relation, double ratio, double& longest) const {
    std::vector<double> errors;
    longest = 0;
    for (const Example& from : examples_) {
      const Example* to = longer_run(from, ratio);
      if (!to) continue;
      const auto fall = predicted_fall(teachers_of(from, *to), relation, from);
      if (!fall) continue;
      std::vector<Observation> runs;
      for (const Observation& run : runs_) {
        if (may_teach(run.N, run.D, from, *to)) runs.push_back(run);
      }
      const auto gain = gain_of_length(runs, from.N, from.D, to->D);
      if (!gain) continue;
      errors.push_back(from.here - *fall - *gain - to->end);
      longest = std::max(longest, to->D / from.D);
    }
    return errors;
  }

 private:
  bool may_teach(double N, double D, const Example& from, const Example& to) const {
    const bool is_from = N == from.N && D == from.D;
    return !is_from && hold_out_.may_teach(N, D, to.N, to.D);
  }

  std::vector<Example> teachers_of(const Example& from, const Example& to) const {
    std::vector<Example> teachers;
    for (const Example& one : examples_) {
      if (may_teach(one.N, one.D, from, to)) teachers.push_back(one);
    }
    return teachers;
  }

  const Example* longer_run(const Example& from, double ratio) const {
    const Example* best = nullptr;
    const auto distance = [&](const Example& one) { return std::fabs(std::log(one.D / from.D / ratio)); };
    for (const Example& one : examples_) {
      if (one.N != from.N || one.D < kShortestGain * from.D) continue;
      if (!best || distance(one) < distance(*best)) best = &one;
    }
    return best;
  }

  std::vector<Example> examples_;
  std::vector<Observation> runs_;
  HoldOut hold_out_;
};

double mean_square(const std::vector<double>& errors) {
  double sum = 0;
  for (const double error : errors) sum += error * error / static_cast<double>(errors.size());
  return errors.empty() ? INFINITY : sum;
}

ScheduleEnd schedule_end(double D, double log_loss, const std::vector<double>& errors) {
  ScheduleEnd end;
  end.D = D;
  end.loss.value = std::exp(log_loss);
  end.checked = static_cast<int>(errors.size());
  for (const double error : errors) end.worst = std::max(end.worst, std::expm1(std::fabs(error)));
  if (errors.empty()) return end;
  end.error = std::sqrt(mean_square(errors));
  if (end.checked < kFewestChecked) return end;
  const auto bound = [&](double z) { return std::exp(log_loss + end.error * z); };
  const double t80 = t_quantile(kNormal80, end.checked - 1), t95 = t_quantile(kNormal95, end.checked - 1);
  end.loss.interval = Interval80And95{bound(-t80), bound(t80), bound(-t95), bound(t95)};
  return end;
}

HoldOut hold_out_of(const RunTable& finished, const Curve& beginning, double D) {
  HoldOut hold_out{true, true};
  for (const Observation& run : finished.runs) {
    if (run.run == beginning.run) continue;
    hold_out.new_size = hold_out.new_size && run.N != beginning.N;
    hold_out.larger = hold_out.larger && run.N * run.D * kLarger <= beginning.N * D;
  }
  return hold_out;
}

void check_beginning(const Curve& beginning, double end) {
  if (beginning.points.empty() || beginning.points.back().D * kRounding >= end) {
    throw InputError(beginning.run + ": found a curve up to " +
                     (beginning.points.empty() ? "0" : format_count(beginning.points.back().D)) + " of " +
                     format_count(end) + " tokens, expected the early part of a run");
  }
  if (!log_loss_at(beginning.points, beginning.points.back().D / 2)) {
    throw InputError(beginning.run + ": found a curve from " + format_count(beginning.points.front().D) +
                     " to " + format_count(beginning.points.back().D) +
                     " tokens, expected one that reaches back to half of its last point");
  }
}

void add_notes(const HoldOut& hold_out, Extrapolation& result) {
  if (hold_out.new_size) {
    result.notes.emplace_back(
        "no finished run has this size: errors are those of runs held out with all of their size");
  }
  if (hold_out.larger) {
    result.notes.emplace_back(
        "the run takes more compute than any finished one: errors are those of runs predicted from smaller "
        "ones alone");
  }
}

}  // namespace

Extrapolation extrapolate(const RunTable& finished, const Curve& beginning, double end,
                          std::span<const double> longer) {
  check_beginning(beginning, end);
  Extrapolation result;
  result.from_D = beginning.points.back().D;
  result.from_loss = beginning.points.back().loss;
  result.share = result.from_D / end;
  const Example example = example_of(beginning, end, result.share).value();
  const HoldOut hold_out = hold_out_of(finished, beginning, end);
  const FinishedRuns runs(finished, beginning.run, result.share, hold_out);
  result.finished = static_cast<int>(runs.examples().size());
  if (runs.examples().size() < kFewestTeachers) {
    const bool one = result.finished == 1;
    throw InputError(finished.source + ": found " + std::to_string(result.finished) + " finished run" +
                     (one ? "" : "s") + " with a curve from half of this share of " +
                     (one ? "its" : "their") + " tokens on, expected at least " +
                     std::to_string(kFewestTeachers));
  }
  const std::vector<double> by_decline = runs.errors(Relation::decline),
                            by_size = runs.errors(Relation::size);
  const bool decline = mean_square(by_decline) <= mean_square(by_size);
  const Relation relation = decline ? Relation::decline : Relation::size;
  result.relation = decline ? "decline" : "size";
  const double log_end = example.here - predicted_fall(runs.examples(), relation, example).value();
  result.ends.push_back(schedule_end(end, log_end, decline ? by_decline : by_size));
  add_notes(hold_out, result);
  for (const double D : longer) {
    ScheduleEnd far;
    far.D = D;
    const auto gain = gain_of_length(runs.runs(), beginning.N, end, D, &far.refused);
    if (gain) {
      const FinishedRuns alike(finished, beginning.run, result.share, hold_out_of(finished, beginning, D));
      double longest = 0;
      const std::vector<double> errors = alike.errors_of_longer(relation, D / end, longest);
      far = schedule_end(D, log_end - *gain, errors);
      if (!errors.empty() && D / end > kLarger * longest) {
        char text[200];
        std::snprintf(
            text, sizeof text,
            "%s tokens are %.3g times the schedule, held-out runs were at most %.3g times longer: the "
            "error there may be larger",
            format_count(D).c_str(), D / end, longest);
        result.notes.emplace_back(text);
      }
    }
    result.ends.push_back(far);
  }
  return result;
}

}  // namespace minichilla
