#include "sweeps/analysis/bootstrap.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <numbers>
#include <thread>

namespace minichilla {

ResampleRandom::ResampleRandom(std::uint64_t seed, std::uint64_t approach, std::uint64_t resample)
    : state_(seed) {
  state_ = next() + approach;
  state_ = next() + resample;
  state_ = next();
}

std::uint64_t ResampleRandom::next() {
  std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double ResampleRandom::uniform() {
  return (static_cast<double>(next() >> 11) + 0.5) * 0x1p-53;
}

std::size_t ResampleRandom::below(std::size_t bound) {
  return std::min(static_cast<std::size_t>(uniform() * static_cast<double>(bound)), bound - 1);
}

double ResampleRandom::normal() {
  const double radius = std::sqrt(-2 * std::log(uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

double ResampleRandom::chi_square(int degrees) {
  double sum = 0;
  for (int i = 0; i < degrees; ++i) {
    const double value = normal();
    sum += value * value;
  }
  return sum;
}

void for_each_resample(int count, int threads, const std::function<void(int)>& work,
                       const std::function<void(double)>& progress) {
  if (threads <= 0) threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::atomic<int> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  int done = 0;
  std::exception_ptr failure;
  const auto worker = [&] {
    try {
      for (int i = next++; i < count && !stop; i = next++) {
        work(i);
        const std::lock_guard lock(mutex);
        if (progress && !stop) progress(static_cast<double>(++done) / count);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      stop = true;
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (int i = 1; i < std::min(threads, count); ++i) helpers.emplace_back(worker);
    worker();
  }
  if (failure) std::rethrow_exception(failure);
}

double percentile(std::span<const double> sorted, double fraction) {
  const double position = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  if (below + 1 >= sorted.size()) return sorted.back();
  return std::lerp(sorted[below], sorted[below + 1], position - static_cast<double>(below));
}

double t_quantile(double z, int degrees) {
  const double n = std::max(degrees, 1);
  return z + (z * z * z + z) / (4 * n) + (5 * std::pow(z, 5) + 16 * std::pow(z, 3) + 3 * z) / (96 * n * n);
}

std::optional<Interval80And95> interval_of(std::vector<double> samples, int resamples) {
  std::erase_if(samples, [](double value) { return !std::isfinite(value); });
  if (samples.empty() || 2 * samples.size() < static_cast<std::size_t>(resamples)) return std::nullopt;
  std::sort(samples.begin(), samples.end());
  return Interval80And95{percentile(samples, 0.1), percentile(samples, 0.9), percentile(samples, 0.025),
                         percentile(samples, 0.975)};
}

double LossNoise::draw_scale(ResampleRandom& random) const {
  return std::sqrt(degrees / random.chi_square(degrees));
}

}  // namespace minichilla
