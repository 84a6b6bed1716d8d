#include "sweeps/bench_timing.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace minichilla {
namespace {

constexpr std::size_t kFewestSamples = 3;
constexpr double kMostRepetitions = 1e6, kShortest = 1e-9;
/// Of a sample's time, what measuring the most that can be done gets before and after it; seconds at least.
constexpr double kShareBeside = 0.05, kShortestBeside = 2e-4;

double seconds_of(const std::function<void(std::int64_t)>& run, std::int64_t repetitions) {
  const auto begin = std::chrono::steady_clock::now();
  run(repetitions);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return std::max(seconds, kShortest);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

Timing time_repetitions(double seconds, const std::function<void(std::int64_t)>& run,
                        const MostPerSecond& most_per_s, int samples_wanted) {
  run(1);
  const double once = seconds_of(run, 1);
  Timing timing;
  timing.repetitions =
      static_cast<std::int64_t>(std::clamp(seconds / samples_wanted / once, 1.0, kMostRepetitions));
  const auto repetitions = static_cast<double>(timing.repetitions);
  const auto rate_now = [&, beside = std::max(kShareBeside * once * repetitions, kShortestBeside)] {
    return most_per_s ? most_per_s(beside) : 0.0;
  };
  std::vector<double> samples, possible;
  double before = rate_now();
  for (double spent = 0; spent < seconds || samples.size() < kFewestSamples;) {
    const double sample = seconds_of(run, timing.repetitions), after = rate_now();
    spent += sample;
    samples.push_back(sample / repetitions);
    possible.push_back(samples.back() * (before + after) / 2);
    before = after;
  }
  timing.best_s = *std::min_element(samples.begin(), samples.end());
  timing.median_s = median(samples);
  timing.median_possible = median(possible);
  timing.samples = static_cast<std::int64_t>(samples.size());
  return timing;
}

}  // namespace minichilla
