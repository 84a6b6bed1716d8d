// minichilla predict, from fits and from laws.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/config_fields.h"
#include "tests/analysis/simulated_sweep.h"
#include "tests/sweeps/run_command.h"
#include "tests/temporary_folder.h"

namespace minichilla::predict_command_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::json;

/// What `minichilla predict …` prints.
std::string predicted(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "predict");
  return run_command(add_predict_command, arguments).output;
}

std::string refusal(const std::vector<std::string>& arguments) {
  return message_of<InputError>([&] { predicted(arguments); });
}

class PredictCommand : public testing::Test {
 protected:
  /// Fits of a simulated sweep; the second has two runs, too few for any approach.
  static void SetUpTestSuite() {
    SweepDesign design;
    design.noise = 0.003;
    FitOptions options;
    options.bootstrap = 20;
    RunTable table = simulated_sweep(design, 3);
    fit_ = new std::string(to_json(fit_all(table, options)).dump());
    table.runs.resize(2);
    table.curves.clear();
    refused_ = new std::string(to_json(fit_all(table, options)).dump());
  }
  static void TearDownTestSuite() {
    delete fit_;
    delete refused_;
  }
  std::string fit() const { return folder_.write("fit.json", *fit_).string(); }
  std::string refused() const { return folder_.write("refused.json", *refused_).string(); }

  const TemporaryFolder folder_;

 private:
  inline static const std::string* fit_ = nullptr;
  inline static const std::string* refused_ = nullptr;
};

TEST_F(PredictCommand, AnswersFromAPublishedLaw) {
  const std::string text = predicted({"--law", "besiroglu", "--flops", "5.76e23"});
  EXPECT_THAT(text, AllOf(HasSubstr("besiroglu: L(N, D) = 1.81686 + 482.00572/N^0.34781 + "
                                    "2085.4342/D^0.36585 (Besiroglu et al. 2024, arXiv 2404.10102)"),
                          HasSubstr("72.4G"), HasSubstr("1.33T"), HasSubstr("18.3"), HasSubstr("1.974"),
                          HasSubstr("PF-days"), Not(HasSubstr("80 %")), Not(HasSubstr("extrapolated"))));
  const Json json = Json::parse(predicted({"--law", "besiroglu", "--flops", "5.76e23", "--json", "-"}));
  ASSERT_EQ(json.size(), 1u);
  EXPECT_EQ(json[0]["kind"], "optimum");
  EXPECT_EQ(json[0]["approach"], "besiroglu");
  EXPECT_NEAR(json[0]["params"]["value"].get<double>() / 72352738465.78731, 1, 1e-6);
  EXPECT_NEAR(json[0]["pf_days"].get<double>(), 6666.67, 0.01);
  EXPECT_FALSE(json[0]["params"].contains("ci80"));
}

TEST_F(PredictCommand, AnswersFromALawGivenByHand) {
  const std::string law = "E=2,A=1000,alpha=1/3,B=1000,beta=1/4";
  EXPECT_THAT(predicted({"--law", law, "--tokens", "1T"}), HasSubstr("given: L(N, D) = 2 + 1000/N^0.333"));
  const Json json = Json::parse(predicted({"--law", law, "--params", "1G", "--json", "-"}));
  EXPECT_EQ(json[0]["params"]["value"], 1e9);
  EXPECT_EQ(json[0]["approach"], "given");
}

TEST_F(PredictCommand, PrintsTheSizesOfTable3) {
  const Json law = Json::parse(predicted({"--law", "hoffmann", "--table", "--json", "-"}));
  ASSERT_EQ(law.size(), 9u);
  EXPECT_EQ(law[0]["params"]["value"], 4e8);
  EXPECT_EQ(law[8]["params"]["value"], 1e13);
  for (std::size_t i = 1; i < law.size(); ++i) {
    EXPECT_GT(law[i]["flops"]["value"], law[i - 1]["flops"]["value"]);
    EXPECT_GT(law[i]["tokens"]["value"], law[i - 1]["tokens"]["value"]);
  }
  const std::string text = predicted({fit(), "--table"});
  EXPECT_THAT(text, AllOf(HasSubstr("2 IsoFLOP minima"), HasSubstr("3 surface L(N, D)"), HasSubstr("520G"),
                          HasSubstr("times beyond the largest run")));
}

