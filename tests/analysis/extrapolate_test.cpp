// One run extrapolated from the early part of its curve: its loss at the end, the error that is stated, and
// what is refused.
#include "sweeps/analysis/extrapolate.h"

#include <gmock/gmock.h>

#include <cmath>

#include "kernels/error.h"
#include "tests/analysis/published_tables.h"
#include "tests/analysis/simulated_sweep.h"
#include "tests/temporary_folder.h"

namespace minichilla::extrapolate_test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

/// The curve up to a share of its tokens.
Curve beginning_of(const Curve& whole, double share) {
  Curve curve = whole;
  std::erase_if(curve.points,
                [&](const CurvePoint& point) { return point.D > share * whole.points.back().D * 1.001; });
  return curve;
}

RunTable without(const RunTable& table, const std::string& run) {
  RunTable rest = table;
  std::erase_if(rest.runs, [&](const Observation& one) { return one.run == run; });
  std::erase_if(rest.curves, [&](const Curve& one) { return one.run == run; });
  return rest;
}

/// Each evaluation with an error of its own, beside what shifts a whole run.
void shake(RunTable& table, double noise, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  for (std::size_t i = 0; i < table.curves.size(); ++i) {
    for (CurvePoint& point : table.curves[i].points) point.loss *= std::exp(noise * normal(random));
    table.runs[i].loss = table.curves[i].points.back().loss;
  }
}

TEST(Extrapolate, FindsTheEndOfARunWithoutNoise) {
  const RunTable table = simulated_sweep({}, 1);
  for (const std::size_t i : {2, 9, 13}) {
    const Curve& whole = table.curves[i];
    const double end = whole.points.back().D;
    for (const double share : {0.2, 0.5, 0.8}) {
      const Extrapolation found = extrapolate(table, beginning_of(whole, share), end, {});
      ASSERT_EQ(found.ends.size(), 1u);
      EXPECT_NEAR(found.share, share, 1e-9);
      EXPECT_EQ(found.finished, 23) << "the run itself teaches nothing";
      EXPECT_NEAR(found.ends[0].loss.value / whole.points.back().loss, 1, share < 0.5 ? 0.005 : 0.002)
          << whole.run << " " << share;
      EXPECT_GT(found.ends[0].checked, 15);
      EXPECT_LT(found.ends[0].error, 0.005);
      EXPECT_GE(found.ends[0].worst, found.ends[0].error);
    }
  }
}

TEST(Extrapolate, OwnLossesCountNotOnlyWhatOthersReached) {
  // A run on better text: 10 % lower everywhere.
  RunTable table = simulated_sweep({}, 1);
  Curve better = table.curves[8];
  for (CurvePoint& point : better.points) point.loss *= 0.9;
  const Extrapolation found = extrapolate(table, beginning_of(better, 0.5), better.points.back().D, {});
  EXPECT_NEAR(found.ends[0].loss.value / better.points.back().loss, 1, 0.003);
}

TEST(Extrapolate, ALongerScheduleIsAnotherRunOfThatLength) {
  const SweepDesign design;
  const RunTable table = simulated_sweep(design, 1);
  int pairs = 0;
  for (const Curve& from : table.curves) {
    for (const Curve& to : table.curves) {
      const double end = from.points.back().D, longer = to.points.back().D;
      if (to.N != from.N || longer < 2 * end || from.run == to.run) continue;
      const double lengths[] = {longer};
      const Extrapolation found = extrapolate(without(table, to.run), beginning_of(from, 0.5), end, lengths);
      ASSERT_EQ(found.ends.size(), 2u);
      EXPECT_EQ(found.ends[1].refused, "");
      EXPECT_EQ(found.ends[1].D, longer);
      EXPECT_LT(found.ends[1].loss.value, found.ends[0].loss.value);
      EXPECT_NEAR(found.ends[1].loss.value / to.points.back().loss, 1, 0.01) << from.run << " " << to.run;
      EXPECT_GT(found.ends[1].checked, 3);
      if (++pairs == 3) return;
    }
  }
  FAIL() << "the design has no sizes in several budgets";
}

TEST(Extrapolate, StatedIntervalsCover) {
  constexpr int kSweeps = 150;
  int covered80 = 0, covered95 = 0;
  double stated = 0, made = 0;
  for (int i = 0; i < kSweeps; ++i) {
    SweepDesign design;
    design.noise = 0.005;
    RunTable table = simulated_sweep(design, 500 + static_cast<std::uint64_t>(i));
    shake(table, 0.004, 900 + static_cast<std::uint64_t>(i));
    const Curve& whole = table.curves[static_cast<std::size_t>(i) % table.curves.size()];
    const double truth = whole.points.back().loss;
    const Extrapolation found = extrapolate(table, beginning_of(whole, 0.4), whole.points.back().D, {});
    ASSERT_TRUE(found.ends[0].loss.interval);
    const Interval80And95& interval = *found.ends[0].loss.interval;
    covered80 += interval.low80 <= truth && truth <= interval.high80;
    covered95 += interval.low95 <= truth && truth <= interval.high95;
    stated += found.ends[0].error * found.ends[0].error / kSweeps;
    made += std::pow(found.ends[0].loss.value / truth - 1, 2) / kSweeps;
  }
  std::printf("80 %% covers %d of %d, 95 %% %d; stated error %.3f %%, made %.3f %%\n", covered80, kSweeps,
              covered95, 100 * std::sqrt(stated), 100 * std::sqrt(made));
  EXPECT_GE(covered80, 0.70 * kSweeps);
  EXPECT_LE(covered80, 0.90 * kSweeps);
  EXPECT_GE(covered95, 0.89 * kSweeps);
  EXPECT_NEAR(std::sqrt(stated / made), 1, 0.25);
}

