// Training FLOPs, in three columns that are never mixed.
#pragma once

#include "model/config.h"

namespace minichilla {

/// Training FLOPs (forward and backward) per token of a full context.
struct FlopsPerToken {
  /// Multiply-adds × 2 actually asked for: projections, MLP, logits, and attention over the (query, key)
  /// pairs of each layer's causal band; backward counts twice forward; embedding lookup 0.
  double flops;
  /// Hoffmann et al. 2022, appendix F: full T² attention and softmax, embedding matrix counted.
  double flops_hoffmann;
  /// 6·N with N all parameters.
  double flops_6nd;
};

/// `config` is resolved(). Norms, biases, GELU and softmax are not counted in `flops` (DESIGN: multiply-adds
/// of matrix products only).
FlopsPerToken flops_per_token(const ModelConfig& config, int vocabulary);

}  // namespace minichilla
