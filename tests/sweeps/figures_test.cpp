#include "sweeps/figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "kernels/error.h"
#include "sweeps/figure_script.h"
#include "sweeps/gnuplot.h"
#include "tests/sweeps/report_fixture.h"
#include "tests/temporary_folder.h"
#include "trainer/files.h"

namespace minichilla::figures_test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

/// Changes PATH for one test.
class PathVariable {
 public:
  explicit PathVariable(const std::string& value) : old_(std::getenv("PATH")) {
    setenv("PATH", value.c_str(), 1);
  }
  ~PathVariable() { setenv("PATH", old_.c_str(), 1); }

 private:
  std::string old_;
};

/// Draws and expects that gnuplot had nothing to complain about.
std::vector<DrawnFigure> drawn(const std::vector<Figure>& figures, const TemporaryFolder& folder) {
  std::vector<DrawnFigure> results = draw_figures(figures, folder.path());
  for (const DrawnFigure& figure : results) EXPECT_THAT(figure.said, IsEmpty()) << figure.figure.name;
  return results;
}

std::vector<DrawnFigure> drawn(const RunTable& table, const Fit& fit, const TemporaryFolder& folder) {
  return drawn(make_figures({table, fit}), folder);
}

const DrawnFigure& named(const std::vector<DrawnFigure>& figures, const std::string& name) {
  return *std::find_if(figures.begin(), figures.end(),
                       [&](const DrawnFigure& drawn) { return drawn.figure.name == name; });
}

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(GnuplotQuoted, KeepsTextInsideItsString) {
  EXPECT_EQ(gnuplot_quoted("plain"), "'plain'");
  EXPECT_EQ(gnuplot_quoted("it's"), "'it''s'");
  EXPECT_EQ(gnuplot_quoted("a_b^{c}"), "'a\\_b\\^\\{c\\}'");
  EXPECT_EQ(gnuplot_quoted("a\nb\\"), "'a b\\\\'");
}

TEST(GnuplotQuoted, EvilTextIsDrawnAndNotRun) {
  const TemporaryFolder folder;
  RunTable table = synthetic_table(synthetic_budgets());
  table.loss_unit = "x'; system('touch pwned') #`touch pwned`\n system('touch pwned')_{<&}@";
  const Fit fit = fit_all(table, quick_options());
  const auto figures = drawn({isoflop_figure({table, fit})}, folder);
  EXPECT_FALSE(fs::exists(folder / "pwned"));
  EXPECT_THAT(figures[0].svg, HasSubstr("system('touch pwned') #`touch pwned`"));
  EXPECT_THAT(figures[0].svg, HasSubstr("_{&lt;&amp;}@"));
}

TEST(GnuplotPower, WritesThreeDigits) {
  EXPECT_EQ(gnuplot_power(1e11), "10^{11}");
  EXPECT_EQ(gnuplot_power(3e11), "3×10^{11}");
  EXPECT_EQ(gnuplot_power(2.345e15), "2.35×10^{15}");
  EXPECT_EQ(gnuplot_power(9.9999e11), "10^{12}");
  EXPECT_EQ(gnuplot_power(20), "20");
  EXPECT_EQ(gnuplot_power(0.002), "2×10^{-3}");
}

TEST(NiceStep, IsTheSmallestRoundNumberThatIsEnough) {
  EXPECT_DOUBLE_EQ(nice_step(0.03), 0.05);
  EXPECT_DOUBLE_EQ(nice_step(0.1), 0.1);
  EXPECT_DOUBLE_EQ(nice_step(1.1), 2);
  EXPECT_DOUBLE_EQ(nice_step(7), 10);
  EXPECT_EQ(decimals_of_step(0.05), 2);
  EXPECT_EQ(decimals_of_step(0.2), 1);
  EXPECT_EQ(decimals_of_step(5), 0);
}

