// Synthetic tables with known truth, and reference fits of the very files.
#include <algorithm>
#include <cmath>

#include "sweeps/analysis/kaplan.h"
#include "tests/analysis/published_tables.h"

namespace minichilla::synthetic_tables_test {
namespace {

using Surface = ParametricFit::Surface;

TEST_F(PublishedTables, CleanSurfacesAreExact) {
  for (const auto& [name, truth] :
       {std::pair{"synth_symmetric_clean.csv", Surface{1.8, 420, 420, 0.33, 0.33}},
        {"synth_asymmetric_offcentre_clean.csv", Surface{1.7, 20000, 95, 0.51, 0.19}}}) {
    FitOptions options = without_bootstrap();
    options.interpolation = Interpolation::parabola;
    const Fit fit = fit_all(read(name), options);
    compare_surface(std::string(name) + ", approach 3", fit.parametric, truth, 1e-6, 1e-6);
    compare_surface(std::string(name) + ", variable projection", fit.variable_projection, truth, 1e-6, 1e-6);
    compare_surface(std::string(name) + ", robust", fit.variable_projection_robust, truth, 1e-6, 1e-6);
    const double bias = truth.alpha == truth.beta ? 0 : -0.03684091228770847;
    compare(std::string(name) + ", parabola: a", fit.isoflop.laws.a.value, true_a(truth) + bias, 1e-6);
    compare(std::string(name) + ", predicted bias", fit.isoflop.predicted_bias_a.value().value, bias, 1e-6);
    const Fit windowed = fit_all(read(name), only("isoflop"));
    compare(std::string(name) + ", window: a", windowed.isoflop.laws.a.value, true_a(truth), 0.002);
  }
}

TEST_F(PublishedTables, NoisySurfacesReachTheReferenceAndTheTruth) {
  struct Reference {
    const char* name;
    Surface truth;
    double objective, a_parametric, E_parametric, squares, a_projection, a_parabola;
    double deviation_E, deviation_alpha, deviation_beta, deviation_a;  ///< of Monte-Carlo fits
  };
  for (const Reference& r : {Reference{"synth_symmetric.csv",
                                       {1.8, 420, 420, 0.33, 0.33},
                                       0.00014982038375389265,
                                       0.4995266457534701,
                                       1.7768449110351934,
                                       0.004746459936126761,
                                       0.4990240000905683,
                                       0.5014223301075692,
                                       0.010608,
                                       0.005177,
                                       0.00522,
                                       0.004443},
                             Reference{"synth_asymmetric_offcentre.csv",
                                       {1.7, 20000, 95, 0.51, 0.19},
                                       9.876942587667892e-05,
                                       0.2728498965825397,
                                       1.7003159124131504,
                                       0.00600111558641591,
                                       0.27156693918729685,
                                       0.23575805531830318,
                                       0.008067,
                                       0.001738,
                                       0.000973,
                                       0.001304},
                             Reference{"synth_outliers.csv",
                                       {1.8, 420, 420, 0.33, 0.33},
                                       0.00032510782468434505,
                                       0.4987039198335185,
                                       1.7929115436554313,
                                       0.06494285870929559,
                                       0.4939352302404225,
                                       0.4917994700919666,
                                       0.010404,
                                       0.005598,
                                       0.004663,
                                       0.004494}}) {
    FitOptions options = without_bootstrap();
    options.interpolation = Interpolation::parabola;
    const Fit fit = fit_all(read(r.name), options);
    const std::string name = r.name;
    expect_reached(name + ", approach 3: objective", fit.parametric.objective, r.objective);
    compare(name + ", approach 3: a", fit.parametric.a.value, r.a_parametric, 5e-5);
    compare(name + ", approach 3: E", fit.parametric.E.value, r.E_parametric, 1e-4);
    expect_reached(name + ", variable projection: squares", fit.variable_projection.objective, r.squares);
    compare(name + ", variable projection: a", fit.variable_projection.a.value, r.a_projection, 5e-5);
    compare(name + ", parabola: a", fit.isoflop.laws.a.value, r.a_parabola, 1e-4);
    for (const auto& [approach, one] : {std::pair{"approach 3", &fit.parametric},
                                        {"robust variable projection", &fit.variable_projection_robust}}) {
      const std::string who = name + ", " + approach + " against the truth: ";
      // The reference's own minimum on synth_symmetric has E 2.2 deviations from the truth.
      const double reference_E = 1.001 * std::fabs(r.E_parametric - r.truth.E);
      compare(who + "E", one->E.value, r.truth.E, std::max(2 * r.deviation_E, reference_E));
      compare(who + "alpha", one->alpha.value, r.truth.alpha, 2 * r.deviation_alpha);
      compare(who + "beta", one->beta.value, r.truth.beta, 2 * r.deviation_beta);
      compare(who + "a", one->a.value, true_a(r.truth), 2 * r.deviation_a);
    }
  }
}

TEST_F(PublishedTables, TheBiasOfTheParabolaIsPredicted) {
  FitOptions options = without_bootstrap();
  options.bootstrap = 50;
  const Fit fit = fit_all(read("synth_asymmetric_offcentre.csv"), options);
  ASSERT_TRUE(fit.isoflop.predicted_bias_a && fit.isoflop.predicted_bias_a->interval);
  compare("synth_asymmetric_offcentre: predicted bias of a parabola", fit.isoflop.predicted_bias_a->value,
          -0.03663668650108817, 0.003);
  EXPECT_LT(fit.isoflop.predicted_bias_a->interval->high95, -0.03);
  compare("synth_asymmetric_offcentre: predicted bias of the window used",
          fit.isoflop.predicted_bias_a_used.value().value, 0, 0.003);
}

TEST_F(PublishedTables, FlopsBeyondSixNDChangeTheExponents) {
  const Fit fit = fit_all(read("synth_flops_overhead.csv"), without_bootstrap());
  compare("synth_flops_overhead: a", fit.isoflop.laws.a.value, 0.5048828, 0.01);
  compare("synth_flops_overhead: b", fit.isoflop.laws.b.value, 0.5319136, 0.01);
  const Fit whole = fit_all(read("synth_flops_overhead.csv"), isoflop_by(Interpolation::parabola));
  compare("synth_flops_overhead, parabola: a", whole.isoflop.laws.a.value, 0.5013221830374733, 1e-3);
  compare("synth_flops_overhead, parabola: b", whole.isoflop.laws.b.value, 0.5364261775705971, 2e-3);
  const std::vector<Optimum> optima = predict(fit, fit.largest_C);
  ASSERT_EQ(optima.size(), 2u);
  compare("N of approach 3 over that of approach 2", optima[1].N.value / optima[0].N.value, 1, 0.1);
  compare("D of approach 3 over that of approach 2", optima[1].D.value / optima[0].D.value, 1, 0.1);
}

TEST_F(PublishedTables, SyntheticCurvesWithoutTheirEdges) {
  const Fit fit = fit_all(read("synth_curves.csv"), without_bootstrap());
  compare("synth_curves, approach 1: a", fit.envelope.laws.a.value, 0.5142857, 0.015);
  for (const FrontierLaw& law : fit.envelope.other_readings) {
    const std::string name = "synth_curves, " + law.method + (law.with_edges ? " with edges" : "") + ": a";
    const double expected = law.method == "hull" ? 0.357618216138502 : 0.39274438653596144;
    if (law.with_edges) compare(name, law.a, expected, 1e-3);
    if (law.method == "binned" && !law.with_edges) compare(name, law.a, 0.4834347776407643, 1e-3);
  }
  EXPECT_EQ(fit.envelope.other_readings.size(), 4u);
  compare("synth_curves, approach 3: a", fit.parametric.a.value, 0.5164002, 1e-4);
}

TEST_F(PublishedTables, KaplansJointLaw) {
  const Fit fit = fit_all(read("synth_kaplan_LND.csv"), only("kaplan"));
  const auto law = std::find_if(fit.kaplan.begin(), fit.kaplan.end(),
                                [](const LawFit& one) { return one.name == "L_ND"; });
  ASSERT_NE(law, fit.kaplan.end());
  ASSERT_EQ(law->refused, "");
  expect_reached("synth_kaplan_LND: squares of log loss", law->objective, 0.0007736824459302809);
  compare("synth_kaplan_LND: alpha_N", law->at("alpha_N").value, 0.07568172744812247, 1e-5);
  compare("synth_kaplan_LND: alpha_D", law->at("alpha_D").value, 0.10288779259427004, 1e-5);
  compare_ratio("synth_kaplan_LND: N_c", law->at("N_c").value, 68833806205223.33, 1e-3);
  compare_ratio("synth_kaplan_LND: D_c", law->at("D_c").value, 18287232580710.34, 1e-3);
}

TEST_F(PublishedTables, CriticalBatch) {
  const Fit fit = fit_all(read("synth_bcrit.csv"), only("kaplan"));
  const LawFit& law = fit.kaplan.back();
  ASSERT_EQ(law.name, "B_crit");
  ASSERT_EQ(law.refused, "");
  compare("synth_bcrit: alpha_B", law.at("alpha_B").value, 0.2100079647052805, 0.002);
  compare_ratio("synth_bcrit: B_star", law.at("B_star").value, 211650848.56779826, 0.02);
}

}  // namespace
}  // namespace minichilla::synthetic_tables_test
