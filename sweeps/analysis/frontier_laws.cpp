#include "sweeps/analysis/frontier_laws.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "sweeps/analysis/power_law.h"

namespace minichilla {
namespace {

constexpr int kBins = 1500;
constexpr double kScheduleDone = 0.8;  ///< share of a run from which on its schedule counts as nearly done

/// A point of the frontier, in logarithms but for N.
struct CandidatePoint {
  double C, loss, D, N;
  bool unfinished;  ///< before the last fifth of its run
};

std::vector<CandidatePoint> points_of(const Curve& curve) {
  std::vector<CandidatePoint> points;
  for (const CurvePoint& point : curve.points) {
    points.push_back({std::log(point.C), std::log(point.loss), std::log(point.D), curve.N,
                      point.D < kScheduleDone * curve.points.back().D});
  }
  return points;
}

/// The corners of the lower convex hull in ln C and ln loss, as far as the loss falls.
std::vector<CandidatePoint> hull_of(const std::vector<Curve>& curves) {
  std::vector<CandidatePoint> all;
  for (const Curve& curve : curves) {
    const std::vector<CandidatePoint> points = points_of(curve);
    all.insert(all.end(), points.begin(), points.end());
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& l, const auto& r) { return l.C != r.C ? l.C < r.C : l.loss < r.loss; });
  std::vector<CandidatePoint> hull;
  for (const CandidatePoint& point : all) {
    const auto above = [&] {
      const CandidatePoint &a = hull[hull.size() - 2], &b = hull.back();
      return (b.C - a.C) * (point.loss - a.loss) <= (b.loss - a.loss) * (point.C - a.C);
    };
    while (hull.size() >= 2 && above()) hull.pop_back();
    hull.push_back(point);
  }
  const auto lowest = std::min_element(hull.begin(), hull.end(),
                                       [](const auto& l, const auto& r) { return l.loss < r.loss; });
  if (lowest != hull.end()) hull.erase(lowest + 1, hull.end());
  return hull;
}

/// The curve at ln C, straight in logarithms between its points.
CandidatePoint interpolated(const std::vector<CandidatePoint>& points, double C) {
  const auto after =
      std::lower_bound(points.begin(), points.end(), C,
                       [](const CandidatePoint& point, double value) { return point.C < value; });
  if (after == points.begin()) return points.front();
  const CandidatePoint &low = *std::prev(after), &high = *after;
  const double t = (C - low.C) / (high.C - low.C);
  return {C, std::lerp(low.loss, high.loss, t), std::lerp(low.D, high.D, t), low.N, low.unfinished};
}

/// The lowest loss at each of kBins values of C.
std::vector<CandidatePoint> best_of_bins(const std::vector<Curve>& curves) {
  std::vector<std::vector<CandidatePoint>> lines;
  double low = INFINITY, high = -INFINITY;
  for (const Curve& curve : curves) {
    lines.push_back(points_of(curve));
    low = std::min(low, lines.back().front().C);
    high = std::max(high, lines.back().back().C);
  }
  std::vector<CandidatePoint> best;
  for (int i = 0; i < kBins; ++i) {
    const double C = i + 1 == kBins ? high : std::lerp(low, high, i / (kBins - 1.0));
    const CandidatePoint* lowest = nullptr;
    CandidatePoint here{};
    for (const auto& line : lines) {
      if (C < line.front().C || C > line.back().C) continue;
      const CandidatePoint point = interpolated(line, C);
      if (lowest && point.loss >= here.loss) continue;
      here = point;
      lowest = &here;
    }
    if (lowest) best.push_back(here);
  }
  return best;
}

void add_reading(const std::string& method, std::vector<CandidatePoint> points, bool with_edges,
                 const std::vector<Curve>& curves, std::vector<FrontierLaw>& laws) {
  FrontierLaw law;
  law.method = method;
  law.with_edges = with_edges;
  if (!with_edges) {
    const auto [smallest, largest] = std::minmax_element(
        curves.begin(), curves.end(), [](const Curve& l, const Curve& r) { return l.N < r.N; });
    const auto dropped = std::erase_if(
        points, [&](const CandidatePoint& point) { return point.N == smallest->N || point.N == largest->N; });
    law.dropped = static_cast<int>(dropped);
  }
  std::vector<double> C, N, D;
  std::set<double> sizes;
  for (const CandidatePoint& point : points) {
    C.push_back(std::exp(point.C));
    N.push_back(point.N);
    D.push_back(std::exp(point.D));
    sizes.insert(point.N);
    law.unfinished += point.unfinished;
  }
  const auto found = fit_laws(C, N, D);
  if (!found) return;
  law.points = static_cast<int>(points.size());
  law.sizes = static_cast<int>(sizes.size());
  law.a = found->a;
  law.b = found->b;
  laws.push_back(std::move(law));
}

}  // namespace

std::vector<FrontierLaw> fit_frontier_laws(const std::vector<Curve>& all) {
  std::vector<Curve> curves;
  std::copy_if(all.begin(), all.end(), std::back_inserter(curves),
               [](const Curve& curve) { return curve.points.size() > 1; });
  std::vector<FrontierLaw> laws;
  if (curves.empty()) return laws;
  const std::vector<CandidatePoint> hull = hull_of(curves), bins = best_of_bins(curves);
  for (const bool with_edges : {false, true}) {
    add_reading("hull", hull, with_edges, curves, laws);
    add_reading("binned", bins, with_edges, curves, laws);
  }
  return laws;
}

}  // namespace minichilla
