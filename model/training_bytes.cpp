#include "model/training_bytes.h"

namespace minichilla {

const std::vector<TrainingBytes>& bytes_per_parameter() {
  static const std::vector<TrainingBytes> bytes = {
      {.precision = "fp32", .weights = 4, .master = 0, .gradients = 4, .moments = 8},
      {.precision = "bf16", .weights = 2, .master = 4, .gradients = 4, .moments = 8},
  };
  return bytes;
}

std::vector<TrainingBytes> training_bytes(const ParameterTable& table) {
  std::vector<TrainingBytes> all = bytes_per_parameter();
  for (TrainingBytes& bytes : all) {
    for (std::int64_t* part : {&bytes.weights, &bytes.master, &bytes.gradients, &bytes.moments}) {
      *part *= table.flat_size();
    }
  }
  return all;
}

}  // namespace minichilla
