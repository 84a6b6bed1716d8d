#include "sweeps/analysis/envelope.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "sweeps/analysis/frontier_laws.h"
#include "sweeps/analysis/power_law.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kEnvelopeStream = 1;
constexpr int kGridPoints = 600;
constexpr double kFinishedShare = 0.8;
constexpr std::size_t kFewestSizes = 4;  ///< compared at one C, so that two of them are inside
constexpr std::size_t kFewestStretches = 3;
constexpr double kSmallestEndSpan = 1.2;  ///< ratio of the C at which curves end
constexpr double kFewestSpan = 3;         ///< ratio of the largest to the smallest C of the stretches

/// A curve in logarithms.
struct LogCurve {
  double N;
  std::vector<double> C, loss, D;
  const std::string* run;
};

/// What the grid of C sees of one curve: ln loss where it takes part, NaN elsewhere. Noise only shifts it.
struct Row {
  std::size_t curve;
  std::vector<double> loss;
};

struct Stretch {
  std::size_t first, last;  ///< grid indices
  double N;
  double low, high;  ///< midpoints (in log) between N and the next sizes compared there
  bool bounded;      ///< other winners follow on both sides
};

struct Frontier {
  std::vector<Stretch> stretches;
  std::size_t compared = 0,
              at_edge = 0;  ///< grid points with enough sizes; of those, won by an outermost size
};

class Envelope {
 public:
  Envelope(const std::vector<Curve>& curves, double share);
  /// `shift` is added to each curve's ln loss; may be empty.
  Frontier frontier(const std::vector<double>& shift) const;
  double C_of(const Stretch& stretch) const {
    return std::exp((grid_[stretch.first] + grid_[stretch.last]) / 2);
  }
  double length_of(const Stretch& stretch) const {
    return static_cast<double>(stretch.last - stretch.first + 1) * (grid_[1] - grid_[0]);
  }
  /// FLOPs per token of a model of N parameters, between those of the curves' models.
  double flops_per_token(double N) const;
  FrontierPoint point(const Stretch& stretch) const;
  std::size_t curves() const { return curves_.size(); }

 private:
  double loss_at(const LogCurve& curve, double C) const;
  std::vector<LogCurve> curves_;
  std::vector<double> grid_;
  std::vector<Row> rows_;
  std::vector<std::pair<double, double>> cost_;  ///< ln N, mean ln(C/D); ascending
};

double interpolate(const std::vector<double>& x, const std::vector<double>& y, double at) {
  const auto after = std::upper_bound(x.begin(), x.end(), at) - x.begin();
  const auto i = static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(after, 1, std::ssize(x) - 1));
  return std::lerp(y[i - 1], y[i], (at - x[i - 1]) / (x[i] - x[i - 1]));
}

Envelope::Envelope(const std::vector<Curve>& curves, double share) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  std::vector<std::pair<double, double>> costs;
  for (const Curve& curve : curves) {
    if (curve.points.size() < 2) continue;
    LogCurve log_curve{curve.N, {}, {}, {}, &curve.run};
    for (const CurvePoint& point : curve.points) {
      log_curve.C.push_back(std::log(point.C));
      log_curve.loss.push_back(std::log(point.loss));
      log_curve.D.push_back(std::log(point.D));
    }
    low = std::min(low, log_curve.C.front());
    high = std::max(high, log_curve.C.back());
    costs.emplace_back(std::log(curve.N), log_curve.C.back() - log_curve.D.back());
    curves_.push_back(std::move(log_curve));
  }
  std::sort(costs.begin(), costs.end());
  for (std::size_t i = 0; i < costs.size();) {
    double sum = 0;
    std::size_t j = i;
    for (; j < costs.size() && costs[j].first == costs[i].first; ++j) sum += costs[j].second;
    cost_.emplace_back(costs[i].first, sum / static_cast<double>(j - i));
    i = j;
  }
  for (int i = 0; i < kGridPoints; ++i) grid_.push_back(std::lerp(low, high, i / (kGridPoints - 1.0)));
  for (std::size_t i = 0; i < curves_.size(); ++i) {
    const LogCurve& curve = curves_[i];
    const double start =
        std::max(curve.C.front(), share > 0 ? curve.C.back() + std::log(share) : curve.C.front());
    Row row{i, std::vector<double>(grid_.size(), std::nan(""))};
    for (std::size_t j = 0; j < grid_.size(); ++j) {
      if (grid_[j] >= start && grid_[j] <= curve.C.back())
        row.loss[j] = interpolate(curve.C, curve.loss, grid_[j]);
    }
    rows_.push_back(std::move(row));
  }
}

