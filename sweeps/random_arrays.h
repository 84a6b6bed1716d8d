// Device arrays with random contents, for benchmarks: what a GPU computes with zeros draws less power, and so
// runs faster than real work.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/device.h"

namespace minichilla {

std::vector<std::int32_t> random_ids(std::int64_t count, int vocabulary);

class RandomArrays {
 public:
  explicit RandomArrays(Device& device) : device_(device) {}
  /// Values between −largest and largest; beyond a million they repeat.
  Buffer floats(std::int64_t count, float largest = 1);
  Buffer activations(std::int64_t count, float largest = 1);
  Buffer ids(std::int64_t count, int vocabulary);

 private:
  std::vector<float> values(std::int64_t count, float largest);
  template <class Value>
  Buffer uploaded(const std::vector<Value>& values);

  Device& device_;
  std::mt19937 random_;
};

}  // namespace minichilla
