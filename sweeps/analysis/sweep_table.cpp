// read_sweep_table and read_run_in_progress of run_table.h: the one reader of runs.
#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "model/parameters.h"
#include "sweeps/analysis/run_table.h"
#include "sweeps/analysis/sweep_folder.h"
#include "trainer/corpus.h"
#include "trainer/run_directory.h"

namespace minichilla {
namespace {

/// The FLOPs of a finished run in the column that its budget spends.
double flops_of(const RunResult& result, const std::string& column) {
  if (column == "flops_hoffmann") return result.flops_hoffmann;
  if (column == "flops_6nd") return result.flops_6nd;
  return result.flops;
}

/// How much higher the loss of the last evaluation is than that of the tokens which those before it read.
double midway_offset(const std::vector<MetricsRow>& rows) {
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
    if (std::isfinite(row->midway_loss)) return row->loss - row->midway_loss;
  }
  return 0;
}

/// Evaluations on "val" before `end` tokens. `scale` turns the log's FLOPs into the budget's column. Where
/// they read fewer tokens than the last one, they are as much higher as that one is: models of a run find the
/// same texts hard, so a curve has hardly more noise than one of all tokens, and no step before its end.
std::vector<CurvePoint> evaluations(const std::vector<MetricsRow>& rows, double end, double scale) {
  std::vector<CurvePoint> points;
  double tokens = 0;
  const double higher = midway_offset(rows);
  for (const MetricsRow& row : rows) {
    const auto D = static_cast<double>(row.tokens);
    const bool usable = row.split == "val" && row.loss > 0 && std::isfinite(row.loss) && row.flops > 0;
    if (!usable || D <= tokens || D >= end) continue;
    tokens = D;
    points.push_back({D, row.flops * scale, row.loss + higher});
  }
  return points;
}

/// Evaluations and the end of the run.
Curve curve_of(const std::vector<MetricsRow>& rows, const Observation& run, double scale) {
  Curve curve{run.run, run.N, evaluations(rows, run.D, scale)};
  curve.points.push_back({run.D, run.C, run.loss});
  return curve;
}

double params_of(const RunRecord& record, ParameterCount count) {
  const bool all = count == ParameterCount::all;
  if (record.result) {
    return static_cast<double>(all ? record.result->params : record.result->params_non_embedding);
  }
  const ParameterTable table(record.config.model, open_corpus(record.config.data.corpus)->vocabulary());
  return static_cast<double>(all ? table.params() : table.params_non_embedding());
}

/// Why a run is left out; empty when it is not.
std::string reason_against(const RunRecord& record, const std::string& column) {
  if (!record.result) return std::string("is ") + name_of(record.state);
  const RunResult& result = *record.result;
  if (result.status != "done")
    return result.status + (result.reason.empty() ? "" : " (" + result.reason + ")");
  const bool usable = std::isfinite(result.val_loss) && result.val_loss > 0 && result.tokens > 0 &&
                      result.params > 0 && result.params_non_embedding > 0 && flops_of(result, column) > 0;
  return usable ? "" : "has no finite positive validation loss, parameters, tokens and FLOPs";
}

}  // namespace

RunInProgress read_run_in_progress(const std::filesystem::path& folder, ParameterCount count) {
  const RunRecord record = read_run(folder);
  const TrainConfig& train = record.config.train;
  RunInProgress run;
  run.end = static_cast<double>(train.steps() * train.batch_tokens);
  const std::filesystem::path whole = std::filesystem::absolute(folder / "").lexically_normal();
  run.curve = {whole.parent_path().filename().string(), params_of(record, count),
               evaluations(read_metrics(folder), run.end, 1)};
  const auto& result = record.result;
  run.ended = result && result->status == "done" && result->val_loss > 0 && std::isfinite(result->val_loss);
  if (run.ended) run.curve.points.push_back({run.end, result->flops, result->val_loss});
  if (run.curve.points.empty()) {
    throw InputError(folder.string() + ": found no evaluation on val yet, expected at least two");
  }
  return run;
}

RunTable read_sweep_table(const std::filesystem::path& sweep, ParameterCount count) {
  RunTable table;
  table.source = sweep.string();
  table.budgets_planned = true;
  for (const PlannedRun& planned : read_plan(sweep)) {
    const std::filesystem::path folder = run_folder(sweep, planned.run_id);
    if (!std::filesystem::exists(folder)) {
      table.notes.push_back("run " + planned.run_id + " was left out: its folder is missing");
      continue;
    }
    const RunRecord record = read_run(folder);
    const std::string reason = reason_against(record, planned.flops_column);
    if (!reason.empty()) {
      table.notes.push_back("run " + planned.run_id + " was left out: it " + reason);
      continue;
    }
    const RunResult& result = *record.result;
    Observation run{};
    run.N = static_cast<double>(count == ParameterCount::all ? result.params : result.params_non_embedding);
    run.D = static_cast<double>(result.tokens);
    run.C = flops_of(result, planned.flops_column);
    run.loss = result.val_loss;
    run.budget = planned.budget;
    run.N_non_embedding = static_cast<double>(result.params_non_embedding);
    run.C_exact = result.flops;
    run.C_hoffmann = result.flops_hoffmann;
    run.learning_rate = record.config.train.optimizer.learning_rate;
    run.batch_tokens = static_cast<double>(record.config.train.batch_tokens);
    run.steps = static_cast<double>(result.steps);
    // A run of less than one epoch has as many unique tokens as tokens.
    run.unique_tokens = run.D / std::max(1.0, result.epochs);
    run.run = planned.run_id;
    run.seed = static_cast<std::int64_t>(planned.seed);
    table.curves.push_back(curve_of(read_metrics(folder), run, result.flops > 0 ? run.C / result.flops : 1));
    table.runs.push_back(std::move(run));
  }
  return table;
}

}  // namespace minichilla