Frontier Envelope::frontier(const std::vector<double>& shift) const {
  Frontier result;
  double previous = 0;  // winner at the grid point before, 0 where there was none
  bool previous_kept = false;
  std::set<double> sizes;
  for (std::size_t j = 0; j < grid_.size(); ++j) {
    sizes.clear();
    double best = std::numeric_limits<double>::infinity(), winner = 0;
    for (const Row& row : rows_) {
      if (std::isnan(row.loss[j])) continue;
      sizes.insert(curves_[row.curve].N);
      const double loss = row.loss[j] + (shift.empty() ? 0 : shift[row.curve]);
      if (loss < best) {
        best = loss;
        winner = curves_[row.curve].N;
      }
    }
    const bool compared = sizes.size() >= kFewestSizes;
    const bool kept = compared && winner != *sizes.begin() && winner != *sizes.rbegin();
    result.compared += compared;
    result.at_edge += compared && !kept;
    const double here = compared ? winner : 0;
    if (kept && previous_kept && here == previous) {
      result.stretches.back().last = j;
    } else {
      if (previous_kept && here == 0) result.stretches.back().bounded = false;
      if (kept) {
        const auto at = sizes.find(winner);
        const double low = std::sqrt(winner * *std::prev(at)), high = std::sqrt(winner * *std::next(at));
        result.stretches.push_back({j, j, winner, low, high, previous != 0});
      }
    }
    previous = here;
    previous_kept = kept;
  }
  if (previous_kept) result.stretches.back().bounded = false;
  return result;
}

double Envelope::flops_per_token(double N) const {
  if (cost_.size() == 1) return std::exp(cost_[0].second);
  std::vector<double> x, y;
  for (const auto& [ln_N, ln_cost] : cost_) {
    x.push_back(ln_N);
    y.push_back(ln_cost);
  }
  return std::exp(interpolate(x, y, std::log(N)));
}

FrontierPoint Envelope::point(const Stretch& stretch) const {
  const double C = C_of(stretch);
  const auto middle = (stretch.first + stretch.last) / 2;
  FrontierPoint point{C, stretch.N, C / flops_per_token(stretch.N), std::numeric_limits<double>::infinity(),
                      ""};
  for (const Row& row : rows_) {
    if (curves_[row.curve].N != stretch.N || std::isnan(row.loss[middle])) continue;
    if (std::exp(row.loss[middle]) < point.loss) {
      point.loss = std::exp(row.loss[middle]);
      point.run = *curves_[row.curve].run;
    }
  }
  return point;
}

std::string too_little(const Envelope& envelope, const Frontier& frontier) {
  char text[200];
  if (frontier.compared == 0) {
    std::snprintf(text, sizeof text, "at no FLOP count are there curves of %zu model sizes to compare",
                  kFewestSizes);
    return text;
  }
  if (frontier.stretches.empty())
    return "the best model is everywhere the smallest or the largest of those compared";
  const double span = envelope.C_of(frontier.stretches.back()) / envelope.C_of(frontier.stretches.front());
  if (frontier.stretches.size() < kFewestStretches || span < kFewestSpan) {
    std::snprintf(text, sizeof text,
                  "%zu stretch%s of FLOPs with a best model that is neither the smallest nor the largest, "
                  "over a factor "
                  "of %.2g; at least %zu over a factor of %g are needed",
                  frontier.stretches.size(), frontier.stretches.size() == 1 ? "" : "es", span,
                  kFewestStretches, kFewestSpan);
    return text;
  }
  return "";
}

/// Why the curves cannot be compared at all; empty when they can.
std::string useless_curves(const std::vector<Curve>& curves) {
  double smallest = std::numeric_limits<double>::infinity(), largest = 0;
  for (const Curve& curve : curves) {
    if (curve.points.size() < 2) continue;
    smallest = std::min(smallest, curve.points.back().C);
    largest = std::max(largest, curve.points.back().C);
  }
  if (largest == 0) return "no training curves: the table has only the ends of runs";
  // Curves of one budget have a frontier too, of runs stopped early: not what a smaller budget would reach.
  if (largest < kSmallestEndSpan * smallest) {
    return "all curves end at nearly the same FLOPs, at least two budgets are needed";
  }
  return "";
}

