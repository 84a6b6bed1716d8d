#include "sweeps/analysis/compare.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "sweeps/analysis/bootstrap.h"
#include "sweeps/analysis/surface_sample.h"

namespace minichilla {
namespace {

/// Pairs of resamples of the two fits are independent draws of their difference.
Estimate change_of(const Estimate& first, const Estimate& second, const std::vector<double>& first_samples,
                   const std::vector<double>& second_samples) {
  Estimate change{second.value - first.value, std::nullopt};
  const std::size_t count = std::min(first_samples.size(), second_samples.size());
  if (!first.interval || !second.interval) return change;
  std::vector<double> samples(count);
  for (std::size_t i = 0; i < count; ++i) samples[i] = second_samples[i] - first_samples[i];
  change.interval = interval_of(std::move(samples), static_cast<int>(count));
  return change;
}

template <class Resample, class Value>
std::vector<double> samples_of(const std::vector<Resample>& resamples, Value&& value) {
  std::vector<double> samples;
  for (const Resample& one : resamples) samples.push_back(value(one));
  return samples;
}

void compare_laws(const std::string& approach, const PowerLaws& first, const PowerLaws& second,
                  std::vector<Difference>& differences) {
  const auto add = [&](const char* name, Estimate PowerLaws::*estimate, double PowerLaws::Resample::*member) {
    const auto value = [member](const PowerLaws::Resample& one) { return one.*member; };
    differences.push_back({approach, name, first.*estimate, second.*estimate,
                           change_of(first.*estimate, second.*estimate, samples_of(first.resamples, value),
                                     samples_of(second.resamples, value))});
  };
  add("a", &PowerLaws::a, &PowerLaws::Resample::a);
  add("b", &PowerLaws::b, &PowerLaws::Resample::b);
}

void compare_surfaces(const std::string& approach, const ParametricFit& first, const ParametricFit& second,
                      std::vector<Difference>& differences) {
  const auto add = [&](const char* name, Estimate ParametricFit::*estimate, auto&& value) {
    differences.push_back({approach, name, first.*estimate, second.*estimate,
                           change_of(first.*estimate, second.*estimate, samples_of(first.resamples, value),
                                     samples_of(second.resamples, value))});
  };
  add("E", &ParametricFit::E, [](const Surface& s) { return s.E; });
  add("A", &ParametricFit::A, [](const Surface& s) { return s.A; });
  add("B", &ParametricFit::B, [](const Surface& s) { return s.B; });
  add("alpha", &ParametricFit::alpha, [](const Surface& s) { return s.alpha; });
  add("beta", &ParametricFit::beta, [](const Surface& s) { return s.beta; });
  add("a", &ParametricFit::a, a_of);
}

nlohmann::json json_of_estimate(const Estimate& estimate) {
  nlohmann::json out = {{"value", estimate.value}};
  if (estimate.interval) {
    out["ci80"] = {estimate.interval->low80, estimate.interval->high80};
    out["ci95"] = {estimate.interval->low95, estimate.interval->high95};
  }
  return out;
}

}  // namespace

std::optional<bool> Difference::differs() const {
  if (!change.interval) return std::nullopt;
  return change.interval->low95 > 0 || change.interval->high95 < 0;
}

std::vector<Difference> compare_fits(const Fit& first, const Fit& second) {
  std::vector<Difference> differences;
  if (first.envelope.refused.empty() && second.envelope.refused.empty())
    compare_laws("envelope", first.envelope.laws, second.envelope.laws, differences);
  if (first.isoflop.refused.empty() && second.isoflop.refused.empty())
    compare_laws("isoflop", first.isoflop.laws, second.isoflop.laws, differences);
  const auto surfaces = [&](const char* name, const ParametricFit& left, const ParametricFit& right) {
    if (left.refused.empty() && right.refused.empty()) compare_surfaces(name, left, right, differences);
  };
  surfaces("parametric", first.parametric, second.parametric);
  surfaces("variable_projection", first.variable_projection, second.variable_projection);
  surfaces("variable_projection_robust", first.variable_projection_robust, second.variable_projection_robust);
  return differences;
}

nlohmann::json to_json(const std::vector<Difference>& differences) {
  nlohmann::json out = nlohmann::json::array();
  for (const Difference& one : differences) {
    const std::optional<bool> differs = one.differs();
    out.push_back({{"approach", one.approach},
                   {"constant", one.constant},
                   {"first", json_of_estimate(one.first)},
                   {"second", json_of_estimate(one.second)},
                   {"change", json_of_estimate(one.change)},
                   {"differs", differs ? nlohmann::json(*differs) : nlohmann::json(nullptr)}});
  }
  return out;
}

}  // namespace minichilla
