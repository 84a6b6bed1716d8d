// The warnings of a plan: many runs with one fault give one line.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "sweeps/planner.h"
#include "sweeps/text_table.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

constexpr std::int64_t kFewSteps = 100, kFewWarmupSteps = 5;
constexpr std::size_t kSizesForParabola = 5;

/// Runs that share a fault, and the one where it is worst.
struct Affected {
  int runs = 0;
  const PlanRow* worst = nullptr;
};

/// `badness` is positive for the runs that are affected.
Affected affected(const SweepPlan& plan, const std::function<double(const PlanRow&)>& badness) {
  Affected found;
  double most = 0;
  for (const PlanRow& row : plan.rows) {
    const double value = badness(row);
    if (value <= 0) continue;
    ++found.runs;
    if (value > most) {
      most = value;
      found.worst = &row;
    }
  }
  return found;
}

std::string share(const Affected& found, const SweepPlan& plan) {
  const std::size_t all = plan.rows.size();
  if (static_cast<std::size_t>(found.runs) == all)
    return all == 1 ? "the run" : "all " + std::to_string(all) + " runs";
  return std::to_string(found.runs) + " of " + std::to_string(all) + " runs";
}

double warmup_steps(const PlanRow& row) {
  return row.config.train.schedule.warmup * static_cast<double>(row.steps);
}

/// Tokens that differ: a second pass adds none.
double distinct_tokens(const PlanRow& row, const SweepPlan& plan) {
  return static_cast<double>(std::min(row.planned.tokens, plan.corpus_tokens));
}

double kaplan_tokens(const PlanRow& row) {
  return 5e3 * std::pow(static_cast<double>(row.planned.params_non_embedding), 0.74);
}

void warn_about_data(const SweepPlan& plan, std::vector<std::string>& warnings) {
  const Affected repeats =
      affected(plan, [](const PlanRow& row) { return row.epochs > 1 ? row.epochs : 0.0; });
  if (repeats.runs > 0) {
    warnings.push_back(
        "data repeats in " + share(repeats, plan) + ": up to " + format_fixed(repeats.worst->epochs, 2) +
        " epochs over " + format_count(static_cast<double>(plan.corpus_tokens)) + " training tokens (" +
        repeats.worst->planned.run_id + "); the laws assume new tokens: prepare more text or spend less");
  }
  const Affected few = affected(plan, [&](const PlanRow& row) {
    const double needed = kaplan_tokens(row), seen = distinct_tokens(row, plan);
    return seen < needed ? needed / seen : 0.0;
  });
  if (few.runs > 0) {
    warnings.push_back(
        "D < 5e3*N^0.74 in " + share(few, plan) +
        " (Kaplan et al. 2020, eq. 4.4: distinct tokens against overfitting, N without embeddings): " +
        few.worst->planned.run_id + " sees " + format_count(distinct_tokens(*few.worst, plan)) + " of " +
        format_count(kaplan_tokens(*few.worst)) +
        (repeats.runs > 0 ? "; together with repeated data, expect overfitting"
                          : "; no run repeats data, so none of them can overfit by it"));
  }
}

void warn_about_schedules(const SweepPlan& plan, std::vector<std::string>& warnings) {
  const Affected few_steps = affected(plan, [](const PlanRow& row) {
    return row.steps < kFewSteps ? 1.0 / static_cast<double>(row.steps) : 0.0;
  });
  if (few_steps.runs > 0) {
    warnings.push_back(
        "fewer than " + std::to_string(kFewSteps) + " steps in " + share(few_steps, plan) +
        ": too short for the schedule (" + few_steps.worst->planned.run_id + " has " +
        std::to_string(few_steps.worst->steps) +
        "); a run starved of steps looks like a model that is too large: smaller batches, larger "
        "budgets or smaller sizes");
  }
  const Affected short_warmup = affected(plan, [](const PlanRow& row) {
    const double steps = warmup_steps(row);
    return row.steps >= kFewSteps && steps > 0 && steps < kFewWarmupSteps ? 1 / steps : 0.0;
  });
  if (short_warmup.runs > 0) {
    warnings.push_back("warmup of fewer than " + std::to_string(kFewWarmupSteps) + " steps in " +
                       share(short_warmup, plan) + " (" + short_warmup.worst->planned.run_id + " has " +
                       format_fixed(warmup_steps(*short_warmup.worst), 1) +
                       "); a rule such as warmup: \"max(0.02, 10/steps)\" keeps it");
  }
}

