// Small odd models with random weights and tokens, for tests of the reference and of the devices.
#pragma once

#include <cstdint>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/parameters.h"

namespace minichilla {

/// One shape under test.
struct ModelCase {
  std::string name;
  int L, C, H, D, F, T, V, B;  ///< D, F: 0 for their defaults
  std::vector<std::string> pattern;
  int window;  ///< 0: T / 4

  ModelConfig config() const {
    ModelConfig config;
    config.n_layers = L;
    config.d_model = C;
    config.n_heads = H;
    config.d_head = D;
    config.d_ff = F;
    config.context_length = T;
    config.attention = {pattern, window};
    return resolved(config);
  }
};

inline std::ostream& operator<<(std::ostream& stream, const ModelCase& model) {
  return stream << model.name;
}

/// Weights far from their initial values, so that every path of the gradient matters: normal with standard
/// deviation 0.3, norm weights around 1, padding zero. Floats, so that all precisions start from the same
/// numbers.
inline std::vector<float> random_weights(const ParameterTable& table, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, 0.3f);
  std::vector<float> weights(static_cast<std::size_t>(table.flat_size()), 0.0f);
  for (const ParameterTensor& tensor : table.tensors()) {
    for (std::int64_t i = 0; i < tensor.count(); ++i) {
      weights[static_cast<std::size_t>(tensor.offset + i)] =
          normal(engine) + (tensor.initial == Initial::ones ? 1.0f : 0.0f);
    }
  }
  return weights;
}

inline std::vector<std::int32_t> random_tokens(int count, int vocabulary, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_int_distribution<std::int32_t> uniform(0, vocabulary - 1);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::int32_t& token : tokens) token = uniform(engine);
  return tokens;
}

}  // namespace minichilla
