#include "sweeps/bench.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <stdexcept>

#include "kernels/cpu_peak.h"
#include "kernels/error.h"
#include "kernels/ops.h"
#include "model/flops.h"
#include "sweeps/bench_operations.h"
#include "sweeps/random_arrays.h"
#include "sweeps/text_table.h"
#include "trainer/progress_line.h"
#include "trainer/training_step.h"

namespace minichilla {
namespace {

/// Every share depends on the peaks, so they get more time than others.
constexpr double kPeakPatience = 4;
/// 2.5 ms each, which all threads may have to themselves even on a busy machine.
constexpr int kPeakSamples = 400;

bool is_cpu(const Device& device) {
  return device.name() == "cpu";
}

/// Work of all lanes at once, each its part n times.
Timing time_lanes(Device& device, double seconds, int tasks, const std::function<void(Lane&, int)>& work,
                  const MostPerSecond& flops_now = {}) {
  return time_repetitions(
      seconds,
      [&](std::int64_t repetitions) {
        device.for_each_task(tasks, [&](Lane& lane, int task) {
          for (std::int64_t i = 0; i < repetitions; ++i) work(lane, task);
        });
        device.synchronize();
      },
      flops_now);
}

Timing time_operation(Device& device, double seconds, const BenchOperation& operation,
                      const MostPerSecond& flops_now) {
  if (!operation.streams) return time_lanes(device, seconds, operation.tasks, operation.enqueue, flops_now);
  return time_repetitions(seconds, [&](std::int64_t repetitions) {
    for (std::int64_t i = 0; i < repetitions; ++i) device.for_each_task(operation.tasks, operation.enqueue);
    device.synchronize();
  });
}

/// Multiply-adds on all lanes of a CPU at once.
class MultiplyAdds {
 public:
  /// Measures the most of them in many moments of `seconds` altogether.
  MultiplyAdds(Device& device, double seconds, std::function<FmaRun(std::int64_t)> run)
      : device_(&device), run_(std::move(run)), flops_per_round_(run_(1).flops * device.lanes()) {
    constexpr std::int64_t kRounds = 1000;
    const Timing timing = time_repetitions(
        seconds, [&](std::int64_t repetitions) { repeat(kRounds * repetitions); }, {}, kPeakSamples);
    rounds_per_s_ = kRounds / timing.best_s;
  }

  /// FLOP/s of all lanes in the best of those moments.
  double best_per_s() const { return flops_per_round_ * rounds_per_s_; }

  /// FLOP/s of all lanes in the `seconds` that begin now.
  double per_s_now(double seconds) const {
    const auto rounds = std::max<std::int64_t>(1, std::llround(seconds * rounds_per_s_));
    const auto begin = std::chrono::steady_clock::now();
    repeat(rounds);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    return flops_per_round_ * static_cast<double>(rounds) / took.count();
  }

 private:
  void repeat(std::int64_t rounds) const {
    device_->for_each_task(device_->lanes(), [&](Lane&, int) {
      if (!std::isfinite(run_(rounds).last_value)) {
        throw std::logic_error("multiply-adds that must stay small did not");
      }
    });
  }

