#include "sweeps/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "kernels/error.h"
#include "sweeps/analysis/sweep_folder.h"
#include "sweeps/html.h"
#include "tests/sweeps/report_fixture.h"
#include "tests/temporary_folder.h"
#include "trainer/files.h"
#include "trainer/run_directory.h"

namespace minichilla::report_test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

ReportInput synthetic_input() {
  ReportInput input;
  input.title = "synthetic";
  input.table = synthetic_table(synthetic_budgets());
  input.fit = fit_all(input.table, quick_options());
  for (const Observation& run : input.table.runs) {
    ReportRun row;
    row.id = run.run;
    row.status = "done";
    row.N = run.N;
    row.D = run.D;
    row.C = row.budget = run.C;
    row.loss = run.loss;
    input.runs.push_back(row);
  }
  return input;
}

/// The page with its real figures.
std::string drawn_page_of(const ReportInput& input) {
  const TemporaryFolder folder;
  return report_page(input, draw_figures(make_figures({input.table, input.fit}), folder.path()),
                     "2025-02-03");
}

/// The page with empty pictures, for tests of its text.
std::string page_of(const ReportInput& input) {
  std::vector<DrawnFigure> figures;
  for (const Figure& figure : make_figures({input.table, input.fit})) {
    figures.push_back({figure, figure.missing.empty() ? "<svg></svg>" : "", {}, ""});
  }
  return report_page(input, figures, "2025-02-03");
}

