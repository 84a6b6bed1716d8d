#include "sweeps/grid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "kernels/error.h"
#include "model/parameters.h"
#include "model/sizes.h"
#include "sweeps/budget.h"
#include "sweeps/text_table.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

/// "FILE:LINE: " of sweep.KEY, for what is only found wrong after reading.
std::string place_of(const YAML::Node& map, const std::string& file, const std::string& key) {
  const YAML::Node sweep = map["sweep"];
  const YAML::Node node =
      sweep.IsDefined() && sweep.IsMap() ? sweep[key] : YAML::Node(YAML::NodeType::Undefined);
  const bool found = node.IsDefined() && node.Mark().line >= 0;
  return file + (found ? ":" + std::to_string(node.Mark().line + 1) : "") + ": ";
}

void check_runs(const std::vector<ListedRun>& runs, const std::string& place) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if ((runs[i].tokens > 0) == (runs[i].budget > 0)) {
      throw InputError(place + "sweep.runs[" + std::to_string(i) + "]: found " +
                       (runs[i].tokens > 0 ? "both tokens and budget" : "neither tokens nor budget") +
                       ", expected one of the two");
    }
    if (!runs[i].size.empty()) parse_sizes({runs[i].size});
  }
}

void check_axis(const AxisConfig& axis, const GridConfig& sweep, const std::string& place) {
  const auto refuse = [&](const std::string& reason) {
    throw InputError(place + "sweep.axes: found path " + axis.path + ", but " + reason);
  };
  const auto is = [&](const char* path) { return axis.path == path; };
  if (axis.values.empty()) refuse("no values, expected {path: …, values: […]}");
  if (is("data.corpus")) refuse("a sweep has one corpus");
  if (is("train.tokens")) refuse("the sweep itself decides the tokens");
  if (is("train.seed")) refuse("seeds are given by sweep.seeds");
  if (is("model.family") || is("model.n_layers") || is("model.d_model") || is("model.n_heads") ||
      is("model.size")) {
    refuse("shapes are given by sweep.sizes");
  }
  const RulesConfig& rules = sweep.rules;
  if ((is("train.optimizer.learning_rate") && !rules.learning_rate.empty()) ||
      (is("train.batch_tokens") && !rules.batch_tokens.empty()) ||
      (is("train.schedule.warmup") && !rules.warmup.empty()) ||
      (is("model.initial_std") && !rules.initial_std.empty())) {
    refuse("sweep.rules has a rule for it, expected one of the two");
  }
}

/// Sizes replace the shape in `model` key by key, so that one given there by name would lend its head and MLP
/// widths to all of them.
void check_no_size(const YAML::Node& map, const std::string& file) {
  const YAML::Node model = map["model"];
  if (!model.IsDefined() || !model.IsMap() || !model["size"].IsDefined()) return;
  const int line = model["size"].Mark().line;
  throw InputError(
      file + (line >= 0 ? ":" + std::to_string(line + 1) : "") +
      ": model.size: found in a sweep, expected the shapes in sweep.sizes (kind list: size of a run)");
}

void check(const SweepConfig& config, const YAML::Node& map, const std::string& file) {
  const GridConfig& sweep = config.sweep;
  check_no_size(map, file);
  const auto missing = [&](const char* key, const std::string& expected) {
    throw InputError(place_of(map, file, "kind") + "sweep." + key + ": not given, expected " + expected);
  };
  if (sweep.kind == "isoflop" && sweep.budgets.empty())
    missing("budgets", "a list of FLOPs such as [1e11, 1e12]");
  if (sweep.kind == "list" && sweep.runs.empty())
    missing("runs", "a list of runs such as {size: 2x32, tokens: 1M}");
  if ((sweep.kind == "grid" || sweep.kind == "envelope") &&
      sweep.tokens.empty() == sweep.tokens_per_param.empty()) {
    missing("tokens", "either tokens or tokens_per_param, a list of training lengths");
  }
  try {
    if (sweep.kind == "list") {
      check_runs(sweep.runs, "");
    } else {
      parse_sizes(sweep.sizes);
    }
  } catch (const InputError& error) {
    const bool list = sweep.kind == "list";
    throw InputError(place_of(map, file, list ? "runs" : "sizes") + (list ? "" : "sweep.") + error.what());
  }
  for (const AxisConfig& axis : sweep.axes) check_axis(axis, sweep, place_of(map, file, "axes"));
}