/// The laws through the stretches; with `random`, sizes of stretches cut off by the data are drawn anew.
std::optional<PowerLaws::Resample> laws_of(const Envelope& envelope, const Frontier& frontier,
                                           ResampleRandom* random) {
  std::vector<double> C, N, D, weights;
  for (const Stretch& stretch : frontier.stretches) {
    double size = stretch.N;
    if (random && !stretch.bounded) {
      size = std::exp(std::lerp(std::log(stretch.low), std::log(stretch.high), random->uniform()));
    }
    C.push_back(envelope.C_of(stretch));
    N.push_back(size);
    D.push_back(C.back() / envelope.flops_per_token(size));
    weights.push_back(envelope.length_of(stretch));
  }
  return fit_laws(C, N, D, weights);
}

std::vector<PowerLaws::Resample> bootstrap(const Envelope& envelope, const FitOptions& options,
                                           const LossNoise& noise) {
  std::vector<std::optional<PowerLaws::Resample>> drawn(static_cast<std::size_t>(options.bootstrap));
  const auto work = [&](int index) {
    ResampleRandom random(options.seed, kEnvelopeStream, static_cast<std::uint64_t>(index));
    const double scale = noise.draw_scale(random);
    std::vector<double> shift(envelope.curves());
    for (double& value : shift) value = scale * noise.draw(random);
    const Frontier frontier = envelope.frontier(shift);
    if (too_little(envelope, frontier).empty()) {
      drawn[static_cast<std::size_t>(index)] = laws_of(envelope, frontier, &random);
    }
  };
  for_each_resample(options.bootstrap, options.threads, work, options.on_progress);
  std::vector<PowerLaws::Resample> given;
  for (const auto& laws : drawn) {
    if (laws) given.push_back(*laws);
  }
  return given;
}

void add_notes(const Frontier& frontier, bool finished_only, EnvelopeFit& fit) {
  char text[240];
  if (finished_only) {
    std::snprintf(text, sizeof text,
                  "compared at the last %.0f %% of each run, where its schedule is nearly done",
                  100 * (1 - kFinishedShare));
    fit.notes.emplace_back(text);
  } else {
    fit.notes.emplace_back(
        "points from the middle of runs are included: if the learning rate was still to decay there, their "
        "losses are "
        "too high, and more so for long runs");
  }
  if (frontier.at_edge > 0) {
    std::snprintf(text, sizeof text,
                  "dropped %.0f %% of the FLOP counts compared, because the best model there is the smallest "
                  "or the largest",
                  100.0 * static_cast<double>(frontier.at_edge) / static_cast<double>(frontier.compared));
    fit.notes.emplace_back(text);
  }
}

}  // namespace

EnvelopeFit fit_envelope(const RunTable& table, const FitOptions& options, const LossNoise& noise) {
  EnvelopeFit fit;
  fit.refused = useless_curves(table.curves);
  if (!fit.refused.empty()) return fit;
  fit.other_readings = fit_frontier_laws(table.curves);
  Envelope envelope(table.curves, kFinishedShare);
  Frontier frontier = envelope.frontier({});
  const bool finished_only = too_little(envelope, frontier).empty();
  if (!finished_only) {
    envelope = Envelope(table.curves, 0);
    frontier = envelope.frontier({});
    fit.refused = too_little(envelope, frontier);
    if (!fit.refused.empty()) return fit;
  }
  const auto laws = laws_of(envelope, frontier, nullptr);
  if (!laws) {
    fit.refused = "the best models all lie at one FLOP count";
    return fit;
  }
  for (const Stretch& stretch : frontier.stretches) fit.frontier.push_back(envelope.point(stretch));
  add_notes(frontier, finished_only, fit);
  std::vector<PowerLaws::Resample> given;
  if (noise.known()) {
    given = bootstrap(envelope, options, noise);
    const std::size_t lost = static_cast<std::size_t>(options.bootstrap) - given.size();
    if (10 * lost > static_cast<std::size_t>(options.bootstrap)) {
      const bool none = 2 * given.size() < static_cast<std::size_t>(options.bootstrap);
      fit.notes.push_back(std::to_string(100 * lost / static_cast<std::size_t>(options.bootstrap)) +
                          " % of the resamples gave no law, so " +
                          (none ? "there is no interval" : "the intervals are too narrow"));
    }
  } else if (options.bootstrap > 0) {
    fit.notes.emplace_back(
        "no interval: neither approach 2 nor approach 3 gave residuals that tell the noise between runs");
  }
  fit.laws = with_intervals(*laws, std::move(given), noise.known() ? options.bootstrap : 0);
  return fit;
}

}  // namespace minichilla