  Device* device_;
  std::function<FmaRun(std::int64_t)> run_;
  double flops_per_round_, rounds_per_s_;
};

/// Also returns what measures the peak again, for a moment.
MostPerSecond measure_cpu_peak(Device& device, const BenchOptions& options, Peak& peak) {
  const double seconds = kPeakPatience * options.seconds;
  const Bf16Products products = cpu_bf16_products();
  if (products != Bf16Products::fp32_arithmetic) {
    const MultiplyAdds bf16(device, seconds, [products](std::int64_t rounds) {
      return run_bf16_multiply_adds(products, rounds);
    });
    peak.bf16_of = name_of(products);
    peak.bf16_flops_per_s = bf16.best_per_s();
    if (options.precision == Precision::bf16) {
      peak.flops_per_s = peak.bf16_flops_per_s;
      peak.flops_of = peak.bf16_of + " in registers";
      return [bf16](double now) { return bf16.per_s_now(now); };
    }
  }
  const MultiplyAdds fp32(device, seconds, run_multiply_adds);
  peak.flops_per_s = fp32.best_per_s();
  peak.flops_of = "fp32 multiply-adds in registers";
  return [fp32](double now) { return fp32.per_s_now(now); };
}

/// Of squares that double from 256 until one takes a good part of the time, or is as large as products of
/// large models.
void measure_largest_product(Device& device, double seconds, Peak& peak) {
  constexpr int kSmallest = 256, kLargest = 8192;
  const Operations& ops = device.operations();
  peak.flops_per_s = 0;
  for (int width = kSmallest; width <= kLargest; width *= 2) {
    RandomArrays random(device);
    const std::int64_t size = std::int64_t{width} * width;
    const Buffer x = random.activations(size), weight = random.activations(size),
                 y = random.activations(size), bias = random.floats(width);
    const Timing timing = time_lanes(device, seconds, 1, [&](Lane& lane, int) {
      ops.linear(lane, {width, width, width}, x.as<Activation>(), weight.as<Activation>(), bias.as<float>(),
                 y.as<Activation>(), nullptr);
    });
    const double flops_per_s = 2 * std::pow(width, 3) / timing.best_s;
    if (flops_per_s > peak.flops_per_s) {
      peak.flops_per_s = flops_per_s;
      peak.flops_of = "matrix product of " + std::to_string(width) + "³";
    }
    if (timing.best_s > seconds / 4) return;
  }
}

void measure_copy(Device& device, const BenchOptions& options, Peak& peak) {
  const std::size_t each = options.copied_bytes / static_cast<std::size_t>(device.lanes());
  std::vector<Buffer> from, to;
  for (int lane = 0; lane < device.lanes(); ++lane) {
    from.push_back(device.allocate(each));
    to.push_back(device.allocate(each));
  }
  const Timing timing =
      time_lanes(device, kPeakPatience * options.seconds, device.lanes(), [&](Lane& lane, int task) {
        const auto i = static_cast<std::size_t>(task);
        device.copy(lane, to[i].as<void>(), from[i].as<void>(), each);
      });
  peak.bytes_per_s = 2 * static_cast<double>(each) * device.lanes() / timing.best_s;
  peak.bytes_of = "copy of " + format_bytes(each * static_cast<std::size_t>(device.lanes()));
}

StepFigure measure_step(Device& device, double seconds, const BenchShape& shape,
                        const MostPerSecond& flops_now) {
  RunConfig config;
  config.model = shape.model();
  config.train.batch_tokens = std::int64_t{shape.batch} * shape.context;
  config.train.micro_batch = shape.micro_batch(device);
  config.train.gradient_slots = std::min(device.lanes(), shape.batch / config.train.micro_batch);
  TrainingStep step(config, shape.vocabulary, device);
  step.initialise(1);
  const std::vector<std::int32_t> ids = random_ids(config.train.batch_tokens, shape.vocabulary);
  const Timing timing = time_repetitions(
      seconds,
      [&](std::int64_t repetitions) {
        // A rate of zero keeps the weights where they are, however often the step is repeated.
        for (std::int64_t i = 0; i < repetitions; ++i) step.run(ids, ids, 0.0, 1);
      },
      flops_now);
  const auto tokens = static_cast<double>(config.train.batch_tokens);
  return {shape.name,
          timing,
          config.train.micro_batch,
          config.train.gradient_slots,
          tokens,
          tokens * flops_per_token(config.model, shape.vocabulary).flops};
}

}  // namespace

ModelConfig BenchShape::model() const {
  ModelConfig config;
  config.n_layers = layers;
  config.d_model = width;
  config.n_heads = heads;
  config.context_length = context;
  return resolved(config);
}

int BenchShape::micro_batch(const Device& device) const {
  if (!is_cpu(device)) return batch;
  // Work for every lane, in micro-batches that divide the batch.
  const auto share = static_cast<unsigned>(std::max(1, batch / device.lanes()));
  return std::min(cpu_micro_batch, static_cast<int>(std::bit_floor(share)));
}

std::vector<BenchShape> bench_shapes() {
  const auto shape = [](const char* name, int L, int H, int C, int T, int V, int batch, int cpu_micro_batch) {
    return BenchShape{name, L, H, C, T, V, batch, cpu_micro_batch};
  };
  return {shape("S", 3, 4, 64, 128, 256, 16, 1), shape("M", 4, 4, 128, 256, 1024, 8, 1),
          shape("L", 6, 8, 256, 256, 4096, 8, 2), shape("124M", 12, 12, 768, 1024, 50257, 16, 1)};
}

DeviceFigures bench(Device& device, const BenchOptions& options) {
  const std::string where = is_cpu(device) ? ", " + counted(device.lanes(), "thread") : "";
  const auto begin = [&](const std::string& what) {
    if (options.on_progress) options.on_progress("measuring " + what + where);
  };
  DeviceFigures figures{device.name(), device.numerics(), device.lanes(), {}, {}, {}};
  MostPerSecond flops_now;
  if (options.peak) {
    Peak peak{};
    begin("the peak");
    if (is_cpu(device)) {
      flops_now = measure_cpu_peak(device, options, peak);
    } else {
      measure_largest_product(device, options.seconds, peak);
    }
    begin("memory");
    measure_copy(device, options, peak);
    figures.peak = peak;
  }
  for (const BenchShape& shape : options.shapes) {
    if (!options.operations) break;
    const BenchOperations operations(device, shape);
    for (const BenchOperation& operation : operations.all()) {
      begin(shape.name + ": " + operation.name + (operation.pass.empty() ? "" : " " + operation.pass));
      figures.operations.push_back({shape.name, operation.name, operation.pass,
                                    time_operation(device, options.seconds, operation, flops_now),
                                    operation.flops, operation.bytes});
    }
  }
  for (const BenchShape& shape : options.shapes) {
    if (!options.steps) break;
    begin(shape.name + ": training steps");
    figures.steps.push_back(measure_step(device, options.seconds, shape, flops_now));
  }
  return figures;
}

}  // namespace minichilla
