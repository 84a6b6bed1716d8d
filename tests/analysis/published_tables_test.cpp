// Published tables: what their authors, or an independent reference, found.
#include "tests/analysis/published_tables.h"

#include <array>
#include <cmath>

#include "sweeps/analysis/csv.h"
#include "sweeps/analysis/overtraining.h"
#include "sweeps/analysis/power_law.h"
#include "sweeps/analysis/repeated_data.h"
#include "trainer/files.h"

namespace minichilla::published_tables_test {
namespace {

using testing::HasSubstr;

RunTable without_highest(RunTable table, int count) {
  drop_highest_losses(table, count);
  return table;
}

TEST_F(PublishedTables, EpochChinchillaApproach3) {
  const RunTable table = read("epoch_chinchilla.csv");
  const Fit all = fit_all(table, only("parametric"));
  expect_reached("epoch_chinchilla, all 245: objective", all.parametric.objective, 0.0018260105237725877);
  compare("epoch_chinchilla, all 245: a", all.parametric.a.value, 0.5646443736922443, 5e-4);
  const ParametricFit fit = fit_all(without_highest(table, 5), only("parametric")).parametric;
  EXPECT_EQ(fit.runs_used, 240);
  expect_reached("epoch_chinchilla, 240: objective", fit.objective, 0.0010182740177038824);
  compare_surface(
      "epoch_chinchilla, 240", fit,
      {1.8172180976216696, 477.82587060962186, 2143.4172961855475, 0.34731049914878326, 0.3671724311296666},
      1e-3, 1e-5);
  compare("epoch_chinchilla, 240: a", fit.a.value, 0.5138995146973928, 1e-5);
  compare("epoch_chinchilla, 240: G", fit.G.value, 0.11320779026427143, 1e-4);
  // Besiroglu et al. print a maximum-likelihood estimate: within 0.15 of its standard errors.
  compare("published E", fit.E.value, 1.81686, 0.15 * 0.02566);
  compare("published A", fit.A.value, 482.00572, 0.15 * 124.52);
  compare("published B", fit.B.value, 2085.4342, 0.15 * 1293.28);
  compare("published alpha", fit.alpha.value, 0.34781, 0.15 * 0.0154);
  compare("published beta", fit.beta.value, 0.36585, 0.15 * 0.0206);
  compare("published a", fit.a.value, 0.513, 0.15 * 0.02);
}

TEST_F(PublishedTables, EpochChinchillaVariableProjection) {
  const RunTable table = without_highest(read("epoch_chinchilla.csv"), 5);
  const Fit fit = fit_all(table, only("variable_projection"));
  const ParametricFit& plain = fit.variable_projection;
  compare_surface(
      "epoch_chinchilla, 240, variable projection", plain,
      {1.8828135984910632, 567.8052751295744, 7581.852908397197, 0.3576150727220237, 0.42762062486346963},
      1e-3, 1e-5);
  compare("a", plain.a.value, 0.5445761395952227, 1e-5);
  expect_reached("residual sum of squares", plain.objective, 0.08320380785467546);
  EXPECT_GT(plain.condition_number, 1e6 * plain.condition_number_projected);
  // Squares follow the badly digitised points; the robust form agrees with the Huber fit.
  compare("robust a", fit.variable_projection_robust.a.value, 0.5139, 0.02);
}

TEST_F(PublishedTables, EpochChinchillaIntervals) {
  FitOptions options = only("parametric");
  options.bootstrap = 4000;
  const ParametricFit fit = fit_all(without_highest(read("epoch_chinchilla.csv"), 5), options).parametric;
  struct Reference {
    const char* name;
    const Estimate& estimate;
    double error, low95, low80, high80, high95;
  };
  for (const Reference& r : {Reference{"E", fit.E, 0.02498737953709266, 1.7716259322461891,
                                       1.7874728790535368, 1.8500841256353846, 1.870987455429648},
                             Reference{"alpha", fit.alpha, 0.014551544486194612, 0.3194404384730976,
                                       0.32636580845122576, 0.36505957244381354, 0.3719891},
                             Reference{"beta", fit.beta, 0.020160881704223785, 0.335022988059411,
                                       0.34701459417490804, 0.3956121659086188, 0.4132192959509881},
                             Reference{"a", fit.a, 0.019024632511330467, 0.48240466870872, 0.4919553896606513,
                                       0.5406837223661235, 0.5534506891511172}}) {
    ASSERT_TRUE(r.estimate.interval);
    const Interval80And95& found = *r.estimate.interval;
    const std::string name = std::string("epoch_chinchilla bootstrap: ") + r.name;
    compare(name + " 2.5 %", found.low95, r.low95, 0.25 * r.error);
    compare(name + " 10 %", found.low80, r.low80, 0.25 * r.error);
    compare(name + " 90 %", found.high80, r.high80, 0.25 * r.error);
    compare(name + " 97.5 %", found.high95, r.high95, 0.25 * r.error);
    // The likelihood assumes equal noise everywhere, which these points do not have: near, not the same.
    const Interval80And95& profile = fit.profile.at(r.name);
    compare(name + " profile 95 % width / bootstrap's",
            (profile.high95 - profile.low95) / (found.high95 - found.low95), 1, 0.5);
  }
}

TEST_F(PublishedTables, EpochChinchillaIsoflop) {
  const std::string file = "epoch_chinchilla_isoflop.csv";
  const Fit checked = fit_all(read(file, rows_with("qc_outlier", "0")), isoflop_by(Interpolation::parabola));
  compare(file + ", without outliers: a", checked.isoflop.laws.a.value, 0.541421346196233, 0.002);
  compare(file + ", without outliers: b", checked.isoflop.laws.b.value, 0.45857865380028334, 0.002);
  const Fit all = fit_all(read(file), isoflop_by(Interpolation::parabola));
  ASSERT_EQ(all.isoflop.profiles.size(), 9u);
  // Of the fifth budget the reference uses a minimum below the smallest size.
  const double N[] = {169201504.9, 333714473.6, 490973183.0, 739426559.1, 0,
                      1689301294., 2234749991., 2914452514., 3842591919.};
  for (std::size_t i = 0; i < 9; ++i) {
    const IsoflopProfile& profile = all.isoflop.profiles[i];
    EXPECT_EQ(profile.used, i != 4);
    if (profile.used) {
      compare_ratio(file + ", budget " + std::to_string(i) + ": N", profile.params_opt.value, N[i], 1e-6);
    }
  }
  EXPECT_THAT(all.isoflop.profiles[4].reason, HasSubstr("below the smallest"));
}

TEST_F(PublishedTables, Llama3) {
  const RunTable table = read("llama3_isoflop.csv");
  FitOptions options = without_bootstrap();
  options.interpolation = Interpolation::parabola;
  options.approaches = {"isoflop", "parametric", "variable_projection"};
  const Fit fit = fit_all(table, options);
  compare("llama3_isoflop: b", fit.isoflop.laws.b.value, 0.5367791273925503, 0.001);
  compare_ratio("llama3_isoflop: coefficient", fit.isoflop.laws.coefficient_tokens.value, 0.2993551407397902,
                0.02);
  const std::vector<Optimum> optima = predict(fit, 3.8e25);
  ASSERT_EQ(optima.at(0).approach, "isoflop");
  compare_ratio("llama3_isoflop: tokens at 3.8e25", optima[0].D.value, 16102030259270.383, 0.01);
  compare_ratio("llama3_isoflop: parameters at 3.8e25", optima[0].N.value, 393325141744.3232, 0.01);
  expect_reached("llama3_isoflop: objective", fit.parametric.objective, 0.00039046784619205005);
  compare("llama3_isoflop, approach 3: a", fit.parametric.a.value, 0.5268194512859211, 5e-4);
  compare_surface(
      "llama3_isoflop, variable projection", fit.variable_projection,
      {0.6046695128642784, 59.14106585302558, 155.11414132245292, 0.3100060864882974, 0.31364306242028944},
      2e-3, 5e-4);
  expect_reached("llama3_isoflop: squares", fit.variable_projection.objective, 0.002019716717223743);
  const Fit checked =
      fit_all(read("llama3_isoflop.csv", rows_with("qc_outlier", "0")), isoflop_by(Interpolation::parabola));
  compare("llama3_isoflop, without outliers: a", checked.isoflop.laws.a.value, 0.4999996154426103, 0.002);
}

TEST_F(PublishedTables, Marin) {
  const std::string file = "marin_nemotron_isoflop.csv";
  // The reference fits a parabola in ln D for D_opt, we take the tokens that the budget leaves at N_opt: b is
  // near.
  const Fit all = fit_all(read(file), isoflop_by(Interpolation::parabola));
  compare(file + ", all: a", all.isoflop.laws.a.value, 0.42237348293327254, 0.002);
  compare(file + ", all: b", all.isoflop.laws.b.value, 0.5531989494868099, 0.02);
  ASSERT_EQ(all.isoflop.profiles.size(), 8u);
  EXPECT_FALSE(all.isoflop.profiles[0].used);
  EXPECT_THAT(all.isoflop.profiles[0].reason, HasSubstr("3 model sizes"));
  FitOptions options = without_bootstrap();
  options.interpolation = Interpolation::parabola;
  const Fit checked = fit_all(read(file, rows_with("qc_outlier", "0")), options);
  compare(file + ", without outliers: a", checked.isoflop.laws.a.value, 0.44425300865043227, 0.002);
  compare(file + ", without outliers: b", checked.isoflop.laws.b.value, 0.5318700592121183, 0.02);
  expect_reached(file + ", without outliers: objective", checked.parametric.objective,
                 0.00038189734614194797);
  compare(file + ", approach 3: a", checked.parametric.a.value, 0.3743750360663329, 5e-4);
  expect_reached(file + ", without outliers: squares", checked.variable_projection.objective,
                 0.04138547055974493);
  compare(file + ", variable projection: a", checked.variable_projection.a.value, 0.3927213131684939, 5e-4);
}

TEST_F(PublishedTables, Porian) {
  struct Published {
    const char* config;
    double low, high, akima, parabola;
  };
  for (const Published& published : {Published{"1_reproducing_kaplan", 0.8186, 0.8974, 0.87065841, 1.1986643},
                                     Published{"2_count_last_layer", 0.6644, 0.7245, 0.70359, 0.84460068},
                                     Published{"3_correct_warmup", 0.5702, 0.6287, 0.60466231, 0.61128009},
                                     Published{"4_cosine_decay", 0.5423, 0.6056, 0.56705484, 0.55483421},
                                     Published{"5_tuned_no_decay", 0.4931, 0.5414, 0.51810531, 0.51132123}}) {
    const RunTable table = read("porian_owt2_isoflop.csv", rows_with("config", published.config));
    FitOptions options = isoflop_by(Interpolation::akima);
    options.log_loss = true;
    const std::string name = std::string("porian_owt2 ") + published.config;
    const double a = fit_all(table, options).isoflop.laws.a.value;
    compare(name + ", Akima spline: a", a, published.akima, 0.005);
    EXPECT_GT(a, published.low - 0.01);
    EXPECT_LT(a, published.high + 0.01);
    // Of the first two, the reference uses minima outside the sizes too, which we refuse.
    const double parabola = fit_all(table, isoflop_by(Interpolation::parabola)).isoflop.laws.a.value;
    if (published.parabola < 0.8) compare(name + ", parabola: a", parabola, published.parabola, 0.02);
    const double windowed = fit_all(table, isoflop_by(Interpolation::windowed)).isoflop.laws.a.value;
    compare(name + ", window: a", windowed, (published.low + published.high) / 2,
            (published.high - published.low) / 2 + 0.01);
  }
}

TEST_F(PublishedTables, Gemstones) {
  TableOptions options;
  options.every_row = true;
  const RunTable table = read("gemstones_hot.csv", options);
  ASSERT_EQ(table.runs.size(), 220u);
  const ParametricFit fit = fit_all(table, only("parametric")).parametric;
  expect_reached("gemstones_hot, delta 1e-3: objective", fit.objective, 0.0019816128);
  compare("gemstones_hot: alpha", fit.alpha.value, 0.29289177, 0.002);
  compare("gemstones_hot: beta", fit.beta.value, 0.7129786, 0.005);
  compare("gemstones_hot: E", fit.E.value, 2.1432057, 0.002);
  compare("gemstones_hot: a", fit.a.value, 0.70881758, 0.002);
  FitOptions narrow = only("parametric");
  narrow.huber_delta = 1e-4;
  expect_reached("gemstones_hot, delta 1e-4: objective", fit_all(table, narrow).parametric.objective,
                 0.00020750516);
}

TEST_F(PublishedTables, GemstonesCurves) {
  const Fit fit = fit_all(read("gemstones_hot_curves.csv"), only("envelope"));
  int found = 0;
  for (const FrontierLaw& law : fit.envelope.other_readings) {
    if (!law.with_edges) continue;
    const bool hull = law.method == "hull";
    const std::string name = "gemstones_hot_curves, " + law.method;
    compare(name + ": a", law.a, hull ? 0.49938022 : 0.54839202, hull ? 1e-4 : 4e-3);
    compare(name + ": b", law.b, hull ? 0.48098882 : 0.44181076, hull ? 1e-4 : 2e-3);
    EXPECT_EQ(law.points, hull ? 21 : 1500);
    ++found;
  }
  EXPECT_EQ(found, 2);
}

TEST_F(PublishedTables, DataAblations) {
  const RunTable table = read("datablations_c4.csv");
  ASSERT_EQ(table.runs.size(), 182u);
  const ParametricFit::Surface base{std::exp(0.6254804), std::exp(6.255414), std::exp(7.3049974), 0.3526596,
                                    0.3526596};
  double objective = 0, squares = 0, mean = 0, total = 0;
  for (const Observation& run : table.runs) mean += run.loss / 182;
  for (const Observation& run : table.runs) {
    const double loss = repeated_loss(base, 15.387756, 5.309743, run.N, run.D, run.unique_tokens);
    const double residual = std::fabs(std::log(loss / run.loss));
    objective += residual <= 1e-3 ? residual * residual / 2 : 1e-3 * (residual - 5e-4);
    squares += std::pow(loss - run.loss, 2);
    total += std::pow(run.loss - mean, 2);
  }
  compare("datablations_c4, at the published optimum: objective", objective, 0.01582594, 1e-7);
  compare("datablations_c4, at the published optimum: R²", 1 - squares / total, 0.772205, 1e-6);
  FitOptions options = only("repeated_data");
  options.base_law = base;
  options.bootstrap = 20;
  const LawFit fit = fit_all(table, options).repeated_data;
  ASSERT_EQ(fit.refused, "");
  expect_reached("datablations_c4: objective", fit.objective, 0.0158048);
  compare("datablations_c4: R_D*", fit.at("R_D_star").value, 95.365171, 3);
  compare("datablations_c4: R_N*", fit.at("R_N_star").value, 1.705905, 0.03);
  const Interval80And95& profile = fit.profile.at("R_D_star");
  std::printf("  datablations_c4: profile of R_D* %.3g to %.3g (95 %%)\n", profile.low95, profile.high95);
  EXPECT_LT(profile.low95, 15.4);
  EXPECT_GT(profile.high95, 200);
  EXPECT_THAT(fit.notes, testing::Contains(HasSubstr("flat valley")));
}

TEST_F(PublishedTables, GadreOvertraining) {
  struct Reference {
    const char* text;
    double E, a, b, eta, squares;
    std::vector<std::array<double, 3>>
        predictions;  ///< millions of parameters, tokens per parameter, error in %
  };
  for (const Reference& reference :
       {Reference{"c4_original",
                  1.5082605,
                  141.27726,
                  189.51552,
                  0.12123612,
                  0.00041411892,
                  {{1440, 20, 0.7795219475455895}, {6889, 20, 4.295248140253183}}},
        Reference{"rpj",
                  1.8366484,
                  212.23611,
                  366.68718,
                  0.13642535,
                  0.00042564768,
                  {{1440, 640, 0.7103352548451503},
                   {1440, 20, 0.10976210297015034},
                   {6889, 20, 0.7320458951053066}}},
        Reference{"rw_original",
                  1.7344621,
                  157.11628,
                  246.20669,
                  0.12719742,
                  8.2444139e-05,
                  {{1440, 20, 0.5594608740654817}, {6889, 20, 1.6192647868960388}}}}) {
    const RunTable all = read("gadre_overtraining.csv", rows_with("train_set", reference.text));
    const auto is_at = [](const Observation& run, double ratio) {
      return std::fabs(run.D / run.N / ratio - 1) < 0.01;
    };
    RunTable small;
    for (const Observation& run : all.runs) {
      if ((run.N < 1e9 && is_at(run, 20)) || (run.N < 2e7 && is_at(run, 320))) small.runs.push_back(run);
    }
    ASSERT_EQ(small.runs.size(), 5u);
    const LawFit fit = fit_all(small, only("overtraining")).overtraining;
    ASSERT_EQ(fit.refused, "");
    const std::string name = std::string("gadre_overtraining, ") + reference.text;
    compare_ratio(name + ": E", fit.at("E").value, reference.E, 1e-3);
    compare_ratio(name + ": a", fit.at("a").value, reference.a, 1e-3);
    compare_ratio(name + ": b", fit.at("b").value, reference.b, 1e-3);
    compare(name + ": eta", fit.at("eta").value, reference.eta, 1e-4);
    expect_reached(name + ": squares", fit.objective, reference.squares);
    for (const auto& [millions, ratio, error] : reference.predictions) {
      for (const Observation& run : all.runs) {
        if (std::round(run.N / 1e6) != millions || !is_at(run, ratio)) continue;
        const double found = overtrained_loss(fit, run.C, run.D / run.N);
        compare(name + ": error in % at " + std::to_string(run.N), 100 * std::fabs(found / run.loss - 1),
                error, 0.002);
      }
    }
  }
}

TEST_F(PublishedTables, EvoOptima) {
  const CsvTable csv(read_file(folder() / "evo_optima.csv"), "evo_optima.csv");
  struct Published {
    const char* model;
    double a, b;
  };
  for (const Published& published :
       {Published{"Transformer++", 0.5518832, 0.55062582}, Published{"Mamba", 0.387705, 0.48687111},
        Published{"Hyena", 0.504035, 0.49868132}, Published{"StripedHyena", 0.48336884, 0.53870612}}) {
    std::vector<double> C_N, N, C_D, D;
    for (const CsvRow& row : csv.rows()) {
      if (row.fields[csv.require({"model"})] != published.model) continue;
      C_N.push_back(csv.number(row, csv.require({"C_N"})));
      N.push_back(csv.number(row, csv.require({"N_opt"})));
      C_D.push_back(csv.number(row, csv.require({"C_D"})));
      D.push_back(csv.number(row, csv.require({"D_opt"})));
    }
    compare(std::string("evo_optima, ") + published.model + ": a", fit_log_line(C_N, N)->slope, published.a,
            1e-6);
    compare(std::string("evo_optima, ") + published.model + ": b", fit_log_line(C_D, D)->slope, published.b,
            1e-6);
  }
}

// The table has 17 pairs of N and D, fewer than the paper's; its exponents lie near the published ones.
TEST_F(PublishedTables, StepLaw) {
  const Fit fit = fit_all(read("steplaw_lr_bs.csv"), only("learning_rate"));
  ASSERT_EQ(fit.learning_rate.size(), 2u);
  const LawFit &rate = fit.learning_rate[0], &batch = fit.learning_rate[1];
  compare("steplaw_lr_bs, learning rate: exponent of N", rate.at("exponent_N").value, -0.7129, 0.1);
  compare("steplaw_lr_bs, learning rate: exponent of D", rate.at("exponent_D").value, 0.3075, 0.1);
  compare("steplaw_lr_bs, batch tokens: exponent of D", batch.at("exponent_D").value, 0.5709, 0.15);
}

}  // namespace
}  // namespace minichilla::published_tables_test