void warn_about_shapes(const SweepPlan& plan, std::vector<std::string>& warnings) {
  const Affected wide = affected(plan, [](const PlanRow& row) {
    const ModelConfig& model = row.config.model;
    const auto& pattern = model.attention.pattern;
    const bool banded = std::find(pattern.begin(), pattern.end(), "banded") != pattern.end();
    return banded && model.attention.window >= model.context_length ? 1.0 : 0.0;
  });
  if (wide.runs > 0) {
    const ModelConfig& model = wide.worst->config.model;
    warnings.push_back("banded attention equals dense in " + share(wide, plan) + ": the window of " +
                       std::to_string(model.attention.window) + " keys covers the context of " +
                       std::to_string(model.context_length));
  }
  const int asked = plan.config.train.micro_batch;
  const Affected small = affected(plan, [&](const PlanRow& row) {
    const std::int64_t possible = std::min<std::int64_t>(asked, row.batch_sequences);
    const double shrunk = static_cast<double>(possible) / row.config.train.micro_batch;
    return shrunk >= 2 ? shrunk : 0.0;
  });
  if (small.runs > 0) {
    warnings.push_back(
        "micro-batches shrink in " + share(small, plan) + ": " +
        std::to_string(small.worst->batch_sequences) + " sequences a batch split into micro-batches of " +
        std::to_string(small.worst->config.train.micro_batch) + ", train.micro_batch asks for " +
        std::to_string(asked) + " (slower, same results otherwise)");
  }
}

void warn_about_budgets(const SweepPlan& plan, std::vector<std::string>& warnings) {
  if (plan.config.sweep.kind != "isoflop") return;
  std::map<double, std::set<std::int64_t>> sizes;
  for (const PlanRow& row : plan.rows) sizes[row.planned.budget].insert(row.planned.params);
  int few = 0;
  const std::pair<const double, std::set<std::int64_t>>* fewest = nullptr;
  for (const auto& entry : sizes) {
    if (entry.second.size() >= kSizesForParabola) continue;
    ++few;
    if (!fewest || entry.second.size() < fewest->second.size()) fewest = &entry;
  }
  if (few > 0) {
    const std::size_t count = fewest->second.size();
    warnings.push_back(std::to_string(few) + " of " + std::to_string(sizes.size()) +
                       " budgets have fewer than " + std::to_string(kSizesForParabola) + " sizes (" +
                       format_short(fewest->first) + " has " + std::to_string(count) +
                       "): a parabola needs 3, and more to place its minimum well");
  }
  if (sizes.size() < 2) {
    warnings.push_back(
        "one budget gives one optimum: exponents need at least 2, and 4 or more for an interval");
  }
}

void warn_about_memory(const SweepPlan& plan, int workers, std::uint64_t available,
                       std::vector<std::string>& warnings) {
  const Affected large = affected(plan, [&](const PlanRow& row) {
    return row.memory_bytes > available ? static_cast<double>(row.memory_bytes) : 0.0;
  });
  const std::string free = format_bytes(available) + " are free";
  if (large.runs > 0) {
    warnings.push_back("no room for " + share(large, plan) + ": " + large.worst->planned.run_id + " needs " +
                       format_bytes(large.worst->memory_bytes) + ", and " + free +
                       ": train would refuse; lower train.micro_batch or train.gradient_slots, or set "
                       "train.recompute: [norms, mlp]");
    return;
  }
  const std::size_t memory = plan_totals(plan, workers).memory;
  if (memory > available) {
    warnings.push_back("the largest runs together need " + format_bytes(memory) + " with " +
                       std::to_string(workers) + " workers, and " + free + ": use --workers with fewer");
  }
}

}  // namespace

std::vector<std::string> plan_warnings(const SweepPlan& plan, int workers, std::uint64_t memory_available) {
  std::vector<std::string> warnings;
  warn_about_data(plan, warnings);
  warn_about_schedules(plan, warnings);
  warn_about_shapes(plan, warnings);
  warn_about_budgets(plan, warnings);
  if (memory_available > 0) warn_about_memory(plan, workers, memory_available, warnings);
  return warnings;
}

}  // namespace minichilla
