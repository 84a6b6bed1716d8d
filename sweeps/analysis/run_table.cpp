#include "sweeps/analysis/run_table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "kernels/error.h"
#include "model/config_fields.h"
#include "model/quote.h"
#include "sweeps/analysis/csv.h"
#include "trainer/files.h"

namespace minichilla {
namespace {

constexpr double kBudgetGap = 1.03, kBudgetSpan = 1.1;  ///< ratios of C: neighbours, and a whole budget
constexpr std::size_t kBudgetSizes = 3;

/// A number that a row may have beside what the estimators need, and where it goes.
struct ExtraColumn {
  std::size_t index;
  double Observation::*member;
  bool named;  ///< by the user: then it must be a number above zero
};

struct Columns {
  std::size_t N, D, loss;
  std::optional<std::size_t> C, budget, run, seed, weight;
  std::vector<ExtraColumn> extra;
};

bool is_name_of(const TableColumn& column, const std::string& name) {
  return std::find(column.names.begin(), column.names.end(), name) != column.names.end();
}

/// Finds a known column in the header, by its own names or by the one that the options give.
class ColumnFinder {
 public:
  ColumnFinder(const CsvTable& csv, const TableOptions& options) : csv_(csv), options_(options) {
    std::vector<std::string> known;
    for (const TableColumn& column : table_columns()) {
      known.insert(known.end(), column.names.begin(), column.names.end());
    }
    for (const auto& [name, column] : options.columns) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      const std::string near = nearest_name(name, known);
      throw InputError("--columns: found " + quote(name) + "=" + quote(column) + ", expected " +
                       "a known column on the left, such as params=" + column +
                       (near.empty() ? "" : "; did you mean " + near + "?"));
    }
  }

  std::optional<std::size_t> find(const char* canonical) const {
    for (const TableColumn& column : table_columns()) {
      if (column.names.front() != canonical) continue;
      if (const std::string* given = given_for(column)) return csv_.require({*given});
      return column.required ? csv_.require(column.names) : csv_.find(column.names);
    }
    return std::nullopt;
  }

  bool is_given(const char* canonical) const {
    return std::any_of(table_columns().begin(), table_columns().end(), [&](const TableColumn& column) {
      return column.names.front() == canonical && given_for(column);
    });
  }

