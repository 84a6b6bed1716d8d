// Published and synthetic tables with known answers, where the folder of tables exists.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/analysis/simulated_sweep.h"
#include "tests/temporary_folder.h"

namespace minichilla {
namespace {

const std::filesystem::path kTables = MINICHILLA_SOURCE_DIR "/../shared/scaling";

class PublishedTables : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kTables)) GTEST_SKIP() << "no folder of published tables at " << kTables;
  }
  static RunTable read(const std::string& name) { return read_csv_table(kTables / name); }

  static void expect_near(const char* what, double found, double expected, double tolerance) {
    std::printf("%s: found %.8g, expected %.8g\n", what, found, expected);
    EXPECT_NEAR(found, expected, tolerance) << what;
  }
};

FitOptions whole_parabola() {
  FitOptions options = without_bootstrap();
  options.isoflop_window = std::numeric_limits<double>::infinity();
  return options;
}

TEST_F(PublishedTables, EpochChinchillaApproach3) {
  RunTable table = read("epoch_chinchilla.csv");
  const Fit all = fit_all(table, without_bootstrap());
  EXPECT_LE(all.parametric.objective, 0.0018260105237725877 * (1 + 1e-6));
  std::sort(table.runs.begin(), table.runs.end(),
            [](const auto& l, const auto& r) { return l.loss < r.loss; });
  table.runs.resize(table.runs.size() - 5);
  const ParametricFit fit = fit_all(table, without_bootstrap()).parametric;
  EXPECT_EQ(fit.runs_used, 240);
  EXPECT_LE(fit.objective, 0.0010182740177038824 * (1 + 1e-6));
  expect_near("E", fit.E.value, 1.8172180976216696, 1e-5);
  expect_near("A", fit.A.value, 477.82587060962186, 0.05);
  expect_near("B", fit.B.value, 2143.4172961855475, 1);
  expect_near("alpha", fit.alpha.value, 0.34731049914878326, 1e-5);
  expect_near("beta", fit.beta.value, 0.3671724311296666, 1e-5);
  expect_near("a", fit.a.value, 0.5138995146973928, 1e-5);
}

TEST_F(PublishedTables, EpochChinchillaIntervals) {
  RunTable table = read("epoch_chinchilla.csv");
  std::sort(table.runs.begin(), table.runs.end(),
            [](const auto& l, const auto& r) { return l.loss < r.loss; });
  table.runs.resize(table.runs.size() - 5);
  FitOptions options;
  options.bootstrap = 400;
  const ParametricFit fit = fit_all(table, options).parametric;
  ASSERT_TRUE(fit.E.interval && fit.alpha.interval && fit.beta.interval && fit.a.interval);
  // Ends of the percentile intervals, within half a standard error of a reference of 1000 resamples.
  expect_near("E 10 %", fit.E.interval->low80, 1.7874728790535368, 0.0125);
  expect_near("E 90 %", fit.E.interval->high80, 1.8500841256353846, 0.0125);
  expect_near("alpha 10 %", fit.alpha.interval->low80, 0.32636580845122576, 0.0073);
  expect_near("alpha 90 %", fit.alpha.interval->high80, 0.36505957244381354, 0.0073);
  expect_near("beta 10 %", fit.beta.interval->low80, 0.34701459417490804, 0.0101);
  expect_near("beta 90 %", fit.beta.interval->high80, 0.3956121659086188, 0.0101);
  expect_near("a 10 %", fit.a.interval->low80, 0.4919553896606513, 0.0095);
  expect_near("a 90 %", fit.a.interval->high80, 0.5406837223661235, 0.0095);
}

TEST_F(PublishedTables, Llama3) {
  const RunTable table = read("llama3_isoflop.csv");
  const Fit fit = fit_all(table, whole_parabola());
  expect_near("b", fit.isoflop.laws.b.value, 0.5367791273925503, 0.001);
  expect_near("coefficient", fit.isoflop.laws.coefficient_tokens.value / 0.2993551407397902, 1, 0.02);
  const std::vector<Optimum> optima = predict(fit, 3.8e25);
  ASSERT_EQ(optima.at(0).approach, "isoflop");
  expect_near("tokens at 3.8e25", optima[0].D.value / 16102030259270.383, 1, 0.01);
  EXPECT_LE(fit.parametric.objective, 0.00039046784619205005 * (1 + 1e-6));
}

TEST_F(PublishedTables, MarinRefusesTheBudgetWithThreeSizes) {
  const Fit fit = fit_all(read("marin_nemotron_isoflop.csv"), whole_parabola());
  expect_near("a", fit.isoflop.laws.a.value, 0.42237348293327254, 0.001);
  ASSERT_EQ(fit.isoflop.profiles.size(), 8u);
  EXPECT_FALSE(fit.isoflop.profiles[0].used);
}

