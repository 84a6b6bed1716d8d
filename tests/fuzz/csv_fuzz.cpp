// A CSV table of runs.
#include <algorithm>

#include "sweeps/analysis/run_table.h"
#include "tests/fuzz/fuzz.h"

namespace minichilla {
namespace {

bool same(const Observation& a, const Observation& b) {
  return a.N == b.N && a.D == b.D && a.C == b.C && a.loss == b.loss && a.budget == b.budget &&
         a.run == b.run && a.seed == b.seed;
}

}  // namespace

void fuzz_one(std::string_view input) {
  RunTable table;
  if (!fuzz::accepts([&] { table = parse_csv_table(std::string(input), "runs.csv"); })) return;
  if (table.runs.empty()) return;  // a table of runs to target losses
  const std::string written = runs_csv(table);
  const RunTable again = parse_csv_table(written, "written.csv");
  fuzz::expect(std::equal(table.runs.begin(), table.runs.end(), again.runs.begin(), again.runs.end(),
                          static_cast<bool (*)(const Observation&, const Observation&)>(same)),
               "runs read back as they were", written);
  if (!table.curves.empty()) {
    const RunTable curves = parse_csv_table(curves_csv(table), "written.csv");
    fuzz::expect(curves.curves.size() == table.curves.size(), "curves read back", written);
  }
}

}  // namespace minichilla
