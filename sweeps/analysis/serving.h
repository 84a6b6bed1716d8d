// Models that will be used: what training and inference cost together, and on which hardware.
#pragma once

#include <optional>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// The model with a given loss whose training and lifetime inference together cost least (Sardana et al.
/// 2024, arXiv 2401.00448): smaller than the compute-optimal one, trained on more tokens.
struct ServedOptimum {
  double inference_tokens;  ///< over the model's life
  double N, D, loss;        ///< parameters and training tokens
  double C;                 ///< training FLOPs, 6·N·D·ratio(N)
  double total,
      total_of_optimum;  ///< training plus 2·N·ratio(N) FLOPs per inference token: of this, of the given
};

/// With the loss that `surface` gives N and D; nothing where that loss is not above E in a double.
std::optional<ServedOptimum> inference_adjusted(const ParametricFit::Surface& surface,
                                                const FlopsTrend& trend, double N, double D,
                                                double inference_tokens);

/// Accelerators and what they cost; what is not stated is nothing.
struct Hardware {
  std::optional<double> peak;   ///< FLOP/s of one accelerator
  double mfu = 0.4;             ///< share of the peak that training reaches
  std::optional<double> watts;  ///< of one accelerator with its share of the machine
  std::optional<double> price_hour, price_kwh;
};

struct TrainingCost {
  double hours = 0;                     ///< of one accelerator
  std::optional<double> energy, price;  ///< kWh; in the unit of the prices
};

/// Nothing when the peak is not stated.
std::optional<TrainingCost> training_cost(const Hardware& hardware, double C);

}  // namespace minichilla
