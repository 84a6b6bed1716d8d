// The shape of a model.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "kernels/attention_pattern.h"
#include "model/config_fields.h"

namespace minichilla {

constexpr int kMostLayers = 1000, kLargestWidth = 1 << 16, kMostHeads = 1 << 12;

struct AttentionConfig {
  /// Repeated over the layers: layer l has pattern[l mod size].
  std::vector<std::string> pattern = {"dense"};
  /// Keys that a query of a banded layer sees, itself included; 0: context_length / 4 (at least 1).
  int window = 0;
};

/// GPT-3's decoder (Brown et al. 2020): pre-norm, learned positions, GELU, biases, tied embeddings.
struct ModelConfig {
  /// Where the shape comes from: one of families(), or "custom". A label: the widths below decide.
  std::string family = "custom";
  int n_layers = 2;
  int d_model = 32;
  int n_heads = 2;
  int d_head = 0;  ///< 0: d_model / n_heads, which must then be whole
  int d_ff = 0;    ///< 0: 4 · d_model
  int context_length = 64;
  /// Standard deviation of initial matrices and embeddings; GPT-2's for widths near 768. Residual projections
  /// get initial_std / sqrt(2 · n_layers).
  double initial_std = 0.02;
  AttentionConfig attention;

  int head_width() const { return d_head ? d_head : d_model / n_heads; }
  int mlp_width() const { return d_ff ? d_ff : 4 * d_model; }
  int attention_window() const;
  AttentionPattern layer_pattern(int layer) const;
};

/// Fills every default in (d_head, d_ff, window) and checks the shape as a whole; InputError names the key.
ModelConfig resolved(ModelConfig config);

/// Reads the key `size`: the name of one shape (see parse_size) in place of family, n_layers, d_model,
/// n_heads, d_head and d_ff, none of which may stand beside it. It is read and never written: a resolved
/// config, and so the run id, is the same whichever way the shape was given.
void read_size(ConfigReader& fields, ModelConfig& config);

template <class Fields>
void describe(Fields& fields, AttentionConfig& config) {
  fields.choices("pattern", config.pattern, {"dense", "banded"});
  fields.number("window", config.window, 0, 1 << 24);
}

template <class Fields>
void describe(Fields& fields, ModelConfig& config) {
  if constexpr (std::is_same_v<Fields, ConfigReader>) read_size(fields, config);
  fields.choice("family", config.family, {"custom", "ladder", "gpt3", "chinchilla", "gopher"});
  fields.number("n_layers", config.n_layers, 1, kMostLayers);
  fields.number("d_model", config.d_model, 1, kLargestWidth);
  fields.number("n_heads", config.n_heads, 1, kMostHeads);
  fields.number("d_head", config.d_head, 0, 1 << 12);
  fields.number("d_ff", config.d_ff, 0, 1 << 18);
  fields.number("context_length", config.context_length, 1, 1 << 20);
  fields.number("initial_std", config.initial_std, 0.0, 10.0);
  fields.section("attention", config.attention);
}

}  // namespace minichilla
