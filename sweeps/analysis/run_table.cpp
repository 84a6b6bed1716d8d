#include "sweeps/analysis/run_table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "kernels/error.h"
#include "model/config_fields.h"
#include "sweeps/analysis/csv.h"
#include "trainer/files.h"

namespace minichilla {
namespace {

constexpr double kBudgetGap = 1.03, kBudgetSpan = 1.1;  ///< ratios of C: neighbours, and a whole budget
constexpr std::size_t kBudgetSizes = 3;

struct Columns {
  std::size_t N, D, loss;
  std::optional<std::size_t> C, budget, run, seed;
};

Columns columns_of(const CsvTable& csv) {
  Columns columns{};
  columns.N = csv.require({"params", "N"});
  columns.D = csv.require({"tokens", "D"});
  columns.loss = csv.require({"loss"});
  columns.C = csv.find({"flops", "C"});
  columns.budget = csv.find({"budget", "group"});
  columns.run = csv.find({"run"});
  columns.seed = csv.find({"seed"});
  return columns;
}

std::int64_t seed_of(const CsvTable& csv, const CsvRow& row, std::size_t column) {
  const double seed = csv.number(row, column);
  if (seed != std::floor(seed) || std::fabs(seed) > 9e15) csv.fail(row, column, "a whole number");
  return static_cast<std::int64_t>(seed);
}

Observation observation_of(const CsvTable& csv, const CsvRow& row, const Columns& columns) {
  Observation run{};
  run.N = csv.positive(row, columns.N);
  run.D = csv.positive(row, columns.D);
  run.C = columns.C ? csv.positive(row, *columns.C) : 6 * run.N * run.D;
  if (!std::isfinite(run.C)) csv.fail(row, columns.N, "6·N·D within the range of a double");
  run.loss = csv.positive(row, columns.loss);
  if (columns.budget && !row.fields[*columns.budget].empty()) {
    run.budget = csv.number(row, *columns.budget);
    if (run.budget < 0) csv.fail(row, *columns.budget, "a budget in FLOPs, or 0 or nothing for none");
  }
  if (columns.seed) run.seed = seed_of(csv, row, *columns.seed);
  run.run = columns.run ? row.fields[*columns.run] : "line " + std::to_string(row.line);
  if (run.run.empty()) csv.fail(row, *columns.run, "the name of a run");
  return run;
}

/// Makes the curves out of runs with several rows; a run's observation is its row with the most tokens.
class CurveCollector {
 public:
  CurveCollector(const CsvTable& csv, const Columns& columns) : csv_(csv), columns_(columns) {}

  void add(const CsvRow& row) {
    Observation here = observation_of(csv_, row, columns_);
    const auto [place, is_new] = index_.try_emplace(here.run, runs_.size());
    if (is_new) {
      curves_.push_back({here.run, here.N, {}});
      runs_.push_back(here);
    }
    Observation& run = runs_[place->second];
    Curve& curve = curves_[place->second];
    if (here.N != run.N)
      csv_.fail(row, columns_.N, format_number(run.N) + " as in the other rows of this run");
    if (!is_new && !(here.D > run.D))
      csv_.fail(row, columns_.D, "more tokens than in the row before of this run");
    if (!is_new && !(here.C > run.C))
      csv_.fail(row, *columns_.C, "more FLOPs than in the row before of this run");
    curve.points.push_back({here.D, here.C, here.loss});
    run = here;
  }

  void move_into(RunTable& table) {
    table.runs = std::move(runs_);
    for (Curve& curve : curves_) {
      if (curve.points.size() > 1) table.curves.push_back(std::move(curve));
    }
  }

 private:
  const CsvTable& csv_;
  const Columns& columns_;
  std::map<std::string, std::size_t> index_;
  std::vector<Observation> runs_;
  std::vector<Curve> curves_;
};

double rounded_to_three_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2e", value);
  double rounded = value;
  std::from_chars(text, text + sizeof text, rounded);
  return rounded;
}

/// One cluster of runs by C becomes a budget when it is narrow and has enough sizes.
void assign_budget(std::vector<Observation*>& cluster) {
  std::set<double> sizes;
  double mean = 0;
  for (const Observation* run : cluster) {
    sizes.insert(run->N);
    mean += std::log(run->C) / static_cast<double>(cluster.size());
  }
  if (sizes.size() < kBudgetSizes || cluster.back()->C > kBudgetSpan * cluster.front()->C) return;
  for (Observation* run : cluster) run->budget = rounded_to_three_digits(std::exp(mean));
}

}  // namespace

void assign_budgets(std::vector<Observation>& runs) {
  std::vector<Observation*> order;
  for (Observation& run : runs) {
    if (run.budget == 0) order.push_back(&run);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* l, const auto* r) { return l->C < r->C; });
  std::vector<Observation*> cluster;
  for (Observation* run : order) {
    if (!cluster.empty() && run->C > kBudgetGap * cluster.back()->C) {
      assign_budget(cluster);
      cluster.clear();
    }
    cluster.push_back(run);
  }
  if (!cluster.empty()) assign_budget(cluster);
  const auto alone =
      std::count_if(order.begin(), order.end(), [](const auto* run) { return run->budget == 0; });
  if (2 * alone > std::ssize(order)) {
    for (Observation* run : order) run->budget = 0;
  }
}

RunTable read_csv_table(const std::filesystem::path& file) {
  return parse_csv_table(read_file(file), file.string());
}

RunTable parse_csv_table(const std::string& content, const std::string& file) {
  const CsvTable csv(content, file);
  const Columns columns = columns_of(csv);
  if (csv.rows().empty()) throw InputError(file + ": no rows after the header, expected one per run");
  CurveCollector collector(csv, columns);
  for (const CsvRow& row : csv.rows()) collector.add(row);
  RunTable table;
  table.source = file;
  collector.move_into(table);
  if (!columns.C) table.notes.emplace_back("no column of FLOPs: C is 6·N·D");
  table.budgets_planned = columns.budget.has_value();
  if (!table.budgets_planned) assign_budgets(table.runs);
  return table;
}

std::string runs_csv(const RunTable& table) {
  std::string text = "run,params,tokens,flops,loss,budget,seed\n";
  for (const Observation& run : table.runs) {
    text += csv_field(run.run) + ',' + format_number(run.N) + ',' + format_number(run.D) + ',' +
            format_number(run.C) + ',' + format_number(run.loss) + ',' + format_number(run.budget) + ',' +
            std::to_string(run.seed) + '\n';
  }
  return text;
}

std::string curves_csv(const RunTable& table) {
  std::map<std::string, const Observation*> runs;
  for (const Observation& run : table.runs) runs[run.run] = &run;
  std::string text = "run,params,tokens,flops,loss,budget,seed\n";
  for (const Curve& curve : table.curves) {
    const auto run = runs.find(curve.run);
    const double budget = run == runs.end() ? 0 : run->second->budget;
    const std::int64_t seed = run == runs.end() ? 0 : run->second->seed;
    for (const CurvePoint& point : curve.points) {
      text += csv_field(curve.run) + ',' + format_number(curve.N) + ',' + format_number(point.D) + ',' +
              format_number(point.C) + ',' + format_number(point.loss) + ',' + format_number(budget) + ',' +
              std::to_string(seed) + '\n';
    }
  }
  return text;
}

}  // namespace minichilla