TEST(RangeFinder, SkipsWhatCannotBeDrawn) {
  RangeFinder range(true);
  for (const double value : {std::nan(""), 0.0, -1.0, HUGE_VAL}) range.add(value);
  EXPECT_TRUE(range.empty());
  range.add(10);
  EXPECT_LT(range.padded(0).low, 10);
  EXPECT_GT(range.padded(0).high, 10);
  range.add(1000);
  EXPECT_DOUBLE_EQ(range.padded(0).low, 10);
  EXPECT_DOUBLE_EQ(range.padded(0).high, 1000);
}

TEST(FigureScript, LogAxisLabelsPowersOfTen) {
  FigureScript figure("test");
  figure.log_axis('x', "C", {5e10, 2e15});
  EXPECT_THAT(figure.script(),
              AllOf(HasSubstr("'10^{11}' 1e+11 0"), HasSubstr("'' 2e+11 1"), Not(HasSubstr("2×10"))));
  FigureScript narrow("test");
  narrow.log_axis('y', "N", {5e3, 9e4});
  EXPECT_THAT(narrow.script(), AllOf(HasSubstr("'10^{4}' 10000 0"), HasSubstr("'2×10^{4}' 20000 0")));
}

TEST(RankColour, EveryRankHasItsOwn) {
  std::vector<std::string> colours;
  for (std::size_t i = 0; i < 8; ++i) colours.push_back(rank_colour(i, 8));
  EXPECT_EQ(colours[0], "#440154");
  std::sort(colours.begin(), colours.end());
  EXPECT_EQ(std::unique(colours.begin(), colours.end()), colours.end());
}

TEST(Figures, AllAreDrawnTwice) {
  const TemporaryFolder folder;
  const RunTable table = synthetic_table(synthetic_budgets());
  const auto figures = drawn(table, fit_all(table, quick_options()), folder);
  ASSERT_EQ(figures.size(), 9u);
  for (const DrawnFigure& figure : figures) {
    EXPECT_EQ(figure.files.size(), 4u) << figure.figure.name;
    EXPECT_THAT(figure.svg, HasSubstr("</svg>"));
    const std::string png = read_file(folder / (figure.figure.name + ".png"));
    EXPECT_THAT(png, StartsWith("\x89PNG\r\n\x1a\n"));
    EXPECT_GT(png.size(), 10000u);
    EXPECT_EQ(png.substr(18, 2), std::string("\x07\x08")) << "1800 pixels wide";
  }
}

TEST(Figures, ScriptDrawsAgainWhereItLies) {
  const TemporaryFolder folder;
  const RunTable table = synthetic_table(synthetic_budgets());
  const Fit fit = fit_all(table, quick_options());
  const auto figures = drawn({curves_figure({table, fit})}, folder);
  fs::remove(folder / "curves.svg");
  fs::remove(folder / "curves.png");
  EXPECT_THAT(run_gnuplot(find_gnuplot(), folder.path(), "curves.gp"), IsEmpty());
  EXPECT_EQ(read_file(folder / "curves.svg"), figures[0].svg);
  EXPECT_TRUE(fs::exists(folder / "curves.png"));
}

TEST(Figures, RunsFarAboveTheParabolasAreCountedNotShown) {
  RunTable table = synthetic_table(synthetic_budgets());
  Observation far = table.runs[0];
  far.N *= 1e3;  // outside the window of its budget's parabola
  far.D /= 1e3;
  far.loss = 9;
  far.run = "far";
  table.runs.push_back(far);
  const Fit fit = fit_all(table, quick_options());
  ASSERT_LT(fit.isoflop.profiles[0].largest_N, far.N);
  const Figure figure = isoflop_figure({table, fit});
  EXPECT_THAT(figure.caption, HasSubstr("Above the figure: 1 run of higher loss."));
}

TEST(Figures, IsoflopShowsEveryRunAndEveryMinimum) {
  const RunTable table = synthetic_table(synthetic_budgets());
  const Fit fit = fit_all(table, quick_options());
  const Figure figure = isoflop_figure({table, fit});
  EXPECT_EQ(count_of(figure.data, "# minimum of budget"), 4);
  EXPECT_EQ(count_of(figure.data, "# curve of budget"), 4);
  for (const Observation& run : table.runs) {
    char row[64];
    std::snprintf(row, sizeof row, "\n%.10g %.10g\n", run.N, run.loss);
    EXPECT_THAT(figure.data, HasSubstr(row));
  }
  EXPECT_THAT(figure.script, HasSubstr("title '3×10^{11}'"));
}