/// The shared part of every run, once per combination of the axes' values.
std::vector<RunConfig> base_configs(const SweepConfig& config) {
  std::vector<RunConfig> bases = {RunConfig{config.model, config.data, config.train}};
  for (const AxisConfig& axis : config.sweep.axes) {
    std::vector<RunConfig> next;
    for (const RunConfig& base : bases) {
      for (const std::string& value : axis.values) {
        const YAML::Node map = yaml_of(write_config(base));
        set_path(map, axis.path + "=" + value);
        next.emplace_back();
        read_config(map, "sweep.axes", next.back());
      }
    }
    bases = std::move(next);
  }
  return bases;
}

SizeCounts count_size(const ModelConfig& base, const ModelConfig& shape, int vocabulary) {
  const ModelConfig model = resolved(with_shape(base, shape));
  const ParameterTable table(model, vocabulary);
  return {shape_name(model), model, table.params(), table.params_non_embedding(),
          flops_per_token(model, vocabulary)};
}

/// What a cell of the grid asks for, before batches and steps are whole.
struct Cell {
  SizeCounts size;
  double budget;  // 0: tokens were given
  double tokens;
};

class Expansion {
 public:
  Expansion(const SweepConfig& config, int vocabulary)
      : config_(config),
        vocabulary_(vocabulary),
        bases_(base_configs(config)),
        batch_rule_(make_rule(config.sweep.rules.batch_tokens, batch_rule_names())),
        rate_rule_(make_rule(config.sweep.rules.learning_rate, step_rule_names())),
        warmup_rule_(make_rule(config.sweep.rules.warmup, step_rule_names())),
        initial_std_rule_(make_rule(config.sweep.rules.initial_std, step_rule_names())) {}

  Grid run() {
    const GridConfig& sweep = config_.sweep;
    if (sweep.kind == "list") {
      for (const ListedRun& listed : sweep.runs) add_listed(listed);
    } else {
      measure_sizes();
      if (sweep.kind == "isoflop") {
        for (const double budget : sweep.budgets) add_budget(budget);
      } else {
        add_lengths();
      }
    }
    if (too_short_ > 0) {
      grid_.notes.push_back(std::to_string(too_short_) + " of " +
                            std::to_string(too_short_ + static_cast<int>(grid_.points.size())) +
                            " runs are left out: fewer than sweep.minimum_steps = " +
                            std::to_string(sweep.minimum_steps) + " steps (" + too_short_example_ + ")");
    }
    if (grid_.points.empty()) {
      throw InputError("the sweep has no runs" + (grid_.notes.empty() ? "" : ": " + grid_.notes.back()));
    }
    return std::move(grid_);
  }

 private:
  static std::optional<Rule> make_rule(const std::string& expression, const std::vector<std::string>& names) {
    if (expression.empty()) return std::nullopt;
    return Rule(expression, names);
  }

  void measure_sizes() {
    const std::vector<ModelConfig> shapes = parse_sizes(config_.sweep.sizes);
    for (const RunConfig& base : bases_) {
      sizes_.emplace_back();
      for (const ModelConfig& shape : shapes)
        sizes_.back().push_back(count_size(base.model, shape, vocabulary_));
      std::stable_sort(sizes_.back().begin(), sizes_.back().end(),
                       [](const SizeCounts& a, const SizeCounts& b) { return a.params < b.params; });
    }
  }

  double flops_of(const SizeCounts& size) const {
    return flops_column(size.flops_per_token, config_.sweep.flops);
  }

  void add_budget(double budget) {
    for (std::size_t base = 0; base < bases_.size(); ++base) {
      for (const std::size_t index : sizes_for(budget, sizes_[base])) {
        const SizeCounts& size = sizes_[base][index];
        add_cell({size, budget, budget / flops_of(size)}, base);
      }
    }
  }