TEST_F(PublishedTables, PorianWithinThePublishedIntervals) {
  struct Published {
    const char* config;
    double low, high;
  };
  std::ifstream file(kTables / "porian_owt2_isoflop.csv");
  std::stringstream content;
  content << file.rdbuf();
  for (const Published& published :
       {Published{"1_reproducing_kaplan", 0.8186, 0.8974}, Published{"2_count_last_layer", 0.6644, 0.7245},
        Published{"3_correct_warmup", 0.5702, 0.6287}, Published{"4_cosine_decay", 0.5423, 0.6056},
        Published{"5_tuned_no_decay", 0.4931, 0.5414}}) {
    std::string rows = "budget,N,D,C,loss\n", line;
    std::istringstream lines(content.str());
    while (std::getline(lines, line)) {
      if (line.starts_with(published.config)) rows += line.substr(line.find(',') + 1) + "\n";
    }
    const TemporaryFolder folder;
    const Fit fit = fit_all(read_csv_table(folder.write("porian.csv", rows)), without_bootstrap());
    std::printf("%s: found %.3f, published %.3f to %.3f\n", published.config, fit.isoflop.laws.a.value,
                published.low, published.high);
    EXPECT_GT(fit.isoflop.laws.a.value, published.low - 0.01);
    EXPECT_LT(fit.isoflop.laws.a.value, published.high + 0.01);
  }
}

TEST_F(PublishedTables, SyntheticCleanSurfacesAreExact) {
  struct Truth {
    const char* name;
    ParametricFit::Surface surface;
    double isoflop_tolerance;
  };
  for (const Truth& truth :
       {Truth{"synth_symmetric_clean.csv", {1.8, 420, 420, 0.33, 0.33}, 1e-6},
        Truth{"synth_asymmetric_offcentre_clean.csv", {1.7, 20000, 95, 0.51, 0.19}, 0.002}}) {
    const Fit fit = fit_all(read(truth.name), without_bootstrap());
    expect_near(truth.name, fit.parametric.alpha.value, truth.surface.alpha, 1e-6);
    EXPECT_NEAR(fit.parametric.E.value, truth.surface.E, 1e-6);
    EXPECT_NEAR(fit.parametric.A.value / truth.surface.A, 1, 1e-6);
    EXPECT_NEAR(fit.parametric.B.value / truth.surface.B, 1, 1e-6);
    EXPECT_NEAR(fit.parametric.beta.value, truth.surface.beta, 1e-6);
    EXPECT_NEAR(fit.isoflop.laws.a.value, true_a(truth.surface), truth.isoflop_tolerance);
  }
  // A parabola over the whole width has the bias that others measured.
  const Fit biased = fit_all(read("synth_asymmetric_offcentre_clean.csv"), whole_parabola());
  expect_near("bias", biased.isoflop.laws.a.value - 0.27142857, -0.03684, 0.0005);
}

TEST_F(PublishedTables, SyntheticNoisyObjectivesReachTheReference) {
  struct Reference {
    const char* name;
    double objective, a;
  };
  for (const Reference& reference :
       {Reference{"synth_symmetric.csv", 0.00014982038375389265, 0.4995266457534701},
        Reference{"synth_asymmetric_offcentre.csv", 9.876942587667892e-05, 0.2728498965825397},
        Reference{"synth_outliers.csv", 0.00032510782468434505, 0.4987039198335185}}) {
    const Fit fit = fit_all(read(reference.name), without_bootstrap());
    EXPECT_LE(fit.parametric.objective, reference.objective * (1 + 1e-6)) << reference.name;
    expect_near(reference.name, fit.parametric.a.value, reference.a, 1e-5);
  }
}

TEST_F(PublishedTables, FlopsThatAreNot6NdReachThePredictions) {
  const Fit fit = fit_all(read("synth_flops_overhead.csv"), without_bootstrap());
  expect_near("a of approach 2", fit.isoflop.laws.a.value, 0.5048828, 0.01);
  expect_near("b of approach 2", fit.isoflop.laws.b.value, 0.5319136, 0.01);
  const double C = fit.largest_C;
  const std::vector<Optimum> optima = predict(fit, C);
  ASSERT_EQ(optima.size(), 2u);
  expect_near("N of approach 3 over that of approach 2", optima[1].N.value / optima[0].N.value, 1, 0.1);
  expect_near("D of approach 3 over that of approach 2", optima[1].D.value / optima[0].D.value, 1, 0.1);
}

TEST_F(PublishedTables, EnvelopeOfSyntheticCurvesWithoutTheirEdges) {
  const Fit fit = fit_all(read("synth_curves.csv"), without_bootstrap());
  expect_near("a of approach 1", fit.envelope.laws.a.value, 0.5142857, 0.015);
  expect_near("a of approach 3", fit.parametric.a.value, 0.5164002, 1e-4);
}

}  // namespace
}  // namespace minichilla
