// The one table of named tensors: it drives allocation, initialisation, optimizer groups, checkpoints and
// counts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "model/config.h"

namespace minichilla {

enum class Initial { zeros, ones, normal };

struct ParameterTensor {
  std::string name;                 ///< "layers.0.attention.qkv.weight"
  std::vector<std::int64_t> shape;  ///< row-major
  bool decayed;  ///< weight decay applies: matrices yes (embeddings too), biases and norms no
  Initial initial;
  double initial_std;   ///< of Initial::normal
  std::int64_t offset;  ///< first element in the flat array, a multiple of kTensorAlignment
  std::int64_t count() const;
};

/// The tensors in the order of the flat arrays (weights, gradients, moments). Padding between tensors and at
/// the end is zero, is never counted and stays zero.
class ParameterTable {
 public:
  /// Elements: 64 bytes of floats.
  static constexpr std::int64_t kTensorAlignment = 16;
  /// The flat arrays' length is a multiple of this many elements, so that ranks and norm blocks split it
  /// evenly.
  static constexpr std::int64_t kFlatAlignment = Operations::kNormBlock;

  ParameterTable(const ModelConfig& config, int vocabulary);

  const std::vector<ParameterTensor>& tensors() const { return tensors_; }
  /// Throws std::logic_error for an unknown name.
  const ParameterTensor& at(const std::string& name) const;
  /// Elements of a flat array, padding included.
  std::int64_t flat_size() const { return flat_size_; }

  /// Trainable parameters without padding (the tied embedding counts once).
  std::int64_t params() const { return params_; }
  /// Without token and position embeddings (Kaplan et al.'s N).
  std::int64_t params_non_embedding() const { return params_non_embedding_; }

 private:
  std::int64_t append(std::string name, std::vector<std::int64_t> shape, bool decayed, Initial initial,
                      double std);
  std::vector<ParameterTensor> tensors_;
  std::int64_t flat_size_ = 0, params_ = 0, params_non_embedding_ = 0;
};

/// Initial values (as GPT-2: normal, smaller in residual projections, zeros, ones) of as many elements of
/// `tensor` as `values` has, from its element `begin` on. Each tensor draws from its own stream, keyed by
/// seed and name, so that a tensor's values do not depend on the others.
void initial_values(const ParameterTensor& tensor, std::uint64_t seed, std::int64_t begin,
                    std::span<float> values);

}  // namespace minichilla