TEST_F(PredictCommand, GivesLossesAndTheCostOfAllocations) {
  const std::string text = predicted({"--law", "hoffmann", "--loss-at", "1000", "1e100", "70G", "1.4T"});
  EXPECT_THAT(text, AllOf(HasSubstr("least C"), HasSubstr("6e103"), HasSubstr("1.937"), Not(HasSubstr("nan")),
                          Not(HasSubstr("80 %"))));
  const Json json = Json::parse(
      predicted({"--law", "besiroglu", "--flops", "5.76e23", "--allocation", "280G", "--json", "-"}));
  ASSERT_EQ(json.size(), 2u);
  const Json& gopher = json[1];
  EXPECT_EQ(gopher["kind"], "allocation");
  EXPECT_EQ(gopher["params"]["value"], 280e9);
  EXPECT_GT(gopher["loss"]["value"], json[0]["loss"]["value"]);
  EXPECT_NEAR(gopher["cost"]["value"].get<double>(),
              gopher["flops"]["value"].get<double>() / gopher["least_flops"]["value"].get<double>(), 1e-9);
}

TEST_F(PredictCommand, GivesLossesOfAFitWithIntervals) {
  const Json json = Json::parse(predicted({fit(), "--loss-at", "30k", "10M", "--json", "-"}));
  ASSERT_EQ(json.size(), 1u);
  EXPECT_EQ(json[0]["approach"], "parametric");
  const double loss = json[0]["loss"]["value"], truth = SweepDesign{}.surface.loss(3e4, 1e7);
  EXPECT_NEAR(loss / truth, 1, 0.01);
  EXPECT_LE(json[0]["loss"]["ci95"][0], loss);
  EXPECT_GE(json[0]["loss"]["ci95"][1], loss);
  EXPECT_GE(json[0]["cost"]["value"], 1);
  EXPECT_THAT(predicted({fit(), "--loss-at", "1e3", "1e100"}), HasSubstr("extrapolated up to"));
}

TEST_F(PredictCommand, RefusesInOneLine) {
  EXPECT_EQ(refusal({"--flops", "1e20"}),
            "predict: found neither a fit nor a law, expected fit.json (before the options) or --law");
  EXPECT_EQ(refusal({"f.json", "--law", "hoffmann", "--flops", "1e20"}),
            "predict: found the fit 'f.json' and --law 'hoffmann', expected one of them");
  EXPECT_THAT(refusal({"--law", "hoffmann"}), HasSubstr("nothing asked for"));
  EXPECT_EQ(refusal({"--law", "hoffmann", "--loss-at", "1G"}),
            "--loss-at: found 1 number, expected pairs of parameters and tokens such as 7G 140G");
  EXPECT_EQ(refusal({"--law", "hoffmann", "--allocation", "1G"}),
            "--allocation: found no --flops, expected the budgets that the models are trained with");
  EXPECT_THAT(refusal({"--law", "hoffmann", "--flops", "1e3", "--allocation", "1G"}),
              HasSubstr("--allocation: found 1e9 parameters and 1.67e-7 tokens"));
  EXPECT_THAT(refusal({"--law", "hoffmann", "--loss-at", "1e200", "1e200"}), HasSubstr("1e308"));
  EXPECT_THAT(refusal({refused(), "--loss-at", "1G", "1G"}), HasSubstr("approach 3 was refused"));
  EXPECT_THAT(refusal({refused(), "--flops", "1e15"}), HasSubstr("no approach of this fit can answer"));
  EXPECT_THAT(refusal({"--law", "E=1,A=10,alpha=5,B=10,beta=0.01", "--params", "1e100"}),
              HasSubstr("the law reaches no such optimum"));
}

TEST_F(PredictCommand, AdjustsForInferenceAndTellsWhatTrainingCosts) {
  const std::vector<std::string> arguments = {
      "--law", "hoffmann", "--params", "13G", "--inference-tokens", "2T", "--gpu-flops", "1000T",
      "--mfu", "0.5",      "--watts",  "700", "--price-per-hour",   "2"};
  std::vector<std::string> as_json = arguments;
  as_json.insert(as_json.end(), {"--json", "-"});
  const Json json = Json::parse(predicted(as_json));
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[1]["kind"], "inference_adjusted");
  EXPECT_NEAR(json[1]["params"]["value"].get<double>() / 8022778254.677622, 1, 1e-6);
  EXPECT_LT(json[1]["total_flops"].get<double>(), 0.9 * json[1]["total_flops_of_optimum"].get<double>());
  const double hours = json[0]["flops"]["value"].get<double>() / 5e14 / 3600;
  EXPECT_NEAR(json[0]["gpu_hours"].get<double>() / hours, 1, 1e-12);
  EXPECT_NEAR(json[0]["energy_kwh"].get<double>() / (0.7 * hours), 1, 1e-12);
  EXPECT_NEAR(json[0]["price"].get<double>() / (2 * hours), 1, 1e-12);
  EXPECT_THAT(predicted(arguments),
              AllOf(HasSubstr("tokens of inference"), HasSubstr("8.02G"), HasSubstr("89.9 %"),
                    HasSubstr("GPU-hours"), HasSubstr("MFU of 0.5")));
  const std::string allocated =
      predicted({"--law", "hoffmann", "--flops", "1e21", "--allocation", "1G", "--gpu-flops", "1000T"});
  EXPECT_EQ(allocated.find("1e21", allocated.find("GPU-hours")), allocated.rfind("1e21"))
      << "one budget, one row";
  EXPECT_THAT(refusal({"--law", "hoffmann", "--flops", "1e21", "--watts", "700"}), HasSubstr("--gpu-flops"));
  EXPECT_THAT(refusal({"--law", "hoffmann", "--flops", "1e21", "--gpu-flops", "1T", "--mfu", "1.5"}),
              HasSubstr("--mfu"));
}

