#include "sweeps/fit_table.h"

#include <gmock/gmock.h>

#include "tests/analysis/simulated_sweep.h"

namespace minichilla::fit_table_test {
namespace {

using testing::HasSubstr;

TEST(FitTable, TellsExponentsMinimaPredictionsAndTheAnswer) {
  SweepDesign design;
  design.noise = 0.003;
  FitOptions options;
  options.bootstrap = 20;
  RunTable table = simulated_sweep(design, 1);
  table.notes = {"run x was left out: it diverged"};
  const Fit fit = fit_all(table, options);
  const std::string text = fit_table(fit);
  for (const char* part : {"24 runs, 100G to 3.16T FLOPs", "1 envelope of curves", "2 IsoFLOP minima",
                           "3 surface L(N, D)", "a 0.46, b 0.54", "alpha", "IsoFLOP minima",
                           "ten times the largest budget", "run x was left out: it diverged"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_TRUE(text.ends_with(fit.answer + "\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("nan")));
}

TEST(FitTable, TellsWhyNothingCouldBeFitted) {
  RunTable table = simulated_sweep(SweepDesign{}, 1);
  table.runs.resize(3);
  table.curves.clear();
  const std::string text = fit_table(fit_all(table, {}));
  EXPECT_THAT(text, HasSubstr("approach 1: refused: no training curves"));
  EXPECT_THAT(text, HasSubstr("approach 3: refused: 3 runs"));
  EXPECT_THAT(text, HasSubstr("refused: 3 model sizes, a parabola needs at least 4"));
  EXPECT_THAT(text, HasSubstr("No approach gives an estimate"));
}

TEST(FitTable, ShowsGivenSizesWithoutIntervals) {
  const std::vector<Optimum> optima = {{"isoflop",
                                        1e15,
                                        {1e6, {}},
                                        {2e8, Interval80And95{1e8, 3e8, 5e7, 4e8}},
                                        {},
                                        Interval80And95{5e14, 2e15, 1e14, 3e15}}};
  const std::string text = optimum_table(optima);
  EXPECT_THAT(text, HasSubstr("1M"));
  EXPECT_THAT(text, HasSubstr("[100M, 300M]"));
  EXPECT_THAT(text, HasSubstr("200"));
}

}  // namespace
}  // namespace minichilla::fit_table_test
