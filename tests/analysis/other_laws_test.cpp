// Kaplan's laws, repeated data, over-training, hyperparameters: each finds the constants it was drawn from.
#include <gmock/gmock.h>

#include <cmath>

#include "sweeps/analysis/hyperparameter_laws.h"
#include "sweeps/analysis/kaplan.h"
#include "sweeps/analysis/overtraining.h"
#include "sweeps/analysis/repeated_data.h"
#include "tests/analysis/simulated_sweep.h"

namespace minichilla::other_laws_test {
namespace {

using testing::HasSubstr;

const LawFit& named(const std::vector<LawFit>& laws, const std::string& name) {
  for (const LawFit& law : laws) {
    if (law.name == name) return law;
  }
  throw std::out_of_range(name);
}

RunTable cross(const std::vector<double>& sizes, const std::vector<double>& tokens) {
  RunTable table;
  for (const double N : sizes) {
    for (const double D : tokens) {
      Observation run{N, D, 6 * N * D, 0, 0, "run" + std::to_string(table.runs.size()), 0};
      run.N_non_embedding = N / 2;
      table.runs.push_back(run);
    }
  }
  return table;
}

TEST(KaplanLaws, FindTheConstantsOfEachEquation) {
  RunTable table = cross({1e5, 1e6, 1e7, 1e8}, {1e7, 1e8, 1e9, 1e10});
  for (Observation& run : table.runs) {
    run.batch_tokens = 5e5;
    const double N = run.N_non_embedding;
    run.loss = std::pow(std::pow(6e13 / N, 0.08 / 0.1) + 2e13 / run.D, 0.1);
  }
  std::vector<LawFit> laws = fit_kaplan(table, without_bootstrap());
  const LawFit& joint = named(laws, "L_ND");
  EXPECT_NEAR(joint.at("alpha_N").value, 0.08, 1e-6);
  EXPECT_NEAR(joint.at("alpha_D").value, 0.1, 1e-6);
  EXPECT_NEAR(joint.at("N_c").value / 6e13, 1, 1e-4);
  EXPECT_NEAR(joint.at("D_c").value / 2e13, 1, 1e-4);
  EXPECT_EQ(joint.notes.size(), 0u) << "N without embeddings is known";
  EXPECT_THAT(named(laws, "L_C").refused, HasSubstr("budgets"));
  EXPECT_THAT(named(laws, "B_crit").refused, HasSubstr("loss_target"));

  for (Observation& run : table.runs) run.loss = std::pow(5e12 / run.N_non_embedding, 0.07);
  laws = fit_kaplan(table, without_bootstrap());
  EXPECT_NEAR(named(laws, "L_N").at("alpha_N").value, 0.07, 1e-9);
  EXPECT_NEAR(named(laws, "L_N").at("N_c").value / 5e12, 1, 1e-6);

  for (Observation& run : table.runs) {
    // S_min needs the loss: a fixed point.
    run.loss = 4;
    for (int i = 0; i < 200; ++i) {
      const double critical = 2.1e8 * std::pow(run.loss, -1 / 0.21);
      const double steps = run.D / 5e5 / (1 + critical / 5e5);
      run.loss = std::pow(6e13 / run.N_non_embedding, 0.08) + std::pow(2e3 / steps, 0.7);
    }
  }
  const LawFit steps = named(fit_kaplan(table, without_bootstrap()), "L_NS");
  EXPECT_NEAR(steps.at("alpha_N").value, 0.08, 1e-5);
  EXPECT_NEAR(steps.at("alpha_S").value, 0.7, 1e-5);
  EXPECT_NEAR(steps.at("S_c").value / 2e3, 1, 1e-3);
  EXPECT_THAT(steps.notes, testing::Contains(HasSubstr("published")));
}

TEST(KaplanLaws, AConstantThatADoubleCannotHoldIsRefused) {
  RunTable table = cross({1e5, 1e6, 1e7, 1e8}, {1e9});
  for (Observation& run : table.runs) run.loss = 3 * std::pow(run.N_non_embedding, -1e-5);
  const LawFit law = named(fit_kaplan(table, without_bootstrap()), "L_N");
  EXPECT_THAT(law.refused, HasSubstr("hardly falls with N"));
  EXPECT_TRUE(law.constants.empty());
}

TEST(KaplanLaws, TheCriticalBatchHasAnInterval) {
  RunTable table;
  for (const double loss : {2.5, 3.0, 3.6}) {
    const double critical = 2e8 * std::pow(loss, -1 / 0.2), least = 1e4 * (4 - loss);
    for (const double share : {0.1, 0.3, 1.0, 3.0, 10.0, 30.0}) {
      const double noise = 1 + 0.01 * std::sin(7 * share + loss);
      table.batch_runs.push_back({loss, share * critical, least * (1 + 1 / share) * noise});
    }
  }
  FitOptions options;
  options.bootstrap = 60;
  const LawFit law = named(fit_kaplan(table, options), "B_crit");
  EXPECT_NEAR(law.at("alpha_B").value, 0.2, 0.01);
  ASSERT_TRUE(law.at("alpha_B").interval);
  EXPECT_LT(law.at("alpha_B").interval->low95, 0.2);
  EXPECT_GT(law.at("alpha_B").interval->high95, 0.2);
}

TEST(RepeatedData, FindsHowSoonRepetitionStopsHelping) {
  const ParametricFit::Surface base{1.8, 400, 1500, 0.35, 0.35};
  RunTable table = cross({3e7, 1e8, 3e8}, {1e9, 3e9, 1e10, 3e10, 1e11});
  for (Observation& run : table.runs) {
    run.unique_tokens = 1e9;
    run.loss = repeated_loss(base, 12, 4, run.N, run.D, 1e9);
  }
  FitOptions options = without_bootstrap();
  options.base_law = base;
  const LawFit law = fit_repeated_data(table, options);
  ASSERT_EQ(law.refused, "");
  EXPECT_NEAR(law.at("R_D_star").value, 12, 1e-3);
  EXPECT_NEAR(law.at("R_N_star").value, 4, 1e-3);

  options.base_law.reset();
  EXPECT_THAT(fit_repeated_data(table, options).refused, HasSubstr("--base-law"));
  for (Observation& run : table.runs) run.unique_tokens = 0;
  EXPECT_THAT(fit_repeated_data(table, options).refused, HasSubstr("unique tokens"));
}

TEST(RepeatedData, ARepetitionIsWorthLessThanFreshText) {
  const ParametricFit::Surface base{1.8, 400, 1500, 0.35, 0.35};
  EXPECT_DOUBLE_EQ(repeated_loss(base, 15, 5, 1e7, 1e9, 1e9), base.loss(1e7, 1e9));
  EXPECT_GT(repeated_loss(base, 15, 5, 1e7, 4e9, 1e9), base.loss(1e7, 4e9));
  EXPECT_LT(repeated_loss(base, 15, 5, 1e7, 4e9, 1e9), base.loss(1e7, 1e9));
}

TEST(Overtraining, FindsItsConstants) {
  RunTable table;
  for (const double N : {1e7, 3e7, 1e8, 3e8}) {
    for (const double M : {20.0, 80.0, 320.0}) {
      const double C = 6 * N * N * M, eta = 0.12;
      const double loss = 1.6 + (140 * std::pow(M, eta) + 190 * std::pow(M, -eta)) * std::pow(C, -eta);
      table.runs.push_back({N, N * M, C, loss, 0, "run", 0});
    }
  }
  const LawFit law = fit_overtraining(table, without_bootstrap());
  ASSERT_EQ(law.refused, "");
  EXPECT_NEAR(law.at("eta").value, 0.12, 1e-6);
  EXPECT_NEAR(law.at("E").value, 1.6, 1e-5);
  EXPECT_NEAR(law.at("a").value / 140, 1, 1e-4);
  EXPECT_NEAR(law.at("b").value / 190, 1, 1e-4);
  EXPECT_NEAR(overtrained_loss(law, table.runs[5].C, table.runs[5].D / table.runs[5].N), table.runs[5].loss,
              1e-8);
  table.runs.resize(3);
  EXPECT_THAT(fit_overtraining(table, without_bootstrap()).refused, HasSubstr("at least 5"));
}

TEST(HyperparameterLaws, FollowTheBestSettingsAndLeaveEdgesOut) {
  RunTable table;
  for (const double N : {1e7, 4e7, 1.6e8}) {
    for (const double D : {1e9, 4e9}) {
      const double best_rate = 20 * std::pow(N, -0.6) * std::pow(D, 0.2), best_batch = 2 * std::pow(D, 0.5);
      for (int i = -3; i <= 3; ++i) {
        for (int j = -3; j <= 3; ++j) {
          Observation run{N, D, 6 * N * D, 3 + 0.05 * i * i + 0.05 * j * j, 0, "run", 0};
          run.learning_rate = best_rate * std::exp2(i);
          run.batch_tokens = best_batch * std::exp2(j);
          table.runs.push_back(run);
        }
      }
    }
  }
  std::vector<LawFit> laws = fit_hyperparameter_laws(table, without_bootstrap());
  EXPECT_NEAR(named(laws, "learning_rate").at("exponent_N").value, -0.6, 1e-9);
  EXPECT_NEAR(named(laws, "learning_rate").at("exponent_D").value, 0.2, 1e-9);
  EXPECT_NEAR(named(laws, "learning_rate").at("c").value, 20, 1e-6);
  EXPECT_NEAR(named(laws, "batch_tokens").at("exponent_D").value, 0.5, 1e-9);

  std::erase_if(table.runs, [](const Observation& run) {
    return run.N == 1e7 && run.D == 1e9 &&
           run.learning_rate > 20 * std::pow(1e7, -0.6) * std::pow(1e9, 0.2) * 1.01;
  });
  laws = fit_hyperparameter_laws(table, without_bootstrap());
  EXPECT_THAT(named(laws, "learning_rate").notes, testing::Contains(HasSubstr("1 more were left out")));
}

}  // namespace
}  // namespace minichilla::other_laws_test
