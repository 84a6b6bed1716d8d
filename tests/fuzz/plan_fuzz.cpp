// plan.json of a sweep folder.
#include "sweeps/analysis/sweep_folder.h"
#include "tests/fuzz/fuzz.h"

namespace minichilla {

void fuzz_one(std::string_view input) {
  std::vector<PlannedRun> runs;
  fuzz::accepts([&] { runs = parse_plan(std::string(input), "plan.json"); });
  for (const PlannedRun& run : runs) {
    fuzz::expect(run.params >= 0 && run.params_non_embedding >= 0 && run.tokens >= 0,
                 "counts are not negative");
    const std::filesystem::path folder = run_folder("sweep", run.run_id);
    fuzz::expect(folder.lexically_normal().parent_path() == "sweep/runs", "runs lie in the sweep's folder",
                 folder.native());
  }
}

}  // namespace minichilla
