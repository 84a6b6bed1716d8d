// read_sweep_table: runs on disk become a table.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/config_fields.h"
#include "sweeps/analysis/run_table.h"
#include "sweeps/analysis/sweep_folder.h"
#include "tests/temporary_folder.h"
#include "trainer/files.h"
#include "trainer/metrics_log.h"
#include "trainer/run_directory.h"

namespace minichilla::sweep_table_test {
namespace {

using testing::HasSubstr;

class SweepTable : public testing::Test {
 protected:
  /// A planned run with its config; `status` "" leaves it without a result.
  void add(const std::string& id, const std::string& status, double loss = 3,
           const std::string& column = "flops") {
    PlannedRun planned;
    planned.run_id = id;
    planned.kind = "isoflop";
    planned.budget = 1e11;
    planned.flops_column = column;
    planned.seed = 4;
    plan_.push_back(planned);
    write_plan(folder_.path(), plan_);
    folder_.write("runs/" + id + "/config.yaml", yaml_text(write_config(RunConfig{})));
    if (status.empty()) return;
    RunResult result;
    result.run_id = id;
    result.status = status;
    result.reason = status == "done" ? "" : "the loss of step 7 is not finite";
    result.params = 5000;
    result.params_non_embedding = 4000;
    result.tokens = 1000;
    result.steps = 10;
    result.flops = 9.9e10;
    result.flops_hoffmann = 19.8e10;
    result.flops_6nd = 3e7;
    result.val_loss = loss;
    result.version = "test";
    folder_.write("runs/" + id + "/result.json", result_json(result));
  }

  void add_metrics(const std::string& id, const std::vector<MetricsRow>& rows) {
    std::string lines;
    for (const MetricsRow& row : rows) lines += metrics_line(row) + "\n";
    folder_.write("runs/" + id + "/attempts/1/metrics.jsonl", lines);
  }

  static MetricsRow row(std::int64_t tokens, double loss, const std::string& split) {
    MetricsRow result;
    result.step = tokens / 100;
    result.tokens = tokens;
    result.flops = 9.9e7 * static_cast<double>(tokens);
    result.loss = loss;
    result.split = split;
    return result;
  }

  TemporaryFolder folder_;
  std::vector<PlannedRun> plan_;
};

TEST_F(SweepTable, TakesFinishedRunsWithTheirBudgets) {
  add("one", "done", 3.5);
  const RunTable table = read_sweep_table(folder_.path(), ParameterCount::all);
  ASSERT_EQ(table.runs.size(), 1u);
  EXPECT_EQ(table.runs[0].run, "one");
  EXPECT_EQ(table.runs[0].N, 5000);
  EXPECT_EQ(table.runs[0].D, 1000);
  EXPECT_EQ(table.runs[0].C, 9.9e10);
  EXPECT_EQ(table.runs[0].loss, 3.5);
  EXPECT_EQ(table.runs[0].budget, 1e11);
  EXPECT_EQ(table.runs[0].seed, 4);
  EXPECT_TRUE(table.budgets_planned);
  EXPECT_TRUE(table.notes.empty());
  EXPECT_EQ(read_sweep_table(folder_.path(), ParameterCount::non_embedding).runs.at(0).N, 4000);
}

TEST_F(SweepTable, LeavesOutWhatIsNotFinishedAndSaysWhy) {
  add("one", "done");
  add("two", "diverged", std::nan(""));
  add("three", "");
  std::filesystem::remove_all(folder_ / "runs/three");
  add("four", "");
  add("five", "done", std::nan(""));
  const RunTable table = read_sweep_table(folder_.path(), ParameterCount::all);
  EXPECT_EQ(table.runs.size(), 1u);
  EXPECT_THAT(table.notes,
              testing::ElementsAre(HasSubstr("run two was left out: it diverged (the loss of step 7"),
                                   HasSubstr("run three was left out: its folder is missing"),
                                   HasSubstr("run four was left out: it is planned"),
                                   HasSubstr("run five was left out: it has no finite")));
}

TEST_F(SweepTable, CurvesAreTheEvaluationsAndTheEnd) {
  add("one", "done", 3);
  add_metrics(
      "one", {row(100, 9, ""), row(200, 5, "val"), row(300, 8, ""), row(400, 4, "val"), row(1000, 3, "val")});
  const RunTable table = read_sweep_table(folder_.path(), ParameterCount::all);
  ASSERT_EQ(table.curves.size(), 1u);
  const std::vector<CurvePoint>& points = table.curves[0].points;
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[0].D, 200);
  EXPECT_EQ(points[1].loss, 4);
  EXPECT_EQ(points[2].D, 1000);
  EXPECT_EQ(points[2].C, table.runs[0].C);
}

TEST_F(SweepTable, CurvesOfFewerTokensAreAsMuchHigherAsTheLastEvaluationIs) {
  add("one", "done", 3);
  MetricsRow last = row(1000, 3, "val");
  last.midway_loss = 2.5;
  add_metrics("one", {row(200, 5, "val"), row(400, 4, "val"), last});
  const RunTable table = read_sweep_table(folder_.path(), ParameterCount::all);
  const std::vector<CurvePoint>& points = table.curves.at(0).points;
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[0].loss, 5.5);
  EXPECT_EQ(points[1].loss, 4.5);
  EXPECT_EQ(points[2].loss, 3);
}

TEST_F(SweepTable, CountsFlopsInTheColumnThatTheBudgetSpends) {
  add("one", "done", 3, "flops_hoffmann");
  add_metrics("one", {row(500, 4, "val")});
  const RunTable table = read_sweep_table(folder_.path(), ParameterCount::all);
  EXPECT_EQ(table.runs.at(0).C, 19.8e10);
  EXPECT_DOUBLE_EQ(table.curves.at(0).points.at(0).C, 2 * 9.9e7 * 500);
}

TEST_F(SweepTable, SaysWhenThereIsNoPlan) {
  EXPECT_THAT(message_of<InputError>([&] { read_sweep_table(folder_.path(), ParameterCount::all); }),
              HasSubstr("plan.json"));
}

TEST(ParsePlan, NamesTheRunAndTheKeyThatIsWrong) {
  const TemporaryFolder folder;
  PlannedRun one;
  one.run_id = "one";
  write_plan(folder.path(), {one});
  const nlohmann::json good = nlohmann::json::parse(read_file(folder / "plan.json"));
  EXPECT_EQ(parse_plan(good.dump(), "plan.json").at(0).run_id, "one");
  const auto error = [&](const char* pointer, const nlohmann::json& value) {
    nlohmann::json bad = good;
    bad[nlohmann::json::json_pointer(pointer)] = value;
    return message_of<InputError>([&] { parse_plan(bad.dump(), "plan.json"); });
  };
  EXPECT_EQ(error("/format", 2), "plan.json: found format 2, expected 1");
  EXPECT_THAT(error("/runs", 2), HasSubstr("runs: missing, expected a list"));
  EXPECT_THAT(error("/runs/0/run_id", "../../elsewhere"),
              HasSubstr("runs[0]: run_id: found '../../elsewhere'"));
  EXPECT_THAT(error("/runs/0/tokens", 1e300),
              HasSubstr("runs[0]: tokens: found 1e+300, expected a whole number"));
  EXPECT_THAT(error("/runs/0/flops", nullptr),
              HasSubstr("runs[0]: flops: found null, expected a finite number"));
  EXPECT_THAT(error("/runs/0", 5), HasSubstr("runs[0]: found 5, expected an object"));
}

}  // namespace
}  // namespace minichilla::sweep_table_test