class PredictCurve : public testing::Test {
 protected:
  /// Curves of a simulated sweep without noise, as a table.
  const RunTable table_ = simulated_sweep({}, 3);
  const TemporaryFolder folder_;
  std::string curves() const { return folder_.write("curves.csv", curves_csv(table_)).string(); }
};

TEST_F(PredictCurve, LooksFromAShareOfAFinishedRun) {
  const Curve& whole = table_.curves[8];
  const std::vector<std::string> arguments = {"--curve", curves(), "--run", "run8", "--share", "0.4"};
  const std::string text = predicted(arguments);
  EXPECT_THAT(text,
              AllOf(HasSubstr("run8, "), HasSubstr("40 % of its schedule"), HasSubstr("held-out runs"),
                    HasSubstr("Learned from 23 finished runs"), HasSubstr("found "), Not(HasSubstr("nan"))));
  std::vector<std::string> as_json = arguments;
  const std::string longer = format_number(3 * whole.points.back().D);
  as_json.insert(as_json.end(), {"--longer", longer, "--json", "-"});
  const Json json = Json::parse(predicted(as_json));
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[0]["kind"], "extrapolation");
  EXPECT_EQ(json[0]["run"], "run8");
  EXPECT_EQ(json[0]["tokens"]["value"], whole.points.back().D);
  EXPECT_EQ(json[0]["loss_found"], whole.points.back().loss);
  EXPECT_NEAR(json[0]["loss"]["value"].get<double>() / whole.points.back().loss, 1, 0.003);
  EXPECT_TRUE(json[0]["loss"].contains("ci80") && json[0].contains("error_rms"));
  EXPECT_LT(json[1]["loss"]["value"], json[0]["loss"]["value"]);
  EXPECT_FALSE(json[1].contains("loss_found"));
}

TEST_F(PredictCurve, AnUnfinishedCurveIsComparedWithAnotherTable) {
  RunTable one;
  one.curves = {table_.curves[8]};
  one.runs = {table_.runs[8]};
  const double end = one.curves[0].points.back().D;
  one.curves[0].points.resize(10);
  const std::string curve = folder_.write("one.csv", curves_csv(one)).string();
  const Json json =
      Json::parse(predicted({curves(), "--curve", curve, "--end", format_number(end), "--json", "-"}));
  ASSERT_EQ(json.size(), 1u);
  EXPECT_NEAR(json[0]["share"].get<double>(), 0.5, 1e-9);
  EXPECT_NEAR(json[0]["loss"]["value"].get<double>() / table_.runs[8].loss, 1, 0.003);
  EXPECT_FALSE(json[0].contains("loss_found"));
}

TEST_F(PredictCurve, RefusesInOneLine) {
  EXPECT_THAT(refusal({"--curve", curves(), "--share", "0.4"}),
              HasSubstr("found 24 runs with a curve ('run0', 'run1', 'run2', …), expected one, or --run"));
  EXPECT_THAT(refusal({"--curve", curves(), "--run", "other", "--share", "0.4"}),
              HasSubstr("expected 'other'"));
  EXPECT_EQ(refusal({"--curve", curves(), "--run", "run8"}),
            "--end: missing, expected the tokens that the schedule of 'run8' is for");
  EXPECT_EQ(refusal({"--curve", curves(), "--run", "run8", "--share", "1.5"}),
            "--share: found '1.5', expected less than 1");
  EXPECT_THAT(refusal({"--curve", curves(), "--run", "run8", "--share", "0.4", "--longer", "1k"}),
              HasSubstr("--longer: found '1k', expected more than the schedule's"));
  EXPECT_THAT(refusal({"--curve", curves(), "--flops", "1e12"}), HasSubstr("expected one of them"));
  EXPECT_THAT(refusal({"fit.json", "--curve", curves(), "--run", "run8", "--share", "0.4"}),
              HasSubstr("fit.json: found no sweep folder and no CSV table"));
  EXPECT_THAT(refusal({"--curve", folder_.path().string()}), HasSubstr("config.yaml"));
}

}  // namespace
}  // namespace minichilla::predict_command_test
