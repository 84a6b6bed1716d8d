// Laws that were fitted elsewhere: their optima, losses at any N and D, and the syntax of laws given by hand.
#include "sweeps/analysis/published_laws.h"

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "sweeps/analysis/predict.h"
#include "tests/temporary_folder.h"

namespace minichilla::published_laws_test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

constexpr double kTolerance = 1e-6;  ///< relative

Optimum optimum_of(const std::string& law, double C) {
  const std::vector<Optimum> optima = predict(fit_of_law(parse_law(law)), C);
  EXPECT_EQ(optima.size(), 1u);
  return optima.at(0);
}

void expect_relative(double found, double expected, const std::string& what) {
  EXPECT_NEAR(found / expected, 1, kTolerance) << what << ": found " << found << ", expected " << expected;
}

TEST(PublishedLaws, GiveTheirOptima) {
  struct Expected {
    const char* law;
    double C, N, D, loss;
  };
  for (const Expected& expected :
       {Expected{"besiroglu", 5.76e23, 72352738465.78731, 1326832985670.536, 1.9739734821320754},
        Expected{"besiroglu", 3.8e25, 619627330971.4193, 10221197511420.72, 1.8913022611711043},
        Expected{"hoffmann", 5.76e23, 32189859151.368168, 2982305686662.796, 1.9307481017316481},
        Expected{"hoffmann_unrounded", 5.76e23, 40360938387.23629, 2378537363996.447, 1.9184120459968501},
        Expected{"muennighoff_c4", 3.8e25, 568255762668.9786, 11145216202625.014, 1.9436801870325975}}) {
    const Optimum found = optimum_of(expected.law, expected.C);
    expect_relative(found.N.value, expected.N, expected.law);
    expect_relative(found.D.value, expected.D, expected.law);
    expect_relative(found.loss->value, expected.loss, expected.law);
    EXPECT_FALSE(found.N.interval);
  }
}

TEST(PublishedLaws, KaplansIsAnOptimumWithoutASurface) {
  const Fit fit = fit_of_law(parse_law("kaplan"));
  const Optimum at_a_pf_day = predict(fit, 8.64e19).at(0);
  expect_relative(at_a_pf_day.N.value, 1.3e9, "N");
  expect_relative(at_a_pf_day.D.value, 2e10, "D");
  expect_relative(predict(fit, 8.64e21).at(0).N.value, 1.3e9 * std::pow(100, 0.73), "N at 100 PF-days");
  EXPECT_FALSE(at_a_pf_day.loss);
  EXPECT_FALSE(allocation(fit, 1e9, 1e9));
}

TEST(PublishedLaws, GiveEveryOptimumOfTheFolderOfTables) {
  const std::filesystem::path file = MINICHILLA_SOURCE_DIR "/../shared/scaling/planner_checks.json";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "no published figures at " << file;
  std::ifstream stream(file);
  const json checks = json::parse(stream);
  const std::pair<const char*, const char*> names[] = {{"hoffmann", "hoffmann_rounded"},
                                                       {"hoffmann_unrounded", "hoffmann_tex_unrounded"},
                                                       {"besiroglu", "besiroglu"},
                                                       {"muennighoff_c4", "muennighoff_c4"}};
  for (const auto& [law, name] : names) {
    const ParametricFit::Surface surface = parse_law(law).surface;
    const json& constants = checks["constants"][name];
    EXPECT_EQ(json({surface.E, surface.A, surface.B, surface.alpha, surface.beta}),
              json({constants["E"], constants["A"], constants["B"], constants["alpha"], constants["beta"]}));
    ASSERT_GE(checks["optimal"][name].size(), 5u);
    for (const json& expected : checks["optimal"][name]) {
      const Optimum found = optimum_of(law, expected["C"]);
      const std::string what = std::string(law) + " at " + expected["C"].dump();
      expect_relative(found.N.value, expected["N"], what + ", N");
      expect_relative(found.D.value, expected["D"], what + ", D");
      expect_relative(found.D.value / found.N.value, expected["D_per_N"], what + ", D/N");
      expect_relative(found.loss->value, expected["loss"], what + ", loss");
    }
  }
}

TEST(PublishedLaws, AnswerTheInverseQuestions) {
  for (const Law& law : published_laws()) {
    const Fit fit = fit_of_law(law);
    for (const double C : {1e18, 5.76e23, 1e28}) {
      const Optimum there = predict(fit, C).at(0);
      EXPECT_NEAR(predict_for_params(fit, there.N.value).at(0).C / C, 1, 1e-9) << law.name;
      EXPECT_NEAR(predict_for_tokens(fit, there.D.value).at(0).C / C, 1, 1e-9) << law.name;
      EXPECT_NEAR(6 * there.N.value * there.D.value / C, 1, 1e-12);
    }
  }
}