 private:
  const std::string* given_for(const TableColumn& column) const {
    for (const auto& [name, given] : options_.columns) {
      if (is_name_of(column, name)) return &given;
    }
    return nullptr;
  }
  const CsvTable& csv_;
  const TableOptions& options_;
};

Columns columns_of(const CsvTable& csv, const TableOptions& options) {
  const ColumnFinder finder(csv, options);
  Columns columns{};
  columns.N = *finder.find("params");
  columns.D = *finder.find("tokens");
  columns.loss = *finder.find("loss");
  columns.C = finder.find("flops");
  columns.budget = finder.find("budget");
  columns.run = finder.find("run");
  columns.seed = finder.find("seed");
  columns.weight = finder.find("weight");
  const std::pair<const char*, double Observation::*> extras[] = {
      {"unique_tokens", &Observation::unique_tokens},
      {"learning_rate", &Observation::learning_rate},
      {"batch_tokens", &Observation::batch_tokens},
      {"steps", &Observation::steps},
      {"params_non_embedding", &Observation::N_non_embedding}};
  for (const auto& [name, member] : extras) {
    if (const auto index = finder.find(name))
      columns.extra.push_back({*index, member, finder.is_given(name)});
  }
  return columns;
}

/// Zero for what is not a number above zero in a column that nobody asked for.
double extra_number(const CsvTable& csv, const CsvRow& row, const ExtraColumn& column) {
  if (column.named) return csv.positive(row, column.index);
  const std::string& field = row.fields[column.index];
  double value = 0;
  const auto [stop, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  const bool usable =
      error == std::errc() && stop == field.data() + field.size() && std::isfinite(value) && value > 0;
  return usable ? value : 0;
}

std::optional<double> number_in(const std::string& text) {
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_same_value(const std::string& field, const std::string& wanted) {
  if (field == wanted) return true;
  const auto left = number_in(field), right = number_in(wanted);
  return left && right && *left == *right;
}

/// The rows that --where asks for; InputError, with values that the column has, when there is none.
std::vector<const CsvRow*> selected_rows(const CsvTable& csv, const TableOptions& options,
                                         const std::string& file) {
  std::map<std::size_t, std::vector<std::string>> wanted;
  for (const auto& [column, value] : options.where) wanted[csv.require({column})].push_back(value);
  std::vector<const CsvRow*> rows;
  for (const CsvRow& row : csv.rows()) {
    const bool meant = std::all_of(wanted.begin(), wanted.end(), [&](const auto& condition) {
      return std::any_of(condition.second.begin(), condition.second.end(), [&](const std::string& value) {
        return is_same_value(row.fields[condition.first], value);
      });
    });
    if (meant) rows.push_back(&row);
  }
  if (!rows.empty() || options.where.empty()) return rows;
  std::set<std::string> values;
  const auto& [column, value] = options.where.front();
  for (const CsvRow& row : csv.rows()) values.insert(row.fields[csv.require({column})]);
  std::string found;
  for (const std::string& one : values) found += (found.empty() ? "" : ", ") + one;
  throw InputError(file + ": no row with " + column + "=" + quote(value) +
                   (options.where.size() > 1 ? " and the other conditions" : "") + ", the column has " +
                   quote(found));
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
  if (columns.weight) run.weight = csv.positive(row, *columns.weight);
  for (const ExtraColumn& column : columns.extra) run.*column.member = extra_number(csv, row, column);
  run.run = columns.run ? row.fields[*columns.run] : "line " + std::to_string(row.line);
  if (run.run.empty()) csv.fail(row, *columns.run, "the name of a run");
  return run;
}

/// Makes the curves out of runs with several rows; a run's observation is its row with the most tokens.
class CurveCollector {
 public:
  CurveCollector(const CsvTable& csv, const Columns& columns, bool every_row)
      : csv_(csv), columns_(columns), every_row_(every_row) {}

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
    if (every_row_) rows_.push_back(here);
    run = std::move(here);
  }

  void move_into(RunTable& table) {
    table.runs = std::move(every_row_ ? rows_ : runs_);
    for (Curve& curve : curves_) {
      if (curve.points.size() > 1) table.curves.push_back(std::move(curve));
    }
  }

 private:
  const CsvTable& csv_;
  const Columns& columns_;
  const bool every_row_;
  std::map<std::string, std::size_t> index_;
  std::vector<Observation> runs_, rows_;
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

const std::vector<TableColumn>& table_columns() {
  static const std::vector<TableColumn> columns = {{{"params", "N"}, true},
                                                   {{"tokens", "D"}, true},
                                                   {{"loss"}, true},
                                                   {{"flops", "C"}},
                                                   {{"budget", "group"}},
                                                   {{"run"}},
                                                   {{"seed"}},
                                                   {{"weight"}},
                                                   {{"unique_tokens", "U"}},
                                                   {{"learning_rate", "lr"}},
                                                   {{"batch_tokens", "bs_tokens"}},
                                                   {{"steps"}},
                                                   {{"params_non_embedding", "N_noembed"}}};
  return columns;
}

RunTable read_csv_table(const std::filesystem::path& file, const TableOptions& options) {
  return parse_csv_table(read_file(file), file.string(), options);
}

RunTable parse_csv_table(const std::string& content, const std::string& file, const TableOptions& options) {
  const CsvTable csv(content, file);
  if (csv.rows().empty()) throw InputError(file + ": no rows after the header, expected one per run");
  RunTable table;
  table.source = file;
  table.selection = options;
  if (const auto target = csv.find({"loss_target"})) {
    for (const CsvRow* row : selected_rows(csv, options, file)) {
      table.batch_runs.push_back({csv.positive(*row, *target),
                                  csv.positive(*row, csv.require({"batch_tokens"})),
                                  csv.positive(*row, csv.require({"steps"}))});
    }
    return table;
  }
  const Columns columns = columns_of(csv, options);
  CurveCollector collector(csv, columns, options.every_row);
  for (const CsvRow* row : selected_rows(csv, options, file)) collector.add(*row);
  collector.move_into(table);
  if (!columns.C) table.notes.emplace_back("no column of FLOPs: C is 6·N·D");
  table.budgets_planned = columns.budget.has_value();
  if (!table.budgets_planned) assign_budgets(table.runs);
  return table;
}

void drop_highest_losses(RunTable& table, int count) {
  if (count <= 0) return;
  const auto dropped = static_cast<std::size_t>(count);
  if (dropped >= table.runs.size()) {
    throw InputError("--drop-highest-loss: found " + std::to_string(count) + ", expected fewer than the " +
                     std::to_string(table.runs.size()) + " runs of " + table.source);
  }
  std::vector<double> losses;
  for (const Observation& run : table.runs) losses.push_back(run.loss);
  std::sort(losses.begin(), losses.end(), std::greater<>());
  const double limit = losses[dropped - 1];
  // Of equal losses at the limit the last ones go: the number is what was asked for.
  auto at_limit = std::count(losses.begin(), losses.begin() + count, limit);
  auto end = std::remove_if(table.runs.rbegin(), table.runs.rend(), [&](const Observation& run) {
    return run.loss > limit || (run.loss == limit && at_limit-- > 0);
  });
  table.runs.erase(table.runs.begin(), end.base());
  table.dropped += count;
  table.notes.push_back("the " + std::to_string(count) + " runs of highest loss were left out, from " +
                        format_number(limit) + " up");
}

const std::vector<std::string>& flop_count_names() {
  static const std::vector<std::string> names = {"given", "6nd", "exact", "hoffmann"};
  return names;
}

void count_flops(RunTable& table, const std::string& count) {
  table.flop_count = count;
  if (count == "given") return;
  std::map<std::string, double> change;
  for (Observation& run : table.runs) {
    const double C = count == "6nd" ? 6 * run.N * run.D : count == "exact" ? run.C_exact : run.C_hoffmann;
    if (!(C > 0)) {
      throw InputError("--flops: found " + quote(count) + ", which the runs of " + table.source +
                       " do not tell, expected 6nd, or a sweep folder");
    }
    change[run.run] = C / run.C;
    run.C = C;
    run.budget = 0;
  }
  for (Curve& curve : table.curves) {
    const auto found = change.find(curve.run);
    if (found == change.end()) continue;
    for (CurvePoint& point : curve.points) point.C *= found->second;
  }
  table.budgets_planned = false;
  assign_budgets(table.runs);
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
