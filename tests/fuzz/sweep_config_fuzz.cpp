// The YAML config of a sweep, and the grid that it stands for.
#include "model/sizes.h"
#include "sweeps/grid.h"
#include "tests/fuzz/fuzz.h"

namespace minichilla {
namespace {

constexpr int kVocabulary = 257;
constexpr double kSmallGrid = 200;  ///< runs: larger ones cost time and show nothing new

SweepConfig read(const std::string& text) {
  return read_sweep_config(parse_yaml(text, "sweep.yaml"), "sweep.yaml");
}

/// An upper bound of the runs, for lists that are not empty.
double most_runs(const GridConfig& sweep) {
  const auto size = [](const auto& list) { return static_cast<double>(list.size() + 1); };
  double runs = size(parse_sizes(sweep.sizes)) * size(sweep.budgets) * size(sweep.seeds) * size(sweep.runs) *
                (size(sweep.tokens) + size(sweep.tokens_per_param));
  for (const AxisConfig& axis : sweep.axes) runs *= size(axis.values);
  return runs;
}

}  // namespace

void fuzz_one(std::string_view input) {
  SweepConfig config;
  if (!fuzz::accepts([&] { config = read(std::string(input)); })) return;
  const std::string written = yaml_text(write_config(config));
  fuzz::expect(yaml_text(write_config(read(written))) == written, "a sweep's config reads back as itself",
               written);
  if (most_runs(config.sweep) > kSmallGrid) return;
  fuzz::accepts([&] {
    for (const std::string& note : expand(config, kVocabulary).notes) fuzz::expect_one_line(note);
  });
}

}  // namespace minichilla
