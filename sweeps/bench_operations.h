// Each operation of kernels/ops.h with arguments of its own, ready to be timed. Shapes as there.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "sweeps/bench.h"

namespace minichilla {

struct BenchOperation {
  std::string name, pass;
  double flops;  ///< multiply-adds × 2 of matrix products, of all tasks; backward twice forward
  double bytes;  ///< each argument once, of all tasks
  int tasks;
  /// Works in all tasks on one array, which must not stay in a cache from one repetition to the next.
  bool streams;
  std::function<void(Lane&, int)> enqueue;
};

/// Owns what the operations work on. Every lane has arrays of its own but for the weights, as in training;
/// the optimizer's operations share the flat arrays of the whole model.
class BenchOperations {
 public:
  BenchOperations(Device& device, const BenchShape& shape);
  ~BenchOperations();
  const std::vector<BenchOperation>& all() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace minichilla
