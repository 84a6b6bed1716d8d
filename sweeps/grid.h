// What a sweep's config says, and the grid of runs that it stands for.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "model/config_fields.h"
#include "model/flops.h"
#include "sweeps/rules.h"
#include "trainer/run_config.h"

namespace minichilla {

/// Formulas for what changes from run to run (see rules.h); an empty one leaves the value of `train` as it
/// is.
struct RulesConfig {
  std::string learning_rate;  ///< peak
  std::string
      batch_tokens;    ///< rounded to whole sequences; train.micro_batch becomes the largest that divides it
  std::string warmup;       ///< fraction of the steps
  std::string initial_std;  ///< of the weights
};

/// Which of the sizes an IsoFLOP budget gets: `count` of them, spread evenly in log N around an expected
/// optimum.
struct AroundConfig {
  std::string
      params;  ///< formula of C for the central N (all parameters), "10e3*(C/1e11)^0.5"; empty: all sizes
  int count = 6;
  double span = 8;  ///< largest N over smallest N
};

/// One run of a sweep of kind `list`.
struct ListedRun {
  std::string size;         ///< as in `sizes`; empty: the shape in `model`
  std::int64_t tokens = 0;  ///< this, or
  double budget = 0;        ///< this
};

/// A config key that takes several values, in all combinations with everything else.
struct AxisConfig {
  std::string path;  ///< as in --set: "train.optimizer.learning_rate"
  std::vector<std::string> values;
};

struct GridConfig {
  /// "isoflop": budgets × sizes. "envelope" and "grid": sizes × (tokens or tokens_per_param). "list": runs.
  std::string kind = "isoflop";
  std::string flops = "flops";  ///< the column of FLOPs that budgets spend
  std::vector<double> budgets;
  std::vector<std::string> sizes = {"ladder[:]"};
  AroundConfig around;
  std::vector<double> tokens, tokens_per_param;
  std::vector<ListedRun> runs;
  std::vector<std::int64_t> seeds;  ///< empty: train.seed
  std::vector<AxisConfig> axes;
  std::int64_t minimum_steps = 1;  ///< runs that would have fewer are left out, with a note
  RulesConfig rules;
};

/// Everything that defines a sweep. `model` and `train` are what all runs share; sizes, tokens, seeds, rules
/// and axes then replace their keys.
struct SweepConfig {
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  GridConfig sweep;
};

/// Training FLOPs per token and parameters of one size.
struct SizeCounts {
  std::string name;  ///< "2x32"
  ModelConfig model;
  std::int64_t params, params_non_embedding;
  FlopsPerToken flops_per_token;
};

/// One run of the grid.
struct GridPoint {
  RunConfig config;  ///< model resolved; not yet checked against the corpus
  SizeCounts size;
  double budget = 0;  ///< nominal FLOPs; 0 when the tokens were given
};

struct Grid {
  std::vector<GridPoint> points;
  std::vector<std::string> notes;  ///< what was left out and why, one line each
};

/// Reads YAML and checks the sweep as a whole. InputError names file, line and key.
SweepConfig read_sweep_config(const YAML::Node& map, const std::string& file);

/// All runs, in the order budget (or size), size (or tokens), axes, seed. InputError for what only shows
/// here: a rule that gives no usable number, an axis over what the sweep sets itself, no runs at all.
Grid expand(const SweepConfig& config, int vocabulary);

/// Indices of at most `count` of the ascending `params` that lie nearest, in log N, to `count` points spread
/// evenly over [center/√span, center·√span]; each is picked once (least squares over all assignments in
/// order).
std::vector<std::size_t> pick_around(const std::vector<std::int64_t>& params, double center, int count,
                                     double span);

namespace detail {
/// An optional key: written only when it has a value, since an empty list or formula does not read back.
template <class Fields, class Write>
void optional_field(Fields&, bool present, Write write) {
  if (!std::is_same_v<Fields, ConfigWriter> || present) write();
}

/// Refuses a key that this kind of sweep has no use for, with a better word than "unknown".
template <class Fields>
void key_of_kinds(Fields& fields, const char* key, bool used, const std::string& kind, const char* kinds) {
  if (std::is_same_v<Fields, ConfigWriter> || used || !fields.has(key)) return;
  fields.fail(key, "is a key of sweeps of kind " + std::string(kinds) + ", and this one's kind is " + kind);
}
}  // namespace detail

template <class Fields>
void describe(Fields& fields, RulesConfig& config) {
  const auto format = [](const std::string& text) { return text; };
  const auto rule = [&](const char* key, std::string& value, auto parse) {
    detail::optional_field(fields, !value.empty(), [&] { fields.parsed(key, value, parse, format); });
  };
  rule("learning_rate", config.learning_rate, parse_step_rule);
  rule("batch_tokens", config.batch_tokens, parse_batch_rule);
  rule("warmup", config.warmup, parse_step_rule);
  rule("initial_std", config.initial_std, parse_step_rule);
}

template <class Fields>
void describe(Fields& fields, AroundConfig& config) {
  fields.parsed("params", config.params, parse_budget_rule, [](const std::string& text) { return text; });
  fields.number("count", config.count, 3, 1000);
  fields.number("span", config.span, 1.1, 1e6);
}

template <class Fields>
void describe(Fields& fields, ListedRun& config) {
  detail::optional_field(fields, !config.size.empty(), [&] { fields.text("size", config.size); });
  fields.number("tokens", config.tokens, std::int64_t{0});
  fields.number("budget", config.budget, 0.0);
}

template <class Fields>
void describe(Fields& fields, AxisConfig& config) {
  fields.text("path", config.path);
  fields.texts("values", config.values);
}

template <class Fields>
void describe(Fields& fields, GridConfig& config) {
  fields.choice("kind", config.kind, {"isoflop", "envelope", "grid", "list"});
  fields.choice("flops", config.flops, {"flops", "flops_hoffmann", "flops_6nd"});
  const bool isoflop = config.kind == "isoflop", list = config.kind == "list", grid = !isoflop && !list;
  const auto numbers = [&](const char* key, auto& values, auto minimum, auto maximum) {
    detail::optional_field(fields, !values.empty(), [&] { fields.numbers(key, values, minimum, maximum); });
  };
  detail::key_of_kinds(fields, "budgets", isoflop, config.kind, "isoflop");
  if (isoflop) numbers("budgets", config.budgets, 1.0, 1e30);
  detail::key_of_kinds(fields, "runs", list, config.kind, "list");
  if (list) fields.sections("runs", config.runs, ListedRun{});
  detail::key_of_kinds(fields, "sizes", !list, config.kind, "isoflop, envelope and grid");
  if (!list) fields.texts("sizes", config.sizes);
  detail::key_of_kinds(fields, "around", isoflop, config.kind, "isoflop");
  if (isoflop) {
    detail::optional_field(fields, !config.around.params.empty(),
                           [&] { fields.section("around", config.around); });
  }
  detail::key_of_kinds(fields, "tokens", grid, config.kind, "envelope and grid");
  detail::key_of_kinds(fields, "tokens_per_param", grid, config.kind, "envelope and grid");
  if (grid) {
    numbers("tokens", config.tokens, 1.0, 1e18);
    numbers("tokens_per_param", config.tokens_per_param, 1e-6, 1e9);
  }
  numbers("seeds", config.seeds, std::int64_t{0}, std::int64_t{1} << 52);
  detail::optional_field(fields, !config.axes.empty(),
                         [&] { fields.sections("axes", config.axes, AxisConfig{}); });
  fields.number("minimum_steps", config.minimum_steps, std::int64_t{1});
  fields.section("rules", config.rules);
}

template <class Fields>
void describe(Fields& fields, SweepConfig& config) {
  fields.section("model", config.model);
  fields.section("data", config.data);
  fields.section("train", config.train);
  fields.section("sweep", config.sweep);
}

}  // namespace minichilla