TEST(Html, EscapesWhatMarkupWouldTake) {
  EXPECT_EQ(html_escaped("<a href=\"x\">&'\x01"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39; ");
  EXPECT_EQ(html_escaped("2×10¹¹"), "2×10¹¹");
}

TEST(Html, PowersOfTen) {
  EXPECT_EQ(html_power(3e11), "3×10<sup>11</sup>");
  EXPECT_EQ(html_power(1e12), "10<sup>12</sup>");
  EXPECT_EQ(html_power(9.996e12), "10<sup>13</sup>");
  EXPECT_EQ(html_power(42), "42");
  EXPECT_EQ(html_power(0.0012), "1.2×10<sup>-3</sup>");
  EXPECT_EQ(html_power(0), "0");
}

TEST(Html, UnknownNumbersAreDashes) {
  EXPECT_EQ(number_cell(std::nan(""), "7").markup, "–");
  HtmlTable table({"A", "B"}, true);
  table.row({text_cell("<x>"), number_cell(1.5, "1.5")});
  EXPECT_THAT(table.html(), AllOf(HasSubstr("<th class=\"n\">B</th>"), HasSubstr("<td>&lt;x&gt;</td>"),
                                  HasSubstr("<td class=\"n\" data-sort=\"1.5\">1.5</td>")));
}

TEST(Report, PageHoldsEverything) {
  const ReportInput input = synthetic_input();
  const std::string page = drawn_page_of(input);
  // The answer comes before everything else that is said.
  EXPECT_THAT(page, HasSubstr("<h1>For 30T FLOPs, ten times the largest budget, train "));
  EXPECT_LT(page.find("<h1>"), page.find("<table"));
  for (const ReportRun& run : input.runs) EXPECT_THAT(page, HasSubstr("<code>" + run.id + "</code>"));
  for (const char* figure : {"isoflop", "envelope", "surface", "params", "tokens", "curves"}) {
    const std::size_t at = page.find(std::string("<figure id=\"figure-") + figure);
    ASSERT_NE(at, std::string::npos) << figure;
    EXPECT_LT(page.find("<svg", at), page.find("</figure>", at)) << figure;
  }
  EXPECT_THAT(page,
              AllOf(HasSubstr("[0.462, 0.534]"), HasSubstr("2025-02-03"), HasSubstr("3 · surface L(N, D)")));
}

TEST(Report, PageNeedsNothingFromElsewhere) {
  const std::string page = drawn_page_of(synthetic_input());
  for (const char* outside :
       {"http:", "https:", "src=", "@import", "url(http", "<link", "<?xml", "<!DOCTYPE svg"}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
}

TEST(Report, IdsAreUnique) {
  const std::string page = drawn_page_of(synthetic_input());
  std::set<std::string> seen;
  for (const char* opening : {" id=\"", " id='"}) {
    for (std::size_t at = page.find(opening); at != std::string::npos; at = page.find(opening, at + 1)) {
      const std::size_t begin = at + std::string(opening).size();
      const std::string id = page.substr(begin, page.find(opening[4], begin) - begin);
      EXPECT_TRUE(seen.insert(id).second) << id;
    }
  }
  EXPECT_GT(seen.size(), 20u);
}

TEST(Report, TextFromFilesIsEscaped) {
  ReportInput input = synthetic_input();
  const std::string evil = "<script>alert('x')</script>&";
  input.title = input.runs[0].id = input.runs[0].status = input.runs[0].reason = input.config = evil;
  input.fit.answer = input.table.loss_unit = evil;
  input.warnings = input.commands = input.table.notes = {evil};
  input.provenance = {{evil, evil}};
  input.fit.isoflop.profiles[0].used = false;
  input.fit.isoflop.profiles[0].reason = evil;
  input.fit.envelope.refused = evil;
  const std::string page = page_of(input);
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, HasSubstr("<h1>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;</h1>"));
}

TEST(Report, RefusalsAndDivergedRunsAreSaid) {
  ReportInput input = synthetic_input();
  input.runs[2].status = "diverged";
  input.runs[2].reason = "the loss was not finite at step 812";
  input.runs[2].loss = kUnknown;
  input.fit.isoflop.profiles[0].used = false;
  input.fit.isoflop.profiles[0].reason = "the loss still falls at the largest size";
  input.fit.envelope.refused = "one model wins everywhere";
  input.fit.parametric.refused = "the loss does not depend on D";
  input.fit.predictions.clear();
  const std::string page = page_of(input);
  EXPECT_THAT(page, AllOf(HasSubstr("<strong>diverged</strong>"), HasSubstr("not finite at step 812"),
                          HasSubstr("the loss still falls at the largest size"),
                          HasSubstr("no estimate: one model wins everywhere"),
                          HasSubstr("no estimate: the loss does not depend on D"),
                          Not(HasSubstr("id=\"prediction\""))));
}

TEST(Report, ColumnsThatNobodyKnowsAreLeftOut) {
  ReportInput input = synthetic_input();
  EXPECT_THAT(page_of(input), Not(HasSubstr("Learning rate")));
  input.runs[5].learning_rate = 0.0057;
  EXPECT_THAT(page_of(input), HasSubstr("Learning rate"));
}

TEST(ReportInput, TableIsFittedAndSaysSo) {
  const TemporaryFolder folder;
  const fs::path file = folder.write("my runs.csv", curves_csv(synthetic_table({1e11, 1e12})));
  const ReportInput input = read_report_input(file, {});
  EXPECT_EQ(input.title, "my runs.csv");
  EXPECT_EQ(input.runs.size(), 12u);
  EXPECT_EQ(input.table.curves.size(), 12u);
  ASSERT_EQ(input.warnings.size(), 1u);
  EXPECT_THAT(input.warnings[0], HasSubstr("minichilla fit"));
}

TEST(ReportInput, FitFindsItsTableBesideItself) {
  const TemporaryFolder folder;
  RunTable table = synthetic_table({1e11, 1e12});
  folder.write("runs.csv", runs_csv(table));
  table.source = "somewhere/else/runs.csv";
  const Fit fit = fit_all(table, quick_options());
  const fs::path file = folder.write("fit.json", to_json(fit).dump());
  const ReportInput input = read_report_input(file, {});
  EXPECT_EQ(input.fit.answer, fit.answer);
  EXPECT_THAT(input.warnings, IsEmpty());
  EXPECT_EQ(report_folder(file), folder.path());
}

TEST(ReportInput, FitWithoutItsTableIsAnInputError) {
  const TemporaryFolder folder;
  const Fit fit = fit_all(synthetic_table({1e12}), quick_options());
  const fs::path file = folder.write("fit.json", to_json(fit).dump());
  EXPECT_THAT(message_of<InputError>([&] { read_report_input(file, {}); }),
              AllOf(HasSubstr(file.string()), HasSubstr("sweeps/synthetic")));
  const fs::path torn = folder.write("torn.json", "{\"source\": ");
  EXPECT_THAT(message_of<InputError>([&] { read_report_input(torn, {}); }), HasSubstr("not JSON"));
  EXPECT_THAT(message_of<InputError>([&] { read_report_input(folder / "nothing", {}); }),
              HasSubstr("not there"));
}

TEST(ReportInput, FitOfFewerRunsIsStale) {
  const TemporaryFolder folder;
  const RunTable table = synthetic_table({1e11, 1e12});
  const fs::path csv = folder.write("runs.csv", runs_csv(table));
  RunTable older = table;
  older.runs.resize(10);
  older.source = csv.string();
  const fs::path file = folder.write("fit.json", to_json(fit_all(older, quick_options())).dump());
  EXPECT_THAT(read_report_input(file, {}).warnings,
              ElementsAre(HasSubstr("from 10 runs, the table has 12 now")));
}

/// A planned run with its config and, unless it is only planned, its result.
PlannedRun add_run(const fs::path& sweep, const Observation& observation, const std::string& status) {
  PlannedRun planned;
  planned.run_id = observation.run;
  planned.kind = "isoflop";
  planned.budget = planned.flops = observation.budget;
  planned.params = static_cast<std::int64_t>(observation.N);
  planned.params_non_embedding = planned.params / 2;
  planned.tokens = static_cast<std::int64_t>(observation.D);
  const fs::path folder = run_folder(sweep, planned.run_id);
  fs::create_directories(folder);
  RunConfig config;
  config.train.tokens = planned.tokens;
  config.data.corpus = "corpora/gone";
  replace_file(folder / "config.yaml", yaml_text(write_config(config)));
  if (status == "planned") return planned;
  RunResult result;
  result.run_id = planned.run_id;
  result.status = status;
  if (status == "diverged") result.reason = "the loss was not finite";
  result.params = planned.params;
  result.params_non_embedding = planned.params_non_embedding;
  result.tokens = planned.tokens;
  result.flops = planned.flops;
  result.val_loss = observation.loss;
  result.numerics_id = "0123abcd";
  result.version = "9.9.9";
  publish_file(folder / "result.json", result_json(result));
  return planned;
}

class ReportOfSweep : public ::testing::Test {
 protected:
  ReportOfSweep() {
    std::vector<PlannedRun> plan;
    for (const Observation& run : synthetic_table({1e11, 1e12}).runs) {
      plan.push_back(add_run(folder_.path(), run,
                             plan.size() == 2   ? "diverged"
                             : plan.size() == 7 ? "planned"
                                                : "done"));
    }
    write_plan(folder_.path(), plan);
  }
  TemporaryFolder folder_;
};

TEST_F(ReportOfSweep, ListsEveryPlannedRun) {
  const ReportInput input = read_report_input(folder_.path(), {});
  ASSERT_EQ(input.runs.size(), 12u);
  EXPECT_EQ(input.table.runs.size(), 10u);
  EXPECT_EQ(input.runs[2].status, "diverged");
  EXPECT_EQ(input.runs[2].reason, "the loss was not finite");
  EXPECT_EQ(input.runs[7].status, "planned");
  EXPECT_FALSE(std::isfinite(input.runs[7].loss));
  EXPECT_DOUBLE_EQ(input.runs[7].budget, 1e12);
  EXPECT_EQ(input.title, folder_.path().filename().string());
  EXPECT_THAT(page_of(input),
              AllOf(HasSubstr("0123abcd"), HasSubstr("9.9.9"), HasSubstr("cannot be opened")));
}

TEST_F(ReportOfSweep, CountsParametersAsItsFitDid) {
  const RunTable table = read_sweep_table(folder_.path(), ParameterCount::non_embedding);
  folder_.write("fit.json", to_json(fit_all(table, quick_options())).dump());
  const ReportInput input = read_report_input(folder_.path(), {});
  EXPECT_EQ(input.count, ParameterCount::non_embedding);
  EXPECT_DOUBLE_EQ(input.table.runs[0].N, table.runs[0].N);
  EXPECT_DOUBLE_EQ(input.runs[0].N, table.runs[0].N);
  EXPECT_THAT(input.warnings, IsEmpty());
}

TEST(ReportInput, SweepWithoutFinishedRunsIsAnInputError) {
  const TemporaryFolder folder;
  write_plan(folder.path(), {add_run(folder.path(), synthetic_table({1e12}).runs[0], "planned")});
  EXPECT_THAT(message_of<InputError>([&] { read_report_input(folder.path(), {}); }),
              HasSubstr("no finished run"));
}

}  // namespace
}  // namespace minichilla::report_test
