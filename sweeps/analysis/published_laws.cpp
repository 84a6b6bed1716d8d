#include "sweeps/analysis/published_laws.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <sstream>

#include "kernels/error.h"
#include "model/config_fields.h"
#include "model/quote.h"
#include "sweeps/analysis/power_law.h"
#include "sweeps/analysis/predict.h"
#include "sweeps/analysis/surface_fit.h"

namespace minichilla {
namespace {

constexpr const char* kGivenName = "given";
constexpr const char* kExample = "E=2,A=1000,alpha=1/3,B=1000,beta=1/4";

[[noreturn]] void refuse(const std::string& message) {
  throw InputError("--law: " + message);
}

std::string listed(std::span<const std::string> names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string suggestion(const std::string& found, std::span<const std::string> valid) {
  const std::string near = nearest_name(found, valid);
  return near.empty() ? "" : "; did you mean " + near + "?";
}

std::string stripped(const std::string& text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// A constant that a law is given by, and the values that it may have.
struct Constant {
  const char* name;
  double ParametricFit::Surface::*member;
  bool exponent;
};
constexpr std::array<Constant, 5> kConstants = {{{"E", &ParametricFit::Surface::E, false},
                                                 {"A", &ParametricFit::Surface::A, false},
                                                 {"alpha", &ParametricFit::Surface::alpha, true},
                                                 {"B", &ParametricFit::Surface::B, false},
                                                 {"beta", &ParametricFit::Surface::beta, true}}};

const Constant& constant_named(const std::string& name) {
  std::vector<std::string> names;
  for (const Constant& constant : kConstants) {
    if (name == constant.name) return constant;
    names.push_back(constant.name);
  }
  refuse("found an unknown constant " + quote(name) + ", expected E, A, alpha, B and beta" +
         suggestion(name, names));
}

/// "3.4e2", or the fraction "1/3".
double parse_fraction(const Constant& constant, const std::string& text) {
  const auto slash = text.find('/');
  try {
    const double numerator = parse_quantity(stripped(text.substr(0, slash)));
    return slash == std::string::npos ? numerator
                                      : numerator / parse_quantity(stripped(text.substr(slash + 1)));
  } catch (const std::invalid_argument&) {
    refuse(std::string(constant.name) + ": found " + quote(text) +
           ", expected a number such as 0.34 or a fraction such as 1/3");
  }
}

double parse_constant(const Constant& constant, const std::string& text) {
  const double value = parse_fraction(constant, text);
  const auto expect = [&](bool holds, const std::string& expected) {
    if (!holds) refuse(std::string(constant.name) + ": found " + quote(text) + ", expected " + expected);
  };
  if (constant.exponent) {
    expect(value >= kSmallestExponent && value <= kLargestExponent,
           "an exponent from " + format_number(kSmallestExponent) + " to " + format_number(kLargestExponent));
  } else if (constant.member == &ParametricFit::Surface::E) {
    expect(value >= 0 && std::isfinite(value), "a loss of at least zero");
  } else {
    expect(value > 0 && std::isfinite(value), "a number above zero");
  }
  return value;
}

Law parse_constants(const std::string& text) {
  Law law{kGivenName, {}, "constants of --law"};
  std::map<std::string, bool> seen;
  std::istringstream items(text);
  for (std::string item; std::getline(items, item, ',');) {
    const auto equals = item.find('=');
    const std::string name = stripped(item.substr(0, equals));
    const Constant& constant = constant_named(name);
    if (equals == std::string::npos) refuse(name + ": found no value, expected one such as in " + kExample);
    if (seen[name]) refuse(name + ": found a second time, expected once");
    seen[name] = true;
    law.surface.*constant.member = parse_constant(constant, stripped(item.substr(equals + 1)));
  }
  for (const Constant& constant : kConstants) {
    if (!seen[constant.name]) {
      refuse(std::string("found no ") + constant.name + ", expected all five constants, such as " + kExample);
    }
  }
  return law;
}

/// Kaplan et al. 2020, table 6, in PF-days of 8.64e19 FLOPs; N without embeddings, D = B·S.
Law kaplan_law() {
  constexpr double a = 0.73, b = 0.27, params_at_pf_day = 1.3e9, tokens_at_pf_day = 2e10;
  Law law{"kaplan", {}, "Kaplan et al. 2020, arXiv 2001.08361, N without embeddings", std::nullopt};
  law.optimum = {a, b, params_at_pf_day / std::pow(kFlopsPerPfDay, a),
                 tokens_at_pf_day / std::pow(kFlopsPerPfDay, b)};
  return law;
}

}  // namespace

std::span<const Law> published_laws() {
  static const std::array<Law, 4> laws = {{
      // Approach 3 as the paper prints it, equation 10.
      {"hoffmann", {1.69, 406.4, 410.7, 0.34, 0.28}, "Hoffmann et al. 2022, arXiv 2203.15556, as printed"},
      // The same fit before rounding, from the paper's TeX source.
      {"hoffmann_unrounded",
       {1.6933736809989528, 406.4010175194737, 410.7228269450398, 0.33917084, 0.2849083},
       "Hoffmann et al. 2022, arXiv 2203.15556, unrounded, from its TeX source"},
      // Approach 3 again on the data of Hoffmann et al., read off their figure, with the loss summed.
      {"besiroglu",
       {1.81686, 482.00572, 2085.4342, 0.34781, 0.36585},
       "Besiroglu et al. 2024, arXiv 2404.10102"},
      // Runs of a single epoch on C4, alpha and beta held equal; the base of the law for repeated data.
      {"muennighoff_c4",
       {1.8691436784054858, 520.8249516599187, 1487.716093782861, 0.3526596, 0.3526596},
       "Muennighoff et al. 2023, arXiv 2305.16264, C4"},
  }};
  return laws;
}

Law parse_law(const std::string& text) {
  if (text.find('=') != std::string::npos) return parse_constants(text);
  const Law kaplan = kaplan_law();
  if (text == kaplan.name) return kaplan;
  std::vector<std::string> names = {kaplan.name};
  for (const Law& law : published_laws()) {
    if (law.name == text) return law;
    names.push_back(law.name);
  }
  std::rotate(names.begin(), names.begin() + 1, names.end());
  refuse("found " + quote(text) + ", expected one of " + listed(names) + ", or constants such as " +
         kExample + suggestion(text, names));
}

Fit fit_of_law(const Law& law) {
  constexpr const char* kNoRuns = "a law, not a fit of runs";
  Fit fit;
  fit.source = law.source;
  fit.envelope.refused = fit.isoflop.refused = kNoRuns;
  fit.variable_projection.refused = fit.variable_projection_robust.refused = kNoRuns;
  if (law.optimum) {
    fit.isoflop.refused.clear();
    fit.parametric.refused = "of " + law.name + " the optimum is known, not the surface";
    fit.isoflop.laws = with_intervals(*law.optimum, {}, 0);
    return fit;
  }
  const ParametricFit::Surface& s = law.surface;
  ParametricFit& parametric = fit.parametric;
  parametric.E.value = s.E;
  parametric.A.value = s.A;
  parametric.B.value = s.B;
  parametric.alpha.value = s.alpha;
  parametric.beta.value = s.beta;
  parametric.a.value = s.beta / (s.alpha + s.beta);
  parametric.b.value = s.alpha / (s.alpha + s.beta);
  parametric.G.value = std::pow(s.alpha * s.A / (s.beta * s.B), 1 / (s.alpha + s.beta));
  return fit;
}

}  // namespace minichilla
