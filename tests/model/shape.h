// A model of given widths, for tests.
#pragma once

#include "model/config.h"

namespace minichilla {

inline ModelConfig shape(int n_layers, int d_model, int n_heads, int d_head = 0, int d_ff = 0) {
  ModelConfig config;
  config.n_layers = n_layers;
  config.d_model = d_model;
  config.n_heads = n_heads;
  config.d_head = d_head;
  config.d_ff = d_ff;
  return config;
}

}  // namespace minichilla
