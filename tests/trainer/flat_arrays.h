// Flat arrays in the host's memory.
#pragma once

#include <algorithm>
#include <vector>

#include "model/parameters.h"
#include "trainer/flat_store.h"
#include "trainer/training_step.h"

namespace minichilla {

class FlatArrays final : public FlatStore {
 public:
  FlatArrays() = default;
  explicit FlatArrays(const ParameterTable& table)
      : weights(static_cast<std::size_t>(table.flat_size())), first_moment(weights), second_moment(weights) {}

  void read(FlatArray array, std::int64_t begin, std::span<float> values) const override {
    std::copy_n((this->*of(array)).begin() + begin, values.size(), values.begin());
  }
  void write(FlatArray array, std::int64_t begin, std::span<const float> values) override {
    std::ranges::copy(values, (this->*of(array)).begin() + begin);
  }

  std::vector<float> weights, first_moment, second_moment;

 private:
  static std::vector<float> FlatArrays::*of(FlatArray array) {
    if (array == FlatArray::weights) return &FlatArrays::weights;
    return array == FlatArray::first_moment ? &FlatArrays::first_moment : &FlatArrays::second_moment;
  }
};

inline FlatArrays download(const TrainingStep& step) {
  FlatArrays arrays(step.model().parameters());
  step.read(FlatArray::weights, 0, arrays.weights);
  step.read(FlatArray::first_moment, 0, arrays.first_moment);
  step.read(FlatArray::second_moment, 0, arrays.second_moment);
  return arrays;
}

inline void upload(const FlatArrays& arrays, TrainingStep& step) {
  step.write(FlatArray::weights, 0, arrays.weights);
  step.write(FlatArray::first_moment, 0, arrays.first_moment);
  step.write(FlatArray::second_moment, 0, arrays.second_moment);
  step.begin_with_written();
}

}  // namespace minichilla