TEST(Figures, RefusedProfileHasNoMinimumAndSaysSo) {
  const TemporaryFolder folder;
  const RunTable table = synthetic_table(synthetic_budgets());
  Fit fit = fit_all(table, quick_options());
  fit.isoflop.profiles[3].used = false;
  fit.isoflop.profiles[3].reason = "the loss still falls at the largest size";
  const auto figures = drawn({isoflop_figure({table, fit})}, folder);
  EXPECT_EQ(count_of(figures[0].figure.data, "# minimum of budget"), 3);
  EXPECT_THAT(figures[0].figure.script, HasSubstr("title '3×10^{12} (refused)'"));
  EXPECT_THAT(figures[0].figure.caption, HasSubstr("refused"));
}

TEST(Figures, RefusedApproachesAreNamedNotDrawn) {
  const TemporaryFolder folder;
  const RunTable table = synthetic_table(synthetic_budgets());
  Fit fit = fit_all(table, quick_options());
  fit.parametric = {};
  fit.parametric.refused = "the loss does not depend on D";
  fit.isoflop = {};
  fit.isoflop.refused = "no budget has five sizes";
  fit.envelope = {};
  fit.envelope.refused = "one model wins everywhere";
  const auto figures = drawn(table, fit, folder);
  EXPECT_THAT(figures[0].figure.missing, HasSubstr("no budget has five sizes"));
  EXPECT_TRUE(figures[0].svg.empty());
  EXPECT_THAT(figures[2].figure.caption, HasSubstr("the loss does not depend on D"));
  EXPECT_THAT(figures[2].figure.data, Not(HasSubstr("contour")));
  const DrawnFigure& params = named(figures, "params");
  EXPECT_THAT(params.figure.caption, AllOf(HasSubstr("one model wins everywhere"), HasSubstr("five sizes")));
  EXPECT_THAT(params.figure.script, HasSubstr("no estimate"));
  EXPECT_FALSE(params.svg.empty()) << "Hoffmann et al.'s line remains";
}

TEST(Figures, OneBudget) {
  const TemporaryFolder folder;
  const RunTable table = synthetic_table({1e12});
  for (const DrawnFigure& figure : drawn(table, fit_all(table, quick_options()), folder)) {
    const std::string& name = figure.figure.name;
    const bool of_a_surface = name == "residuals" || name == "cloud" || name == "profile";
    EXPECT_EQ(figure.svg.empty(), of_a_surface) << name;
    if (of_a_surface) {
      EXPECT_THAT(figure.figure.missing, HasSubstr("No surface L(N, D) was fitted: 6 runs"));
    }
  }
}

TEST(Figures, OneRunWithoutBudget) {
  const TemporaryFolder folder;
  RunTable table = synthetic_table({1e12});
  table.runs.resize(1);
  table.curves.resize(1);
  table.runs[0].budget = 0;
  const auto figures = drawn(table, fit_all(table, quick_options()), folder);
  EXPECT_THAT(figures[0].figure.missing, Not(IsEmpty()));
  EXPECT_FALSE(figures[2].svg.empty());
  EXPECT_FALSE(named(figures, "curves").svg.empty());
}

TEST(Figures, WithoutCurvesTwoAreMissing) {
  const TemporaryFolder folder;
  RunTable table = synthetic_table(synthetic_budgets());
  table.curves.clear();
  const auto figures = drawn(table, fit_all(table, quick_options()), folder);
  for (const char* name : {"envelope", "curves"}) {
    EXPECT_THAT(named(figures, name).figure.missing, HasSubstr("no training curves"));
    EXPECT_THAT(named(figures, name).files, IsEmpty());
  }
  EXPECT_EQ(named(figures, "params").files.size(), 4u);
}

