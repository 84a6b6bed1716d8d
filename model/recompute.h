// What the backward pass makes again instead of keeping it from the forward pass.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

namespace minichilla {

/// Saves memory and costs time. What is made again comes from the same operation on the same input, so that
/// no bit changes.
struct Recompute {
  bool norms = false;  ///< normed1 and normed2, from the residual stream
  bool mlp = false;    ///< gelu_state and expanded, from normed2
};

/// Of names as train.recompute has them: "norms", "mlp".
inline Recompute recompute_of(const std::vector<std::string>& names) {
  const auto named = [&](const char* name) { return std::ranges::find(names, name) != names.end(); };
  return {named("norms"), named("mlp")};
}

}  // namespace minichilla
