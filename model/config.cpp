#include "model/config.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "model/quote.h"

namespace minichilla {
namespace {

[[noreturn]] void refuse_key(const std::string& key, const std::string& found, const std::string& expected) {
  throw InputError("model." + key + ": found " + found + ", expected " + expected);
}

void check_at_least(const char* key, int value, int minimum) {
  if (value < minimum) refuse_key(key, std::to_string(value), "at least " + std::to_string(minimum));
}

}  // namespace

int ModelConfig::attention_window() const {
  return attention.window ? attention.window : std::max(1, context_length / 4);
}

AttentionPattern ModelConfig::layer_pattern(int layer) const {
  const std::string& kind = attention.pattern[static_cast<std::size_t>(layer) % attention.pattern.size()];
  return kind == "banded" ? AttentionPattern::banded(attention_window()) : AttentionPattern::dense();
}

ModelConfig resolved(ModelConfig config) {
  check_at_least("n_layers", config.n_layers, 1);
  check_at_least("d_model", config.d_model, 1);
  check_at_least("n_heads", config.n_heads, 1);
  check_at_least("d_head", config.d_head, 0);
  check_at_least("d_ff", config.d_ff, 0);
  check_at_least("context_length", config.context_length, 1);
  check_at_least("attention.window", config.attention.window, 0);
  if (!(config.initial_std >= 0 && std::isfinite(config.initial_std))) {
    refuse_key("initial_std", format_number(config.initial_std), "a number of at least 0");
  }
  if (config.attention.pattern.empty())
    refuse_key("attention.pattern", "an empty list", "dense, banded or both");
  for (const std::string& kind : config.attention.pattern) {
    if (kind != "dense" && kind != "banded") refuse_key("attention.pattern", quote(kind), "dense or banded");
  }
  if (config.d_head == 0 && config.d_model % config.n_heads != 0) {
    refuse_key("n_heads", std::to_string(config.n_heads),
               "a divisor of d_model = " + std::to_string(config.d_model) + ", or d_head given");
  }
  config.d_head = config.head_width();
  config.d_ff = config.mlp_width();
  config.attention.window = config.attention_window();
  return config;
}

}  // namespace minichilla
