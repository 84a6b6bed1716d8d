#include "model/flops.h"

#include "model/parameters.h"

namespace minichilla {
namespace {

constexpr double kForwardAndBackward =
    3;  // backward: one product for the inputs' gradient, one for the weights'
constexpr double kMultiplyAdd = 2;

/// Forward pass, multiply-adds × 2 of a whole sequence.
double forward_flops(const ModelConfig& config, double V) {
  const double T = config.context_length, C = config.d_model, F = config.mlp_width();
  const double D = config.head_width(), HD = config.n_heads * D;
  double total = kMultiplyAdd * T * V * C;  // logits
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const auto pairs = static_cast<double>(config.layer_pattern(layer).pairs(config.context_length));
    total += kMultiplyAdd * T * (3 * HD * C + HD * C + 2 * C * F);
    total += kMultiplyAdd * pairs * 2 * HD;  // scores and weighted sum
  }
  return total;
}

/// Hoffmann et al. 2022, appendix F, forward pass of a whole sequence.
double hoffmann_forward_flops(const ModelConfig& config, double V) {
  const double T = config.context_length, C = config.d_model, F = config.mlp_width(), H = config.n_heads;
  const double HD = H * config.head_width();
  const double embeddings = 2 * T * V * C;
  const double attention = 2 * 3 * T * C * HD  // QKV
                           + 2 * T * T * HD    // scores
                           + 3 * H * T * T     // softmax
                           + 2 * T * T * HD    // weighted sum
                           + 2 * T * HD * C;   // projection
  const double dense_block = 2 * T * (C * F + C * F);
  const double logits = 2 * T * C * V;
  return embeddings + config.n_layers * (attention + dense_block) + logits;
}

}  // namespace

FlopsPerToken flops_per_token(const ModelConfig& config, int vocabulary) {
  const double T = config.context_length;
  return {.flops = kForwardAndBackward * forward_flops(config, vocabulary) / T,
          .flops_hoffmann = kForwardAndBackward * hoffmann_forward_flops(config, vocabulary) / T,
          .flops_6nd = 6 * static_cast<double>(ParameterTable(config, vocabulary).params())};
}

}  // namespace minichilla