TEST(Figures, ResidualsAreThoseOfTheSurface) {
  const RunTable table = synthetic_table(synthetic_budgets());
  const Fit fit = fit_all(table, quick_options());
  const Figure figure = residuals_figure({table, fit});
  EXPECT_EQ(figure.missing, "");
  double sum = 0;
  for (const Observation& run : table.runs) {
    const double percent = 100 * std::log(run.loss / fit.parametric.surface().loss(run.N, run.D));
    if (run.budget == 1e11) sum += percent / 6;
    char row[96];
    std::snprintf(row, sizeof row, "\n%.10g %.10g %.10g\n", run.C, percent, run.N);
    EXPECT_THAT(figure.data, HasSubstr(row));
  }
  char mean[64];
  std::snprintf(mean, sizeof mean, "\n%.10g %.4g", 1e11, sum);
  EXPECT_THAT(figure.data.substr(figure.data.find("# means")), HasSubstr(mean));
  EXPECT_THAT(figure.caption, Not(HasSubstr("Outside")));
  RunTable failed = table;
  failed.runs[7].loss = 30;
  EXPECT_THAT(residuals_figure({failed, fit}).caption, HasSubstr("Outside the figure: 1 run."));
}

TEST(Figures, TheCloudHasEveryResampleAndThePublishedLaws) {
  const RunTable table = synthetic_table(synthetic_budgets());
  Fit fit = fit_all(table, quick_options());
  for (std::size_t i = 0; i < fit.parametric.resamples.size(); ++i) {
    fit.parametric.resamples[i].alpha = 0.3 + 0.02 * static_cast<double>(i);
    fit.parametric.resamples[i].beta = 0.5 - 0.02 * static_cast<double>(i);
  }
  const Figure figure = cloud_figure({table, fit});
  for (const auto& resample : fit.parametric.resamples) {
    char row[64];
    std::snprintf(row, sizeof row, "\n%.10g %.10g\n", resample.alpha, resample.beta);
    EXPECT_THAT(figure.data, HasSubstr(row));
  }
  EXPECT_EQ(count_of(figure.data, "# resamples by"), 3);
  EXPECT_THAT(figure.script, AllOf(HasSubstr("'a = 0.50'"), HasSubstr("title 'Besiroglu et al. 2024'")));
  // A cloud far from the published exponents is not pressed together for their sake.
  for (ParametricFit* surface :
       {&fit.parametric, &fit.variable_projection, &fit.variable_projection_robust}) {
    surface->alpha.value = surface->beta.value = 2;
    for (std::size_t i = 0; i < surface->resamples.size(); ++i) {
      surface->resamples[i].alpha = surface->resamples[i].beta = 2 + 0.001 * static_cast<double>(i);
    }
  }
  const Figure far = cloud_figure({table, fit});
  EXPECT_THAT(far.caption, HasSubstr("Outside the figure: Hoffmann et al. 2022 (0.339, 0.285), Besiroglu"));
  EXPECT_THAT(far.script, Not(HasSubstr("Besiroglu")));
  FitOptions plain = quick_options();
  plain.bootstrap = 0;
  const Fit without = fit_all(table, plain);
  EXPECT_EQ(cloud_figure({table, without}).missing, "The fit has no bootstrap.");
  EXPECT_THAT(profile_figure({table, without}).missing, HasSubstr("made without a bootstrap"));
}

TEST(Figures, TheProfileOfAMeetsItsIntervalAtTheDashedLines) {
  const RunTable table = synthetic_table(synthetic_budgets());
  const Fit fit = fit_all(table, quick_options());
  EXPECT_EQ(count_of(profile_figure({table, fit}).data, "# profile by"), 3);
  const ProfileCurve& curve = fit.parametric.profile_of_a;
  const Interval80And95& interval = fit.parametric.profile.at("a");
  for (const auto& [a, squared] : curve.points) {
    if (a > interval.low80 && a < interval.high80) {
      EXPECT_LE(squared, curve.at80) << a;
    }
    if (a < interval.low95 || a > interval.high95) {
      EXPECT_GE(squared, curve.at95) << a;
    }
  }
}

