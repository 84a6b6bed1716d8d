#include "sweeps/analysis/law_fit.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "sweeps/analysis/law_bootstrap.h"

namespace minichilla {

const Estimate& LawFit::at(const std::string& constant) const {
  for (const auto& [known, estimate] : constants) {
    if (known == constant) return estimate;
  }
  throw std::out_of_range("no constant " + constant + " in " + name);
}

void fill_law(const std::vector<std::string>& names, const ConstantsOf& constants_of, const DrawWeights& draw,
              std::size_t observations, const FitOptions& options, std::uint64_t stream,
              const std::string& undetermined, LawFit& fit) {
  const std::vector<double> values = constants_of(std::vector<double>(observations, 1.0));
  if (!std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); })) {
    fit.refused = undetermined;
    return;
  }
  std::vector<std::vector<double>> resamples(static_cast<std::size_t>(options.bootstrap));
  const auto work = [&](int index) {
    ResampleRandom random(options.seed, stream, static_cast<std::uint64_t>(index));
    resamples[static_cast<std::size_t>(index)] = constants_of(draw(random));
  };
  for_each_resample(options.bootstrap, options.threads, work, options.on_progress);
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::vector<double> samples;
    for (const std::vector<double>& resample : resamples) samples.push_back(resample[i]);
    fit.constants.emplace_back(names[i],
                               Estimate{values[i], interval_of(std::move(samples), options.bootstrap)});
  }
  fit.runs_used = static_cast<int>(observations);
}

DrawWeights draw_from(std::size_t observations) {
  return [observations](ResampleRandom& random) {
    std::vector<double> weight(observations);
    for (std::size_t i = 0; i < observations; ++i) ++weight[random.below(observations)];
    return weight;
  };
}

}  // namespace minichilla
