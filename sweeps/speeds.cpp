#include "sweeps/speeds.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "kernels/device.h"
#include "kernels/error.h"
#include "trainer/calibration.h"
#include "trainer/files.h"

namespace minichilla {
namespace {

constexpr std::size_t kMostMeasurements = 40;
constexpr double kLongestMeasurement = 0.4;

using Speeds = std::map<std::string, double>;  // tokens per second

Speeds read_cache(const std::filesystem::path& file, const std::string& machine) {
  if (!std::filesystem::exists(file)) return {};
  const nlohmann::json cache = nlohmann::json::parse(read_file(file), nullptr, false);
  if (!cache.is_object() || !cache.contains("machine") || cache["machine"] != machine ||
      !cache.contains("tokens_per_s")) {
    return {};
  }
  Speeds speeds;
  for (const auto& [key, value] : cache["tokens_per_s"].items()) {
    if (value.is_number() && value.get<double>() > 0) speeds[key] = value.get<double>();
  }
  return speeds;
}

void write_cache(const std::filesystem::path& file, const std::string& machine, const Speeds& speeds) {
  const nlohmann::ordered_json cache = {{"machine", machine}, {"tokens_per_s", speeds}};
  replace_file(file, cache.dump(1) + "\n");
}

/// Distinct rows that are not in `known` and fit, by FLOPs per token.
std::vector<const PlanRow*> to_measure(const SweepPlan& plan, const Speeds& known,
                                       std::uint64_t memory_available) {
  std::map<std::string, const PlanRow*> distinct;
  for (const PlanRow& row : plan.rows) distinct.emplace(cost_key(row.config), &row);
  std::vector<const PlanRow*> rows;
  for (const auto& [key, row] : distinct) {
    const bool fits = memory_available == 0 || row->memory_bytes <= memory_available;
    if (!known.contains(key) && fits) rows.push_back(row);
  }
  std::stable_sort(rows.begin(), rows.end(), [](const PlanRow* a, const PlanRow* b) {
    return a->flops_per_token.flops < b->flops_per_token.flops;
  });
  if (rows.size() <= kMostMeasurements) return rows;
  std::vector<const PlanRow*> spread;
  for (std::size_t i = 0; i < kMostMeasurements; ++i) {
    spread.push_back(rows[i * (rows.size() - 1) / (kMostMeasurements - 1)]);
  }
  return spread;
}

/// Measures `rows` on options.workers threads with a device each; the first error is thrown after all have
/// stopped.
void measure(const SweepPlan& plan, const std::vector<const PlanRow*>& rows, const SpeedOptions& options,
             Speeds& speeds) {
  const int workers = std::max(1, std::min<int>(options.workers, static_cast<int>(rows.size())));
  const double each =
      std::min(kLongestMeasurement, options.seconds * workers / static_cast<double>(rows.size()));
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  int done = 0;
  std::exception_ptr error;
  const auto work = [&] {
    try {
      std::map<std::string, std::unique_ptr<Device>> devices;  // by precision
      for (std::size_t i; (i = next++) < rows.size();) {
        const RunConfig& config = rows[i]->config;
        std::unique_ptr<Device>& device = devices[config.train.precision];
        if (!device) device = options.make_device(config.train.precision);
        const double speed = measure_tokens_per_s(config, plan.vocabulary, *device, each);
        const std::lock_guard lock(mutex);
        speeds[cost_key(config)] = speed;
        if (options.on_progress) options.on_progress(++done, static_cast<int>(rows.size()));
      }
    } catch (...) {
      next = rows.size();  // the other threads stop after what they are measuring
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (int worker = 1; worker < workers; ++worker) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

/// FLOP/s of the measured row that is nearest in log FLOPs per token.
double nearest_flops_per_s(const PlanRow& row, const std::map<double, double>& measured) {
  const double flops = row.flops_per_token.flops;
  auto above = measured.lower_bound(flops);
  if (above == measured.end()) return std::prev(above)->second;
  if (above == measured.begin()) return above->second;
  const auto below = std::prev(above);
  return above->first / flops < flops / below->first ? above->second : below->second;
}

void fill(PlanRow& row) {
  const double train_seconds = static_cast<double>(row.planned.tokens) / row.tokens_per_s;
  // A forward pass is a third of forward and backward.
  row.planned.estimated_s =
      train_seconds + evaluated_tokens(row.config.train, train_seconds) / (3 * row.tokens_per_s);
}

}  // namespace

double evaluated_tokens(const TrainConfig& train, double train_seconds) {
  const Interval& every = train.evaluate.every;
  double evaluations = 1;
  if (every.unit == Interval::Unit::fraction) evaluations = 1 / every.value;
  if (every.unit == Interval::Unit::steps) evaluations = static_cast<double>(train.steps()) / every.value;
  if (every.unit == Interval::Unit::seconds) evaluations = train_seconds / every.value;
  evaluations = std::clamp(std::ceil(evaluations - 1e-9), 1.0, static_cast<double>(train.steps()));
  const std::int64_t last = train.evaluate.tokens, midway = train.evaluate.midway_tokens;
  return (evaluations - 1) * static_cast<double>(midway > 0 ? std::min(midway, last) : last) +
         static_cast<double>(last);
}

void estimate_times(SweepPlan& plan, const std::filesystem::path& cache, const SpeedOptions& options) {
  if (plan.rows.empty()) return;
  const std::string machine = options.make_device(plan.rows.front().config.train.precision)->numerics();
  Speeds speeds = read_cache(cache, machine);
  const std::vector<const PlanRow*> rows = to_measure(plan, speeds, options.memory_available);
  if (!rows.empty()) {
    measure(plan, rows, options, speeds);
    std::filesystem::create_directories(cache.parent_path());
    write_cache(cache, machine, speeds);
  }
  std::map<double, double> measured;  // FLOPs per token → FLOP/s
  for (const PlanRow& row : plan.rows) {
    const auto speed = speeds.find(cost_key(row.config));
    if (speed != speeds.end())
      measured[row.flops_per_token.flops] = speed->second * row.flops_per_token.flops;
  }
  if (measured.empty()) return;
  for (PlanRow& row : plan.rows) {
    const auto speed = speeds.find(cost_key(row.config));
    row.tokens_per_s = speed != speeds.end() ? speed->second
                                             : nearest_flops_per_s(row, measured) / row.flops_per_token.flops;
    fill(row);
  }
}

void assume_speed(SweepPlan& plan, double flops_per_s) {
  for (PlanRow& row : plan.rows) {
    row.tokens_per_s = flops_per_s / row.flops_per_token.flops;
    fill(row);
  }
}

}  // namespace minichilla
