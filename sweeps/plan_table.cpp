#include "sweeps/plan_table.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "sweeps/budget.h"
#include "sweeps/text_table.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

double spent(const PlanRow& row) {
  return static_cast<double>(row.planned.tokens) *
         flops_column(row.flops_per_token, row.planned.flops_column);
}

std::string ratio(double value) {
  return value < 9.95 ? format_fixed(value, 1) : format_fixed(value, 0);
}

std::vector<std::string> cells_of(const PlanRow& row) {
  const TrainConfig& train = row.config.train;
  return {row.planned.run_id,
          format_count(static_cast<double>(row.planned.params)),
          format_count(static_cast<double>(row.planned.params_non_embedding)),
          format_count(static_cast<double>(row.planned.tokens)),
          ratio(row.tokens_per_param()),
          format_short(spent(row)),
          std::to_string(row.steps),
          std::to_string(train.batch_tokens) + " (" + std::to_string(row.batch_sequences) + ")",
          format_short(train.optimizer.learning_rate),
          format_fixed(row.epochs, 2),
          format_bytes(row.memory_bytes),
          row.tokens_per_s > 0 ? format_duration(row.planned.estimated_s) : "-"};
}

std::string table_text(const SweepPlan& plan, std::size_t most_rows) {
  using Align = TextTable::Align;
  TextTable table({{"run", Align::left},
                   {"N", Align::right},
                   {"w/o emb.", Align::right},
                   {"D", Align::right},
                   {"D/N", Align::right},
                   {"FLOPs", Align::right},
                   {"steps", Align::right},
                   {"batch (seq.)", Align::right},
                   {"peak rate", Align::right},
                   {"epochs", Align::right},
                   {"memory", Align::right},
                   {"time", Align::right}});
  const std::size_t shown = std::min(most_rows, plan.rows.size());
  double budget = 0;
  for (std::size_t i = 0; i < shown; ++i) {
    const PlanRow& row = plan.rows[i];
    if (row.planned.budget != budget) {
      budget = row.planned.budget;
      table.add_line(budget > 0 ? "budget " + format_short(budget) + " FLOPs" : "without a budget");
    }
    table.add(cells_of(row));
  }
  if (shown < plan.rows.size()) {
    table.add_line("... and " + std::to_string(plan.rows.size() - shown) +
                   " more runs: --json FILE has them all");
  }
  return table.text();
}

std::string heading(const SweepPlan& plan) {
  std::set<double> budgets;
  std::set<std::string> sizes;
  for (const PlanRow& row : plan.rows) {
    if (row.planned.budget > 0) budgets.insert(row.planned.budget);
    sizes.insert(row.planned.size);
  }
  std::string text = "sweep of kind " + plan.config.sweep.kind + ": " +
                     counted(static_cast<std::int64_t>(plan.rows.size()), "run") + ", ";
  if (!budgets.empty()) text += counted(static_cast<std::int64_t>(budgets.size()), "budget") + ", ";
  return text + counted(static_cast<std::int64_t>(sizes.size()), "size") + "\ncorpus " +
         plan.config.data.corpus + ": " + format_count(static_cast<double>(plan.corpus_tokens)) +
         " training tokens, vocabulary " + std::to_string(plan.vocabulary) + "\n";
}

/// Makespan and utilisation, longest run first, and what half and twice the workers would do.
std::string schedule_text(const SweepPlan& plan, const Schedule& schedule, const std::string& unit) {
  const auto percent = [](const Schedule& one) {
    return format_fixed(100 * one.utilisation(), 0) + " % busy";
  };
  std::string text = "schedule, longest first: " + format_duration(schedule.makespan_s) + " with " +
                     counted(schedule.workers, "worker") + ", " + percent(schedule) + " (" +
                     format_duration(schedule.work_s) + " of one " + unit + "; the longest run takes " +
                     format_duration(schedule.longest_s) + ")\n";
  std::string others;
  for (const int workers : {schedule.workers / 2, 2 * schedule.workers}) {
    if (workers < 1) continue;
    const Schedule other = plan_totals(plan, workers).schedule;
    others += (others.empty() ? "" : "; ") + format_duration(other.makespan_s) + " with " +
              std::to_string(workers) + ", " + percent(other);
  }
  return text + "other numbers of workers: " + others + "\n";
}

std::string totals_text(const SweepPlan& plan, const PlanView& view) {
  const int workers = view.workers;
  const PlanTotals totals = plan_totals(plan, workers);
  const std::string at_once = counted(workers, "worker");
  std::string text = "total: " + counted(totals.runs, "run") + ", " + format_count(totals.tokens) +
                     " tokens, " + format_short(totals.flops) + " FLOPs, " + format_bytes(totals.memory) +
                     " of memory for " + at_once + "\n";
  if (totals.schedule.makespan_s > 0) text += schedule_text(plan, totals.schedule, view.unit);
  return text;
}

nlohmann::ordered_json row_json(const PlanRow& row) {
  const TrainConfig& train = row.config.train;
  const double tokens = static_cast<double>(row.planned.tokens);
  return {{"run_id", row.planned.run_id},
          {"size", row.planned.size},
          {"budget", row.planned.budget},
          {"params", row.planned.params},
          {"params_non_embedding", row.planned.params_non_embedding},
          {"tokens", row.planned.tokens},
          {"tokens_per_param", row.tokens_per_param()},
          {"flops", row.planned.flops},
          {"flops_hoffmann", tokens * row.flops_per_token.flops_hoffmann},
          {"flops_6nd", tokens * row.flops_per_token.flops_6nd},
          {"steps", row.steps},
          {"batch_tokens", train.batch_tokens},
          {"batch_sequences", row.batch_sequences},
          {"micro_batch", train.micro_batch},
          {"learning_rate", train.optimizer.learning_rate},
          {"warmup", train.schedule.warmup},
          {"seed", row.planned.seed},
          {"epochs", row.epochs},
          {"memory_bytes", row.memory_bytes},
          {"tokens_per_s", row.tokens_per_s},
          {"estimated_s", row.planned.estimated_s}};
}

}  // namespace

std::string plan_text(const SweepPlan& plan, const PlanView& view) {
  std::string text = heading(plan);
  if (view.table) text += "\n" + table_text(plan, view.most_rows) + "\n";
  for (const std::string& note : plan.notes) text += "note: " + note + "\n";
  for (const std::string& warning : view.warnings) text += "warning: " + warning + "\n";
  return text + totals_text(plan, view);
}

nlohmann::ordered_json plan_json(const SweepPlan& plan, const PlanView& view) {
  const PlanTotals totals = plan_totals(plan, view.workers);
  nlohmann::ordered_json json;
  json["kind"] = plan.config.sweep.kind;
  json["flops_column"] = plan.config.sweep.flops;
  json["corpus"] = plan.config.data.corpus;
  json["corpus_tokens"] = plan.corpus_tokens;
  json["vocabulary"] = plan.vocabulary;
  json["runs"] = nlohmann::ordered_json::array();
  for (const PlanRow& row : plan.rows) json["runs"].push_back(row_json(row));
  json["totals"] = {{"runs", totals.runs},
                    {"tokens", totals.tokens},
                    {"flops", totals.flops},
                    {"workers", view.workers},
                    {"memory_bytes", totals.memory},
                    {"worker_seconds", totals.schedule.work_s},
                    {"wall_seconds", totals.schedule.makespan_s},
                    {"utilisation", totals.schedule.utilisation()}};
  json["notes"] = plan.notes;
  json["warnings"] = view.warnings;
  return json;
}

}  // namespace minichilla