  std::vector<std::size_t> sizes_for(double budget, const std::vector<SizeCounts>& sizes) {
    const AroundConfig& around = config_.sweep.around;
    std::vector<std::int64_t> params;
    for (const SizeCounts& size : sizes) params.push_back(size.params);
    if (around.params.empty()) return pick_around(params, 1, static_cast<int>(params.size()), 1);
    const double center = Rule(around.params, budget_rule_names())({{"C", budget}});
    if (!std::isfinite(center) || center < 1) {
      throw InputError("sweep.around.params: '" + around.params + "' gives " + format_number(center) +
                       " for C = " + format_number(budget) + ", expected a number of parameters");
    }
    const std::vector<std::size_t> picked = pick_around(params, center, around.count, around.span);
    const double smallest = static_cast<double>(params[picked.front()]);
    const double largest = static_cast<double>(params[picked.back()]);
    if (smallest >= center || largest <= center) {
      grid_.notes.push_back("budget " + format_short(budget) + ": no sizes on both sides of the expected " +
                            format_count(center) + " parameters (the sizes picked have " +
                            format_count(smallest) + " to " + format_count(largest) +
                            "): give sweep.sizes a wider range");
    }
    return picked;
  }

  void add_lengths() {
    const GridConfig& sweep = config_.sweep;
    for (std::size_t base = 0; base < bases_.size(); ++base) {
      for (const SizeCounts& size : sizes_[base]) {
        for (const double tokens : sweep.tokens) add_cell({size, 0, tokens}, base);
        for (const double ratio : sweep.tokens_per_param) {
          add_cell({size, 0, ratio * static_cast<double>(size.params)}, base);
        }
      }
    }
  }

  void add_listed(const ListedRun& listed) {
    for (std::size_t base = 0; base < bases_.size(); ++base) {
      const ModelConfig shape = listed.size.empty() ? bases_[base].model : parse_sizes({listed.size}).front();
      const SizeCounts size = count_size(bases_[base].model, shape, vocabulary_);
      const double tokens =
          listed.budget > 0 ? listed.budget / flops_of(size) : static_cast<double>(listed.tokens);
      add_cell({size, listed.budget, tokens}, base);
    }
  }

  void add_cell(const Cell& cell, std::size_t base) {
    RuleVariables names = {
        {"d_model", cell.size.model.d_model},
        {"n_layers", cell.size.model.n_layers},
        {"n_heads", cell.size.model.n_heads},
        {"context_length", cell.size.model.context_length},
        {"N", static_cast<double>(cell.size.params)},
        {"N_non_embedding", static_cast<double>(cell.size.params_non_embedding)},
        {"D", cell.tokens},
        {"C", cell.budget > 0 ? cell.budget : cell.tokens * flops_of(cell.size)},
    };
    GridPoint point{bases_[base], cell.size, cell.budget};
    point.config.model = cell.size.model;
    TrainConfig& train = point.config.train;
    if (batch_rule_) {
      const double tokens =
          value_of(*batch_rule_, "batch_tokens", config_.sweep.rules.batch_tokens, names, 1, 1e15);
      const Batch batch = whole_batch(tokens, point.config.model.context_length, train.micro_batch);
      train.batch_tokens = batch.tokens;
      train.micro_batch = batch.micro_batch;
    }
    const std::int64_t steps = whole_steps(cell.tokens, train.batch_tokens);
    if (steps < config_.sweep.minimum_steps) return leave_out(cell, train, steps);
    train.tokens = steps * train.batch_tokens;
    names["batch_tokens"] = static_cast<double>(train.batch_tokens);
    names["steps"] = static_cast<double>(steps);
    const RulesConfig& rules = config_.sweep.rules;
    if (rate_rule_) {
      train.optimizer.learning_rate =
          value_of(*rate_rule_, "learning_rate", rules.learning_rate, names, 0, 1e3);
    }
    if (warmup_rule_) train.schedule.warmup = value_of(*warmup_rule_, "warmup", rules.warmup, names, 0, 1);
    if (initial_std_rule_) {
      point.config.model.initial_std =
          value_of(*initial_std_rule_, "initial_std", rules.initial_std, names, 0, 10);
    }
    add_seeds(point);
  }