TEST(PublishedLaws, GiveLossesAtAnySize) {
  const Fit fit = fit_of_law(parse_law("hoffmann"));
  const ParametricFit::Surface s = parse_law("hoffmann").surface;
  const Allocation chinchilla = allocation(fit, 70e9, 1.4e12).value();
  EXPECT_NEAR(chinchilla.loss.value, 1.69 + 406.4 / std::pow(70e9, 0.34) + 410.7 / std::pow(1.4e12, 0.28),
              1e-12);
  EXPECT_DOUBLE_EQ(chinchilla.C, 5.88e23);
  for (const double N : {1e3, 1e9, 1e50, 1e100}) {
    for (const double D : {1e3, 1e9, 1e50, 1e100}) {
      const Allocation one = allocation(fit, N, D).value();
      EXPECT_TRUE(std::isfinite(one.loss.value) && std::isfinite(one.C) && one.loss.value >= s.E) << N << D;
      EXPECT_TRUE(one.least_C.value > 0 && one.least_C.value <= one.C) << N << " " << D;
    }
  }
  EXPECT_DOUBLE_EQ(allocation(fit, 1e3, 1e100)->loss.value,
                   1.69 + 406.4 / std::pow(1e3, 0.34) + 410.7 / std::pow(1e100, 0.28));
}

TEST(PublishedLaws, TellWhatAWrongAllocationCosts) {
  for (const Law& law : published_laws()) {
    const Fit fit = fit_of_law(law);
    const Optimum best = predict(fit, 5.76e23).at(0);
    EXPECT_NEAR(allocation(fit, best.N.value, best.D.value)->cost.value, 1, 1e-9) << law.name;
    // Gopher's size is too large for its budget by every one of these laws.
    const Allocation gopher = allocation_of_budget(fit, 280e9, 5.76e23).value();
    EXPECT_DOUBLE_EQ(gopher.D, 5.76e23 / 6 / 280e9);
    EXPECT_GT(gopher.cost.value, 1.5) << law.name;
    // The cheaper budget reaches the same loss.
    EXPECT_NEAR(predict(fit, gopher.least_C.value).at(0).loss->value, gopher.loss.value, 1e-12);
  }
  Fit refused;
  refused.parametric.refused = "no runs";
  refused.variable_projection.refused = refused.variable_projection_robust.refused = "no runs";
  EXPECT_FALSE(allocation(refused, 1e9, 1e9));
}

TEST(PublishedLaws, AreLeftOutWhereTheyReachNoOptimum) {
  // N grows as C^0.0006: no budget that a double holds suits such a size.
  const Fit flat = fit_of_law(parse_law("E=1,A=10,alpha=5,B=10,beta=0.01"));
  EXPECT_TRUE(predict_for_params(flat, 1e100).empty());
  EXPECT_EQ(predict_for_tokens(flat, 1e100).size(), 1u);
}

TEST(LawsGivenByHand, TakeNumbersAndFractionsInAnyOrder) {
  const Law law = parse_law(" beta = 1/4, E=2,B=1k,alpha=1/3 ,A=1e3");
  EXPECT_EQ(law.name, "given");
  EXPECT_EQ(law.surface.E, 2);
  EXPECT_EQ(law.surface.A, 1000);
  EXPECT_EQ(law.surface.B, 1000);
  EXPECT_EQ(law.surface.alpha, 1.0 / 3);
  EXPECT_EQ(law.surface.beta, 0.25);
  // N_opt = (alpha·A/(beta·B))^(1/(alpha+beta)) · (C/6)^(beta/(alpha+beta)) = (4/3)^(12/7) · (C/6)^(3/7).
  const Optimum found = predict(fit_of_law(law), 6e21).at(0);
  expect_relative(found.N.value, std::pow(4.0 / 3, 12.0 / 7) * 1e9, "N");
}

TEST(LawsGivenByHand, AreRefusedInOneLine) {
  const auto refusal = [](const std::string& text) {
    return message_of<InputError>([&] { parse_law(text); });
  };
  EXPECT_EQ(
      refusal("hofmann"),
      "--law: found 'hofmann', expected one of hoffmann, hoffmann_unrounded, besiroglu, muennighoff_c4, "
      "kaplan, or constants such as E=2,A=1000,alpha=1/3,B=1000,beta=1/4; did you mean hoffmann?");
  EXPECT_EQ(
      refusal("E=2,A=1,alhpa=1,B=1,beta=1"),
      "--law: found an unknown constant 'alhpa', expected E, A, alpha, B and beta; did you mean alpha?");
  EXPECT_EQ(refusal("E=2,A=1000,alpha=1/3,B=1000"),
            "--law: found no beta, expected all five constants, such as "
            "E=2,A=1000,alpha=1/3,B=1000,beta=1/4");
  EXPECT_EQ(refusal("E=2,A=1,E=2"), "--law: E: found a second time, expected once");
  EXPECT_THAT(refusal("E=2,A"), HasSubstr("A: found no value"));
  EXPECT_EQ(refusal("E=x"), "--law: E: found 'x', expected a number such as 0.34 or a fraction such as 1/3");
  EXPECT_THAT(refusal("alpha=1/2/3"), HasSubstr("alpha: found '1/2/3'"));
  EXPECT_EQ(refusal("alpha=1/0"), "--law: alpha: found '1/0', expected an exponent from 0.01 to 5");
  EXPECT_EQ(refusal("A=-1"), "--law: A: found '-1', expected a number above zero");
  EXPECT_EQ(refusal("E=-1"), "--law: E: found '-1', expected a loss of at least zero");
  EXPECT_THAT(refusal("A=1/0"), HasSubstr("expected a number above zero"));
  EXPECT_THAT(refusal("="), AllOf(HasSubstr("unknown constant ''"), testing::Not(HasSubstr("\n"))));
  EXPECT_THAT(refusal(""), HasSubstr("found '', expected one of"));
}

}  // namespace
}  // namespace minichilla::published_laws_test
