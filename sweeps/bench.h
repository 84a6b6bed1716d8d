// What a device does at most, in each operation, and in whole training steps. Shapes as in kernels/ops.h.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "sweeps/bench_timing.h"
#include "trainer/run_config.h"

namespace minichilla {

/// A model that is trained on `batch` sequences a step; attention is dense.
struct BenchShape {
  std::string name;
  int layers, heads, width, context, vocabulary, batch;
  int cpu_micro_batch;  ///< B on a CPU's lane: what stays in its cache. On a GPU B is the batch

  ModelConfig model() const;  ///< resolved()
  int micro_batch(const Device& device) const;
};

/// S, M and L, small enough for any device; 124M, GPT-3 Small with GPT-2's vocabulary, for GPUs.
std::vector<BenchShape> bench_shapes();

struct BenchOptions {
  std::vector<BenchShape> shapes;
  bool peak = true, operations = true, steps = true;
  Precision precision = Precision::fp32;            ///< the device's: whose peak all else is compared with
  double seconds = 0.25;                            ///< of each measurement
  std::size_t copied_bytes = std::size_t{1} << 28;  ///< by all lanes together; beyond any cache
  /// Called before each measurement; what it throws ends all.
  std::function<void(const std::string&)> on_progress;
};

/// What everything else is compared with, measured in the same run.
struct Peak {
  double flops_per_s;
  std::string flops_of;         ///< what was computed, in words
  double bf16_flops_per_s = 0;  ///< of a CPU's instruction for bf16; 0: it has none, or is a GPU
  std::string bf16_of;          ///< what computed that
  double bytes_per_s;           ///< read and written together
  std::string bytes_of;
};

/// One operation at one shape, on every lane at once.
struct OperationFigure {
  std::string shape, operation, pass;
  Timing timing;
  double flops;  ///< multiply-adds × 2 of matrix products, of all lanes; 0: it has none
  double bytes;  ///< the least that all lanes must read and write
};

/// A training step: forward, backward and AdamW.
struct StepFigure {
  std::string shape;
  Timing timing;
  int micro_batch, gradient_slots;
  double tokens, flops;  ///< of a step; FlopsPerToken::flops
};

/// Of one device with one number of lanes; what was not asked for is not there.
struct DeviceFigures {
  std::string device, numerics;
  int lanes;
  std::optional<Peak> peak;
  std::vector<OperationFigure> operations;
  std::vector<StepFigure> steps;
};

DeviceFigures bench(Device& device, const BenchOptions& options);

}  // namespace minichilla