TEST(Figures, ALossThatIsNotFiniteIsSkipped) {
  const TemporaryFolder folder;
  RunTable table = synthetic_table(synthetic_budgets());
  const Fit fit = fit_all(table, quick_options());
  table.curves[3].points[5].loss = std::nan("");
  table.curves[4].points.back().loss = INFINITY;
  for (const DrawnFigure& drawing :
       drawn({envelope_figure({table, fit}), curves_figure({table, fit})}, folder)) {
    EXPECT_FALSE(drawing.svg.empty());
    EXPECT_THAT(drawing.figure.data, AllOf(HasSubstr("NaN"), Not(HasSubstr("inf"))));
    EXPECT_THAT(drawing.figure.script,
                AllOf(Not(HasSubstr("inf]")), Not(HasSubstr("NaN")), Not(HasSubstr("nan"))));
  }
}

TEST(Figures, ManyBudgetsShareOnePanelOfCurves) {
  const TemporaryFolder folder;
  std::vector<double> budgets;
  for (int i = 0; i < 14; ++i) budgets.push_back(1e11 * std::pow(2.0, i));
  const RunTable table = synthetic_table(budgets);
  Fit fit;
  fit.smallest_C = budgets.front();
  fit.largest_C = budgets.back();
  fit.isoflop.refused = fit.envelope.refused = fit.parametric.refused = "not fitted";
  const auto figures = drawn({curves_figure({table, fit})}, folder);
  EXPECT_EQ(count_of(figures[0].figure.script, "plot 'curves.dat'"), 1);
}

TEST(Figures, MissingGnuplotNamesThePackage) {
  const TemporaryFolder folder;
  const PathVariable path("");
  const std::string message = message_of<IoError>([&] { draw_figures({}, folder.path()); });
  EXPECT_THAT(message, AllOf(HasSubstr("gnuplot-nox"), Not(HasSubstr("\n"))));
}

TEST(Figures, FailureOfGnuplotLeavesOldFiguresAlone) {
  const TemporaryFolder folder, programs;
  const fs::path fake =
      programs.write("gnuplot", "#!/bin/sh\necho '\"a.gp\" line 3: bad terminal' >&2\nexit 1\n");
  chmod(fake.c_str(), 0755);
  folder.write("isoflop.svg", "old");
  const PathVariable path(programs.path().string());
  const Figure figure{"isoflop", "", "", "", "bad", ""};
  const std::string message = message_of<IoError>([&] { draw_figures({figure}, folder.path()); });
  EXPECT_THAT(message, HasSubstr("line 3: bad terminal"));
  EXPECT_EQ(read_file(folder / "isoflop.svg"), "old");
  EXPECT_FALSE(fs::exists(folder / "isoflop.gp"));
}

TEST(Figures, AFileInTheWayIsAnIoError) {
  const TemporaryFolder folder;
  const fs::path file = folder.write("figures", "");
  EXPECT_THAT(message_of<IoError>([&] { draw_figures({}, file); }), HasSubstr(file.string()));
}

TEST(InlineSvg, IsPartOfAPage) {
  const std::string svg =
      "<?xml version=\"1.0\"?>\n<!DOCTYPE svg>\n<svg width=\"9\" xmlns=\"http://www.w3.org/2000/svg\" "
      "xmlns:xlink=\"http://www.w3.org/1999/xlink\"><title>Gnuplot</title><g id=\"dot\"/><use "
      "xlink:href='#dot'/><rect fill=\"url(#dot)\"/></svg>\n";
  EXPECT_EQ(inline_svg(svg, "iso", "a \"b\""),
            "<svg role=\"img\" aria-label=\"a &quot;b&quot;\" width=\"9\"><g id=\"iso-dot\"/><use "
            "xlink:href='#iso-dot'/><rect fill=\"url(#iso-dot)\"/></svg>");
  EXPECT_THROW(inline_svg("nothing", "iso", ""), IoError);
}

}  // namespace
}  // namespace minichilla::figures_test
