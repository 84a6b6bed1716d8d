#include "sweeps/planner.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>

#include "kernels/device.h"
#include "model/recompute.h"
#include "model/sizes.h"
#include "sweeps/budget.h"
#include "sweeps/text_table.h"
#include "trainer/corpus.h"
#include "trainer/run_memory.h"

namespace minichilla {
namespace {

/// Memory of a run, planned once per cost_key() and amount of evaluation.
class MemoryPlanner {
 public:
  MemoryPlanner(int vocabulary, const DeviceMaker& make_device)
      : vocabulary_(vocabulary), make_device_(make_device) {}

  std::size_t bytes(const RunConfig& config) {
    const std::string key = cost_key(config) + " evaluate " + std::to_string(config.train.evaluate.tokens);
    const auto [entry, is_new] = known_.try_emplace(key, 0);
    if (is_new) entry->second = run_memory(config, vocabulary_, device(config.train.precision)).total();
    return entry->second;
  }

 private:
  const Device& device(const std::string& precision) {
    std::unique_ptr<Device>& made = devices_[precision];
    if (!made) made = make_device_(precision);
    return *made;
  }

  int vocabulary_;
  const DeviceMaker& make_device_;
  std::map<std::string, std::unique_ptr<Device>> devices_;  ///< by precision
  std::map<std::string, std::size_t> known_;
};

PlanRow make_row(const GridPoint& point, const GridConfig& sweep, const Corpus& corpus) {
  PlanRow row;
  row.config = resolved(point.config, corpus);
  row.flops_per_token = point.size.flops_per_token;
  const TrainConfig& train = row.config.train;
  PlannedRun& planned = row.planned;
  planned.run_id = run_id(row.config, corpus.hash());
  planned.kind = sweep.kind;
  planned.budget = point.budget;
  planned.flops_column = sweep.flops;
  planned.size = point.size.name;
  planned.params = point.size.params;
  planned.params_non_embedding = point.size.params_non_embedding;
  row.steps = train.steps();
  planned.tokens = row.steps * train.batch_tokens;
  planned.flops = static_cast<double>(planned.tokens) * row.flops_per_token.flops;
  planned.seed = train.seed;
  row.batch_sequences = train.batch_tokens / row.config.model.context_length;
  row.epochs = static_cast<double>(planned.tokens) / static_cast<double>(corpus.split("train").tokens());
  return row;
}

}  // namespace

std::string cost_key(const RunConfig& config) {
  const ModelConfig& model = config.model;
  std::string pattern;
  for (const std::string& kind : model.attention.pattern) pattern += kind[0];
  const Recompute again = recompute_of(config.train.recompute);
  const std::string recomputed =
      std::string(again.norms ? " norms again" : "") + (again.mlp ? " mlp again" : "");
  return shape_name(model) + " context " + std::to_string(model.context_length) + " attention " + pattern +
         std::to_string(model.attention.window) + " batch " + std::to_string(config.train.batch_tokens) +
         " micro " + std::to_string(config.train.micro_batch) + " slots " +
         std::to_string(config.train.gradient_slots) + " " + config.train.precision + recomputed;
}

SweepPlan make_plan(const SweepConfig& config, const Corpus& corpus, const DeviceMaker& make_device) {
  SweepPlan plan;
  plan.config = config;
  plan.config.data.corpus = std::filesystem::absolute(corpus.folder()).lexically_normal().string();
  plan.corpus_tokens = corpus.split("train").tokens();
  plan.vocabulary = corpus.vocabulary();
  Grid grid = expand(plan.config, plan.vocabulary);
  plan.notes = std::move(grid.notes);
  MemoryPlanner memory(plan.vocabulary, make_device);
  std::map<std::string, int> copies;
  for (const GridPoint& point : grid.points) {
    PlanRow row = make_row(point, config.sweep, corpus);
    if (++copies[row.planned.run_id] > 1) continue;
    row.memory_bytes = memory.bytes(row.config);
    plan.rows.push_back(std::move(row));
  }
  const std::size_t merged = grid.points.size() - plan.rows.size();
  if (merged > 0) {
    const auto most = std::max_element(copies.begin(), copies.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    plan.notes.push_back(counted(static_cast<std::int64_t>(merged), "run") +
                         " planned twice or more: equal runs run once (" + most->first + " was planned " +
                         std::to_string(most->second) + " times)");
  }
  return plan;
}

PlanTotals plan_totals(const SweepPlan& plan, int workers) {
  PlanTotals totals;
  totals.runs = static_cast<int>(plan.rows.size());
  std::vector<double> seconds;
  std::vector<std::size_t> memory;
  for (const PlanRow& row : plan.rows) {
    totals.tokens += static_cast<double>(row.planned.tokens);
    totals.flops += row.planned.flops;
    seconds.push_back(row.planned.estimated_s);
    memory.push_back(row.memory_bytes);
  }
  totals.schedule = simulate_schedule(seconds, workers);
  std::sort(memory.begin(), memory.end(), std::greater<>());
  memory.resize(std::min(memory.size(), static_cast<std::size_t>(workers)));
  for (const std::size_t bytes : memory) totals.memory += bytes;
  return totals;
}

}  // namespace minichilla