  double value_of(Rule& rule, const char* key, const std::string& expression, const RuleVariables& names,
                  double minimum, double maximum) {
    const double value = rule(names);
    if (std::isfinite(value) && value >= minimum && value <= maximum) return value;
    std::string where;
    for (const auto& [name, number] : names)
      where += (where.empty() ? "" : ", ") + name + " = " + format_number(number);
    throw InputError("sweep.rules." + std::string(key) + ": '" + expression + "' gives " +
                     format_number(value) + ", expected a number from " + format_number(minimum) + " to " +
                     format_number(maximum) + " (" + where + ")");
  }

  void leave_out(const Cell& cell, const TrainConfig& train, std::int64_t steps) {
    too_short_ += static_cast<int>(std::max<std::size_t>(1, config_.sweep.seeds.size()));
    if (!too_short_example_.empty()) return;
    too_short_example_ = cell.size.name + " with " + format_count(cell.tokens) + " tokens in batches of " +
                         std::to_string(train.batch_tokens) + " has " + std::to_string(steps);
  }

  void add_seeds(GridPoint& point) {
    if (config_.sweep.seeds.empty()) grid_.points.push_back(point);
    for (const std::int64_t seed : config_.sweep.seeds) {
      point.config.train.seed = static_cast<std::uint64_t>(seed);
      grid_.points.push_back(point);
    }
  }

  const SweepConfig& config_;
  int vocabulary_;
  std::vector<RunConfig> bases_;
  std::optional<Rule> batch_rule_, rate_rule_, warmup_rule_, initial_std_rule_;
  std::vector<std::vector<SizeCounts>> sizes_;  // per base, ascending in N
  Grid grid_;
  int too_short_ = 0;
  std::string too_short_example_;
};

}  // namespace

SweepConfig read_sweep_config(const YAML::Node& map, const std::string& file) {
  if (map.IsMap() && !map["sweep"]) {
    throw InputError(
        file +
        ": sweep: not given, expected a section with the sweep's kind (a config without one is a "
        "single run's: minichilla train)");
  }
  SweepConfig config;
  read_config(map, file, config);
  check(config, map, file);
  return config;
}

Grid expand(const SweepConfig& config, int vocabulary) {
  return Expansion(config, vocabulary).run();
}

std::vector<std::size_t> pick_around(const std::vector<std::int64_t>& params, double center, int count,
                                     double span) {
  const std::size_t sizes = params.size(), wanted = std::min(sizes, static_cast<std::size_t>(count));
  const double infinite = std::numeric_limits<double>::infinity();
  const auto distance = [&](std::size_t place, std::size_t size) {
    const double fraction = wanted > 1 ? static_cast<double>(place) / static_cast<double>(wanted - 1) : 0.5;
    const double offset =
        std::log(static_cast<double>(params[size])) - std::log(center) - (fraction - 0.5) * std::log(span);
    return offset * offset;
  };
  // cost[p][s]: the least cost of filling places 0 … p with sizes in ascending order, the last of them size
  // s.
  std::vector<std::vector<double>> cost(wanted, std::vector<double>(sizes, infinite));
  std::vector<std::vector<std::size_t>> previous(wanted, std::vector<std::size_t>(sizes, 0));
  for (std::size_t place = 0; place < wanted; ++place) {
    double best = place == 0 ? 0 : infinite;
    std::size_t best_size = 0;
    for (std::size_t size = 0; size < sizes; ++size) {
      if (place > 0 && size > 0 && cost[place - 1][size - 1] < best) {
        best = cost[place - 1][size - 1];
        best_size = size - 1;
      }
      cost[place][size] = best + distance(place, size);
      previous[place][size] = best_size;
    }
  }
  std::vector<std::size_t> picked(wanted);
  if (wanted == 0) return picked;
  picked.back() = static_cast<std::size_t>(std::min_element(cost.back().begin(), cost.back().end()) -
                                           cost.back().begin());
  for (std::size_t place = wanted - 1; place > 0; --place) picked[place - 1] = previous[place][picked[place]];
  return picked;
}

}  // namespace minichilla
