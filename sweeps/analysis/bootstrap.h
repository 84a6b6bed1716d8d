// What the bootstraps of the three approaches share: random streams, work on all cores, percentiles.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// SplitMix64 (Steele et al. 2014), one stream per (seed, approach, resample): what a resample draws does not
/// depend on the thread that makes it, nor on the standard library.
class ResampleRandom {
 public:
  ResampleRandom(std::uint64_t seed, std::uint64_t approach, std::uint64_t resample);
  double uniform();                      ///< in (0, 1)
  std::size_t below(std::size_t bound);  ///< in [0, bound)
  double normal();                       ///< standard normal
  double chi_square(int degrees);        ///< with `degrees` of freedom

 private:
  std::uint64_t next();
  std::uint64_t state_;
};

/// Calls work(0) … work(count − 1) on `threads` threads (0: one per core) and `progress` with the finished
/// fraction, from one thread at a time. The first exception stops the rest and is thrown again here.
void for_each_resample(int count, int threads, const std::function<void(int)>& work,
                       const std::function<void(double)>& progress);

/// The interval of `samples` (one value per resample that gave one); nothing when they are fewer than half of
/// `resamples`, or none were asked for.
std::optional<Interval80And95> interval_of(std::vector<double> samples, int resamples);

/// Linear interpolation between order statistics (Hyndman & Fan's type 7); `sorted` is ascending and not
/// empty.
double percentile(std::span<const double> sorted, double fraction);

/// Two-sided quantiles of the normal distribution.
inline constexpr double kNormal80 = 1.2816, kNormal95 = 1.96;

/// Quantile of Student's t from that of the normal distribution (Cornish and Fisher's expansion).
double t_quantile(double z, int degrees);

/// Run-to-run noise of the loss, relative to it, as residuals of fitted curves with the leverage taken out.
struct LossNoise {
  std::vector<double> residuals;
  int degrees = 0;  ///< of freedom: residuals minus the parameters fitted to them
  bool known() const { return degrees > 0; }
  /// The factor by which this resample scales all residuals: with few degrees of freedom their spread is
  /// itself uncertain, as in Student's t.
  double draw_scale(ResampleRandom& random) const;
  double draw(ResampleRandom& random) const { return residuals[random.below(residuals.size())]; }
};

}  // namespace minichilla
