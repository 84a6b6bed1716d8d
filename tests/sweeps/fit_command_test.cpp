// minichilla fit, from tables.
#include <gmock/gmock.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/error.h"
#include "sweeps/report_input.h"
#include "tests/analysis/simulated_sweep.h"
#include "tests/sweeps/run_command.h"
#include "tests/temporary_folder.h"

namespace minichilla::fit_command_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::json;

std::string fitted(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "fit");
  return run_command(add_fit_command, arguments).output;
}

Json fitted_json(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--json", "-"});
  return Json::parse(fitted(std::move(arguments)));
}

class FitCommand : public testing::Test {
 protected:
  /// Two sweeps in one table, told apart by a column; the second has another alpha, and N is also counted
  /// without embeddings, at half.
  FitCommand() {
    std::string text = "config,N,half,D,C,budget,loss\n";
    for (const char* config : {"first", "second"}) {
      SweepDesign design;
      design.noise = 0.002;
      design.sizes = 8;
      if (std::string(config) == "second") design.surface = {1.3, 600, 400, 0.5, 0.34};
      for (const Observation& run : simulated_sweep(design, 4).runs) {
        char line[200];
        std::snprintf(line, sizeof line, "%s,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g\n", config, run.N, run.N / 2,
                      run.D, run.C, run.budget, run.loss);
        text += line;
      }
    }
    table_ = folder_.write("runs.csv", text).string();
  }

  const TemporaryFolder folder_;
  std::string table_;
};

TEST_F(FitCommand, FitsTheRowsAndTheApproachesThatAreAskedFor) {
  const Json json = fitted_json({table_, "--where", "config=first", "--approach", "isoflop",
                                 "variable_projection", "--bootstrap", "10", "--interpolation", "akima"});
  EXPECT_EQ(json["runs"], 32);
  const Json& approaches = json["approaches"];
  EXPECT_EQ(approaches["parametric"]["refused"], "not asked for");
  EXPECT_EQ(approaches["isoflop"]["interpolation"], "akima");
  EXPECT_NEAR(approaches["variable_projection"]["a"]["value"].get<double>(), 0.5, 0.05);
  EXPECT_TRUE(approaches["variable_projection_robust"]["a"].contains("ci80"));
  const std::string text =
      fitted({table_, "--where", "config=first", "--approach", "isoflop", "--bootstrap", "0"});
  EXPECT_THAT(text, AllOf(HasSubstr("2 IsoFLOP minima"), Not(HasSubstr("not asked for")),
                          Not(HasSubstr("approach 3"))));
}

TEST_F(FitCommand, TakesColumnsByOtherNamesAndDropsLosses) {
  const Json all =
      fitted_json({table_, "--where", "config=first", "--approach", "parametric", "--bootstrap", "0"});
  const Json half = fitted_json({table_, "--where", "config=first", "--approach", "parametric", "--bootstrap",
                                 "0", "--columns", "params=half"});
  const auto A = [](const Json& json) {
    return json["approaches"]["parametric"]["A"]["value"].get<double>();
  };
  const double alpha = all["approaches"]["parametric"]["alpha"]["value"];
  EXPECT_NEAR(A(half) / A(all), std::pow(0.5, alpha), 1e-5);
  const Json fewer = fitted_json({table_, "--where", "config=first", "--approach", "parametric",
                                  "--bootstrap", "0", "--drop-highest-loss", "3"});
  EXPECT_EQ(fewer["approaches"]["parametric"]["runs_used"], 29);
}

TEST_F(FitCommand, TheReportOfAFitTakesTheSameRows) {
  const std::string file = (folder_ / "fit.json").string();
  fitted({table_, "--where", "config=second", "--drop-highest-loss", "2", "--flops", "6nd", "--bootstrap",
          "5", "--output", file});
  const ReportInput report = read_report_input(file, nullptr);
  EXPECT_EQ(report.table.runs.size(), 30u);
  EXPECT_EQ(report.fit.runs, 30);
  EXPECT_EQ(report.table.flop_count, "6nd");
}

TEST_F(FitCommand, ComparesTwoSweeps) {
  std::string first = "N,D,C,budget,loss\n", second = first;
  const TemporaryFolder other;
  std::string line;
  std::ifstream rows(table_);
  while (std::getline(rows, line)) {
    // config,N,half,D,…: the halves are left out
    std::istringstream fields(line);
    std::string config, N, half, rest;
    std::getline(fields, config, ',');
    std::getline(fields, N, ',');
    std::getline(fields, half, ',');
    std::getline(fields, rest);
    if (config != "config") (config == "first" ? first : second) += N + "," + rest + "\n";
  }
  const std::string a = other.write("a.csv", first).string(), b = other.write("b.csv", second).string();
  const std::vector<std::string> arguments = {a,   b, "--compare", "--approach", "parametric", "--bootstrap",
                                              "40"};
  const Json json = fitted_json(arguments);
  for (const Json& one : json["differences"]) {
    if (one["constant"] != "alpha") continue;
    EXPECT_EQ(one["differs"], true);
    EXPECT_NEAR(one["change"]["value"].get<double>(), 0.16, 0.06);
  }
  EXPECT_EQ(json["first"]["runs"], 32);
  EXPECT_THAT(fitted(arguments),
              AllOf(HasSubstr("Change from the first to the second"), HasSubstr("differs")));
  EXPECT_THAT(message_of<InputError>([&] { fitted({a, b}); }), HasSubstr("found 2 inputs"));
}

TEST_F(FitCommand, FitsRunsToTargetLosses) {
  std::string text = "loss_target,batch_tokens,steps\n";
  for (const double loss : {2.5, 3.0, 3.5}) {
    const double critical = 2e8 * std::pow(loss, -5);
    for (const double share : {0.1, 0.5, 1.0, 4.0, 20.0}) {
      text += std::to_string(loss) + "," + std::to_string(share * critical) + "," +
              std::to_string(1e5 * (1 + 1 / share)) + "\n";
    }
  }
  const std::string file = folder_.write("batches.csv", text).string();
  const Json json = fitted_json({file, "--approach", "kaplan", "--bootstrap", "0"});
  EXPECT_NEAR(json["approaches"]["kaplan"]["B_crit"]["alpha_B"]["value"].get<double>(), 0.2, 1e-4);
  EXPECT_THAT(fitted({file, "--bootstrap", "0"}), AllOf(HasSubstr("15 runs"), HasSubstr("B_star")));
}

}  // namespace
}  // namespace minichilla::fit_command_test