TEST(Extrapolate, HoldsRunsOutAsTheQuestionAsks) {
  SweepDesign design;
  design.unfinished = 0.1;
  const RunTable table = simulated_sweep(design, 1);
  const Curve& whole = table.curves[8];
  const double end = whole.points.back().D;
  const Extrapolation inside = extrapolate(table, beginning_of(whole, 0.5), end, {});
  EXPECT_THAT(inside.notes, IsEmpty());

  Curve other_size = beginning_of(whole, 0.5);
  other_size.N *= 1.3;
  EXPECT_THAT(extrapolate(table, other_size, end, {}).notes,
              Contains(HasSubstr("no finished run has this size")));

  // The same curve of a run of ten times the tokens: only runs that have smaller ones below them can be
  // tested.
  Curve larger = whole;
  larger.N = table.curves.back().N;
  for (CurvePoint& point : larger.points) point.D *= 1000;
  const Extrapolation beyond = extrapolate(table, beginning_of(larger, 0.5), 1000 * end, {});
  EXPECT_THAT(beyond.notes, Contains(HasSubstr("more compute than any finished one")));
  EXPECT_LT(beyond.ends[0].checked, inside.ends[0].checked);
  EXPECT_GT(beyond.ends[0].checked, 0);
}

TEST(Extrapolate, WithFewRunsNothingIsChecked) {
  RunTable table = simulated_sweep({}, 1);
  table.runs.resize(6);
  table.curves.resize(6);
  const Curve whole = table.curves[0];
  const double lengths[] = {4 * whole.points.back().D};
  const Extrapolation found = extrapolate(table, beginning_of(whole, 0.5), whole.points.back().D, lengths);
  EXPECT_EQ(found.finished, 5);
  EXPECT_EQ(found.ends[0].checked, 0) << "of five, four are left to learn from";
  EXPECT_FALSE(found.ends[0].loss.interval);
  EXPECT_THAT(found.ends[1].refused, HasSubstr("runs")) << "no surface through five runs";
}

TEST(Extrapolate, RefusesInOneLine) {
  RunTable table = simulated_sweep({}, 1);
  const Curve whole = table.curves[8];
  const double end = whole.points.back().D;
  EXPECT_THAT(message_of<InputError>([&] { extrapolate(table, whole, end, {}); }),
              AllOf(HasSubstr("run8: found a curve up to"), HasSubstr("expected the early part of a run")));
  Curve late = beginning_of(whole, 0.5);
  late.points.erase(late.points.begin(), late.points.end() - 2);
  EXPECT_THAT(message_of<InputError>([&] { extrapolate(table, late, end, {}); }),
              HasSubstr("expected one that reaches back to half of its last point"));
  EXPECT_THAT(message_of<InputError>([&] {
                extrapolate(table, {"none", 1e4, {}}, end, {});
              }),
              HasSubstr("none: found a curve up to 0 of"));
  table.curves.resize(4);
  EXPECT_EQ(message_of<InputError>([&] { extrapolate(table, beginning_of(whole, 0.5), end, {}); }),
            "simulation: found 4 finished runs with a curve from half of this share of their tokens on, "
            "expected at "
            "least 5");
}

/// Root of the mean square of the relative errors at the ends of all runs of a table, each looked at from
/// `share` of its tokens.
double error_of_table(const RunTable& table, double share) {
  double sum = 0;
  for (const Curve& whole : table.curves) {
    const Extrapolation found = extrapolate(table, beginning_of(whole, share), whole.points.back().D, {});
    sum += std::pow(found.ends[0].loss.value / whole.points.back().loss - 1, 2);
  }
  return std::sqrt(sum / static_cast<double>(table.curves.size()));
}

TEST_F(PublishedTables, CurvesAreExtrapolated) {
  const double gemstones = error_of_table(read("gemstones_hot_curves.csv"), 0.3);
  const double synthetic = error_of_table(read("synth_curves.csv"), 0.3);
  std::printf("  from 30 %% of the tokens: gemstones_hot_curves off by %.2f %%, synth_curves by %.2f %%\n",
              100 * gemstones, 100 * synthetic);
  EXPECT_LT(gemstones, 0.01);
  EXPECT_LT(synthetic, 0.005);
}

}  // namespace
}  // namespace minichilla::extrapolate_test
