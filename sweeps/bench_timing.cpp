#include "sweeps/bench_timing.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace minichilla {
namespace {

constexpr std::size_t kFewestSamples = 3;
constexpr double kMostRepetitions = 1e6, kShortest = 1e-9;

double seconds_of(const std::function<void(std::int64_t)>& run, std::int64_t repetitions) {
  const auto begin = std::chrono::steady_clock::now();
  run(repetitions);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return std::max(seconds, kShortest);
}

}  // namespace

Timing time_repetitions(double seconds, const std::function<void(std::int64_t)>& run, int samples_wanted) {
  run(1);
  const double once = seconds_of(run, 1);
  Timing timing;
  timing.repetitions =
      static_cast<std::int64_t>(std::clamp(seconds / samples_wanted / once, 1.0, kMostRepetitions));
  std::vector<double> samples;
  for (double spent = 0; spent < seconds || samples.size() < kFewestSamples;) {
    const double sample = seconds_of(run, timing.repetitions);
    spent += sample;
    samples.push_back(sample / static_cast<double>(timing.repetitions));
  }
  std::sort(samples.begin(), samples.end());
  timing.best_s = samples.front();
  timing.median_s = samples[samples.size() / 2];
  timing.samples = static_cast<std::int64_t>(samples.size());
  return timing;
}

}  // namespace minichilla
