#include "sweeps/analysis/run_table.h"

#include <gmock/gmock.h>

#include "kernels/error.h"
#include "tests/analysis/simulated_sweep.h"
#include "tests/temporary_folder.h"

namespace minichilla::run_table_test {
namespace {

using testing::HasSubstr;

RunTable read_text(const std::string& text) {
  const TemporaryFolder folder;
  return read_csv_table(folder.write("runs.csv", text));
}

std::string error_of(const std::string& text) {
  return message_of<InputError>([&] { read_text(text); });
}

TEST(RunTable, ReadsShortAndLongColumnNames) {
  for (const char* header : {"N,D,C,loss,group,run,seed", "params,tokens,flops,loss,budget,run,seed"}) {
    const RunTable table = read_text(std::string(header) + "\n1e6,2e7,1.5e14,3.25,1e14,first,7\n");
    ASSERT_EQ(table.runs.size(), 1u);
    EXPECT_EQ(table.runs[0].N, 1e6);
    EXPECT_EQ(table.runs[0].D, 2e7);
    EXPECT_EQ(table.runs[0].C, 1.5e14);
    EXPECT_EQ(table.runs[0].loss, 3.25);
    EXPECT_EQ(table.runs[0].budget, 1e14);
    EXPECT_EQ(table.runs[0].run, "first");
    EXPECT_EQ(table.runs[0].seed, 7);
    EXPECT_TRUE(table.budgets_planned);
    EXPECT_TRUE(table.curves.empty());
  }
}

TEST(RunTable, TakesAnyOrderCommentsBlankLinesQuotesByteOrderMarkAndCarriageReturns) {
  const RunTable table = read_text(
      "\xef\xbb\xbf# source\r\n\r\nloss, note ,D,N\r\n3.5,\"a, \"\"b\"\"\", 20 ,10\r\n# end\r\n4,,2,1\r\n");
  ASSERT_EQ(table.runs.size(), 2u);
  EXPECT_EQ(table.runs[0].N, 10);
  EXPECT_EQ(table.runs[0].D, 20);
  EXPECT_EQ(table.runs[1].loss, 4);
}

TEST(RunTable, ReadsWeights) {
  EXPECT_EQ(read_text("N,D,loss\n10,20,3\n").runs.at(0).weight, 1);
  EXPECT_EQ(read_text("N,D,loss,weight\n10,20,3,2.5\n").runs.at(0).weight, 2.5);
  EXPECT_THAT(error_of("N,D,loss,weight\n10,20,3,0\n"),
              HasSubstr("runs.csv:2: column weight: found '0', expected a number above zero"));
  TableOptions options;
  options.columns = {{"weight", "precision"}};
  EXPECT_EQ(parse_csv_table("N,D,loss,precision\n10,20,3,7\n", "runs.csv", options).runs.at(0).weight, 7);
}

TEST(RunTable, CountsFlopsInAnotherWay) {
  SweepDesign design;
  RunTable table = simulated_sweep(design, 1);
  for (Observation& run : table.runs) {
    run.C = run.budget = 2 * run.budget;
    run.C_exact = 6.3 * run.N * run.D;
  }
  RunTable six = table;
  count_flops(six, "6nd");
  EXPECT_EQ(six.flop_count, "6nd");
  EXPECT_FALSE(six.budgets_planned);
  for (std::size_t i = 0; i < six.runs.size(); ++i) {
    EXPECT_DOUBLE_EQ(six.runs[i].C, 6 * six.runs[i].N * six.runs[i].D);
    EXPECT_NEAR(six.runs[i].budget / six.runs[i].C, 1, 0.01) << "found again among the runs";
    EXPECT_DOUBLE_EQ(six.curves[i].points.back().C / table.curves[i].points.back().C,
                     six.runs[i].C / table.runs[i].C);
  }
  RunTable exact = table;
  count_flops(exact, "exact");
  EXPECT_DOUBLE_EQ(exact.runs[5].C, 6.3 * exact.runs[5].N * exact.runs[5].D);
  EXPECT_EQ(
      message_of<InputError>([&] { count_flops(table, "hoffmann"); }),
      "--flops: found 'hoffmann', which the runs of simulation do not tell, expected 6nd, or a sweep folder");
}

TEST(RunTable, MakesFlopsOutOfParametersAndTokensWhenTheyAreMissing) {
  const RunTable table = read_text("N,D,loss\n10,20,3\n");
  EXPECT_EQ(table.runs.at(0).C, 1200);
  EXPECT_THAT(table.notes, testing::ElementsAre(HasSubstr("6·N·D")));
}

TEST(RunTable, SeveralRowsOfARunAreACurve) {
  const RunTable table = read_text("run,N,D,loss\nx,10,1,5\nx,10,2,4\ny,20,1,6\nx,10,3,3.5\n");
  ASSERT_EQ(table.runs.size(), 2u);
  EXPECT_EQ(table.runs[0].D, 3);
  EXPECT_EQ(table.runs[0].loss, 3.5);
  ASSERT_EQ(table.curves.size(), 1u);
  EXPECT_EQ(table.curves[0].run, "x");
  ASSERT_EQ(table.curves[0].points.size(), 3u);
  EXPECT_EQ(table.curves[0].points[1].loss, 4);
}

TEST(RunTable, NamesFileLineColumnFoundAndExpected) {
  EXPECT_THAT(error_of("N,D,loss\n10,20,3\n10,abc,3\n"),
              HasSubstr("runs.csv:3: column D: found 'abc', expected a finite"));
  EXPECT_THAT(error_of("# x\nN,D,loss\n10,20,0\n"),
              HasSubstr("runs.csv:3: column loss: found '0', expected a number above"));
  for (const char* loss : {"-1", "nan", "inf", "", "3x", "1e999"}) {
    EXPECT_THAT(error_of(std::string("N,D,loss\n10,20,") + loss + "\n"),
                HasSubstr("runs.csv:2: column loss"));
  }
  EXPECT_THAT(error_of("N,D,loss,seed\n10,20,3,1.5\n"),
              HasSubstr("column seed: found '1.5', expected a whole number"));
  EXPECT_THAT(error_of("N,D,loss,budget\n10,20,3,-1\n"), HasSubstr("column budget"));
  EXPECT_THAT(error_of("N,D,loss,run\n10,20,3,\n"), HasSubstr("column run"));
  EXPECT_THAT(error_of("N,D,loss\n1e200,1e200,3\n"), HasSubstr("range of a double"));
}

TEST(RunTable, NamesWhatIsWrongWithTheTable) {
  EXPECT_THAT(error_of(""), HasSubstr("expected a CSV table with a header"));
  EXPECT_THAT(error_of("N,D,loss\n"), HasSubstr("no rows"));
  EXPECT_THAT(error_of("param,D,loss\n1,2,3\n"),
              HasSubstr("no column params or N, found 'param, D, loss'; is 'param' meant?"));
  EXPECT_THAT(error_of("N,D\n1,2\n"), HasSubstr("no column loss"));
  EXPECT_THAT(error_of("N,D,loss\n1,2\n"), HasSubstr("runs.csv:2: found 2 fields, expected 3"));
  EXPECT_THAT(error_of("N,D,N,loss\n"), HasSubstr("'N' twice"));
  EXPECT_THAT(error_of("N,params,D,loss\n1,1,2,3\n"), HasSubstr("mean the same"));
  EXPECT_THAT(error_of("N,D,loss,x\n1,2,3,\"open\n"), HasSubstr("runs.csv:2: a double quote is not closed"));
  EXPECT_THAT(error_of("N,D,loss,x\n1,2,3,\"a\" b\n"),
              HasSubstr("runs.csv:2: found 'b' after the closing double quote"));
}

TEST(RunTable, BlanksAroundAFieldAreNotPartOfIt) {
  const RunTable table = parse_csv_table("N, D,loss,run\r\n 1,2\t, 3 ,  \" in quotes \" \r\n", "runs.csv");
  ASSERT_EQ(table.runs.size(), 1U);
  EXPECT_EQ(table.runs[0].run, " in quotes ");
  EXPECT_EQ(table.runs[0].D, 2);
}

TEST(RunTable, RefusesCurvesThatDoNotGoForward) {
  EXPECT_THAT(error_of("run,N,D,loss\nx,10,2,5\nx,10,2,4\n"),
              HasSubstr("runs.csv:3: column D: found '2', expected more tokens"));
  EXPECT_THAT(error_of("run,N,D,loss\nx,10,2,5\nx,11,3,4\n"), HasSubstr("column N: found '11', expected 10"));
  EXPECT_THAT(error_of("run,N,D,C,loss\nx,10,2,50,5\nx,10,3,40,4\n"),
              HasSubstr("column C: found '40', expected more FLOPs"));
}

TEST(RunTable, RunsWithNearlyTheSameFlopsBecomeABudget) {
  std::vector<Observation> runs;
  for (const double C : {1e15, 3e15}) {
    for (int i = 0; i < 4; ++i) runs.push_back({1e5 * (i + 1), 1e9, C * (1 + 0.005 * i), 3, 0, "", 0});
  }
  runs.push_back({1e6, 1e9, 1e16, 3, 0, "", 0});
  assign_budgets(runs);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(runs[static_cast<std::size_t>(i)].budget, 1.01e15);
  for (int i = 4; i < 8; ++i) EXPECT_EQ(runs[static_cast<std::size_t>(i)].budget, 3.02e15);
  EXPECT_EQ(runs[8].budget, 0);
}

TEST(RunTable, ScatteredFlopsAreNoBudgets) {
  std::vector<Observation> runs;
  for (int i = 0; i < 60; ++i)
    runs.push_back({1e5 + i, 1e9, 1e15 * std::pow(1.02, i), 3, 0, "", 0});  // a chain
  for (int i = 0; i < 3; ++i) runs.push_back({1e5 + i, 1e9, 1e20, 3, 0, "", 0});
  assign_budgets(runs);
  for (const Observation& run : runs) EXPECT_EQ(run.budget, 0);
}

TEST(RunTable, ExportReadsBack) {
  RunTable table = simulated_sweep(SweepDesign{}, 1);
  table.runs[0].run = table.curves[0].run = "with, comma and \"quotes\"";
  table.runs[1].run = table.curves[1].run = " blanks at both ends\t";
  const TemporaryFolder folder;
  const RunTable ends = read_csv_table(folder.write("runs.csv", runs_csv(table)));
  const RunTable curves = read_csv_table(folder.write("curves.csv", curves_csv(table)));
  ASSERT_EQ(ends.runs.size(), table.runs.size());
  ASSERT_EQ(curves.curves.size(), table.curves.size());
  for (std::size_t i = 0; i < table.runs.size(); ++i) {
    for (const Observation& run : {ends.runs[i], curves.runs[i]}) {
      EXPECT_EQ(run.run, table.runs[i].run);
      EXPECT_EQ(run.N, table.runs[i].N);
      EXPECT_EQ(run.D, table.runs[i].D);
      EXPECT_EQ(run.C, table.runs[i].C);
      EXPECT_EQ(run.loss, table.runs[i].loss);
      EXPECT_EQ(run.budget, table.runs[i].budget);
    }
    EXPECT_EQ(curves.curves[i].points.size(), table.curves[i].points.size());
  }
}

RunTable read_with(const std::string& text, const TableOptions& options) {
  return parse_csv_table(text, "runs.csv", options);
}

TableOptions where(std::vector<std::pair<std::string, std::string>> conditions) {
  TableOptions options;
  options.where = std::move(conditions);
  return options;
}

TEST(RunTable, TakesTheRowsThatAreAskedFor) {
  const std::string text = "N,D,loss,config,tuned\n1,1,5,a,1\n2,1,4,b,1.0\n3,1,3,b,0\n4,1,2,c,1\n";
  EXPECT_EQ(read_with(text, where({{"config", "b"}})).runs.size(), 2u);
  EXPECT_EQ(read_with(text, where({{"config", "b"}, {"config", "c"}})).runs.size(), 3u);
  const RunTable both = read_with(text, where({{"config", "b"}, {"tuned", "1"}}));
  ASSERT_EQ(both.runs.size(), 1u);
  EXPECT_EQ(both.runs[0].N, 2) << "1.0 is the number 1";
  const auto error = [&](const TableOptions& options) {
    return message_of<InputError>([&] { read_with(text, options); });
  };
  EXPECT_THAT(error(where({{"confg", "b"}})), HasSubstr("no column confg"));
  EXPECT_THAT(error(where({{"config", "d"}})), HasSubstr("no row with config='d', the column has 'a, b, c'"));
}

TEST(RunTable, TakesColumnsByOtherNames) {
  const std::string text = "N,N_noembed,D,loss,smooth,lr,U,note\n10,7,20,3,2.5,1e-3,15,x\n8,6,9,4,3.5,,,y\n";
  const RunTable plain = read_with(text, {});
  EXPECT_EQ(plain.runs[0].N, 10);
  EXPECT_EQ(plain.runs[0].N_non_embedding, 7);
  EXPECT_EQ(plain.runs[0].learning_rate, 1e-3);
  EXPECT_EQ(plain.runs[0].unique_tokens, 15);
  EXPECT_EQ(plain.runs[1].learning_rate, 0) << "an empty field of a column that nobody asked for";
  TableOptions options;
  options.columns = {{"params", "N_noembed"}, {"loss", "smooth"}};
  const RunTable named = read_with(text, options);
  EXPECT_EQ(named.runs[0].N, 7);
  EXPECT_EQ(named.runs[0].loss, 2.5);
  const auto error = [&](std::pair<std::string, std::string> column) {
    TableOptions wrong;
    wrong.columns = {std::move(column)};
    return message_of<InputError>([&] { read_with(text, wrong); });
  };
  EXPECT_THAT(error({"parms", "N"}), HasSubstr("did you mean params?"));
  EXPECT_THAT(error({"params", "N_noembd"}), HasSubstr("is 'N_noembed' meant?"));
  EXPECT_THAT(error({"learning_rate", "note"}),
              HasSubstr("runs.csv:2: column note: found 'x', expected a finite number"));
}

TEST(RunTable, EveryRowMayBeARun) {
  TableOptions options;
  options.every_row = true;
  const RunTable table = read_with("run,N,D,loss\nx,10,1,5\nx,10,2,4\ny,20,1,6\n", options);
  ASSERT_EQ(table.runs.size(), 3u);
  EXPECT_EQ(table.runs[0].loss, 5);
  EXPECT_EQ(table.runs[1].run, "x");
  EXPECT_EQ(table.curves.size(), 1u);
}

TEST(RunTable, DropsTheHighestLosses) {
  RunTable table = read_text("N,D,loss\n1,1,3\n2,1,9\n3,1,5\n4,1,9\n5,1,4\n");
  drop_highest_losses(table, 1);
  EXPECT_EQ(table.runs.size(), 4u);
  EXPECT_EQ(table.runs[1].N, 2) << "of equal losses the last goes";
  drop_highest_losses(table, 2);
  ASSERT_EQ(table.runs.size(), 2u);
  EXPECT_EQ(table.runs[0].loss, 3);
  EXPECT_EQ(table.runs[1].loss, 4);
  EXPECT_THAT(table.notes.back(), HasSubstr("2 runs of highest loss were left out, from 5 up"));
  EXPECT_THAT(message_of<InputError>([&] { drop_highest_losses(table, 2); }),
              HasSubstr("fewer than the 2 runs"));
}

TEST(RunTable, ReadsRunsToTargetLosses) {
  const RunTable table = read_text("loss_target,batch_tokens,steps\n3,1000,50\n2.5,2000,80\n");
  EXPECT_TRUE(table.runs.empty());
  ASSERT_EQ(table.batch_runs.size(), 2u);
  EXPECT_EQ(table.batch_runs[1].steps, 80);
  EXPECT_THAT(error_of("loss_target,batch_tokens\n3,1000\n"), HasSubstr("no column steps"));
  EXPECT_THAT(error_of("loss_target,batch_tokens,steps\n3,0,5\n"),
              HasSubstr("column batch_tokens: found '0'"));
}

}  // namespace
}  // namespace minichilla::run_table_test
