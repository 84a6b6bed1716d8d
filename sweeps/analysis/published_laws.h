// Laws L(N, D) = E + A/N^alpha + B/D^beta that were not fitted here: published ones, and ones given by hand.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// Losses in nats per token, N parameters, D training tokens, for the text and the models of its authors.
struct Law {
  std::string name;  ///< as on the command line; "given" for constants given by hand
  ParametricFit::Surface surface;
  std::string source;  ///< who published it and where; "constants of --law" for those given by hand
  /// The optimum itself, where that was published and no surface.
  std::optional<PowerLaws::Resample> optimum = std::nullopt;
};

/// Those that are surfaces.
std::span<const Law> published_laws();

/// A name of published_laws(), "kaplan" (an optimum), or five constants
/// "E=2,A=1000,alpha=1/3,B=1000,beta=1/4": each once, in any order, as a number (parse_quantity() of
/// model/config_fields.h) or a fraction of two. E is at least zero, A and B above it, the exponents lie in
/// the range that fits look at. InputError, with the nearest name.
Law parse_law(const std::string& text);

/// The law as a fit whose approach 3 (approach 2 for an optimum) found it, without intervals, runs or the
/// other approaches; C = 6·N·D.
Fit fit_of_law(const Law& law);

}  // namespace minichilla
