// Everything that defines one training run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/config_fields.h"

namespace minichilla {

class Corpus;

struct DataConfig {
  std::string corpus;              ///< folder of a prepared corpus
  std::string order = "shuffled";  ///< "shuffled" (without replacement within an epoch) or "sequential"
};

struct ScheduleConfig {
  std::string kind = "cosine";
  double warmup = 0.02;  ///< fraction of the run's steps with linearly rising rate
  double final = 0.1;    ///< last rate as a fraction of the peak
};

struct OptimizerConfig {
  std::string kind = "adamw";
  double learning_rate = 0.001;  ///< peak
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1;
  double clip = 1.0;  ///< global gradient norm; 0: off
};

/// How often something happens: a fraction of the run ("0.05"), a number of steps ("200 steps") or seconds
/// ("60s", "10m", "2h").
struct Interval {
  enum class Unit { fraction, steps, seconds };
  Unit unit = Unit::fraction;
  double value = 0;
};
Interval parse_interval(const std::string& text);
std::string format_interval(const Interval& interval);

struct EvaluateConfig {
  Interval every = {Interval::Unit::fraction, 0.05};  ///< and always after the last step
  std::int64_t tokens =
      65536;  ///< the first so many validation tokens: a fixed set; resolved() makes it whole windows
  /// About so many of them, spread over all, are read before the last step; 0: all. What is measured then
  /// says how the run goes, and its result is of all.
  std::int64_t midway_tokens = 0;
};

struct CheckpointConfig {
  Interval every = {Interval::Unit::seconds, 60};
};

struct LogConfig {
  /// Rows of training steps in metrics.jsonl, and always the last step's. 4000 rows, the evaluations and all
  /// else but checkpoints stay under 1 MB, however long the run.
  Interval every = {Interval::Unit::fraction, 0.00025};
};

struct TrainConfig {
  std::int64_t tokens = 1'000'000;  ///< D: the run ends after floor(tokens / batch_tokens) steps, at least 1
  std::int64_t batch_tokens = 512;  ///< per step; a multiple of micro_batch · context_length
  int micro_batch = 4;              ///< B: sequences per forward and backward
  int gradient_slots = 2;           ///< K: micro-batch i adds into slot i mod K
  std::string precision = "fp32";   ///< name_of(Precision)
  std::vector<std::string> recompute;  ///< recompute_of(); changes memory and time, and no bits
  std::uint64_t seed = 1;              ///< initialisation and data order
  /// "stop", or "lower_learning_rate": begins again with half the rate, at most kMostLowered times.
  std::string on_divergence = "stop";
  ScheduleConfig schedule;
  OptimizerConfig optimizer;
  EvaluateConfig evaluate;
  CheckpointConfig checkpoint;
  LogConfig log;

  std::int64_t steps() const { return tokens / batch_tokens > 0 ? tokens / batch_tokens : 1; }
};

inline constexpr int kMostLowered = 3;

struct RunConfig {
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
};

/// Fills every default in and checks the whole against the corpus (micro-batch divides the batch, the corpus
/// is large enough for one batch, …). InputError names the key.
RunConfig resolved(RunConfig config, const Corpus& corpus);

/// `<shape>-<tokens>-s<seed>-<hash>`, e.g. "2x32-1.36M-s1-9f86d081": the hash is over the canonical resolved
/// config with the corpus' hash in place of its path, without paths, device, executor, checkpoint
/// and log intervals, recomputation and what a divergence leads to (which the result says).
std::string run_id(const RunConfig& config, const std::string& corpus_hash);

/// One key of a config with its value as text: {"train.schedule.warmup", "0.02"}.
struct ConfigEntry {
  std::string key, value;
};

/// Every key of a config, in the order of its description.
std::vector<ConfigEntry> config_entries(const RunConfig& config);

/// SHA-256 in hexadecimal of what run_id hashes: two runs with this in common train the same model on the
/// same tokens.
std::string config_hash(const RunConfig& config, const std::string& corpus_hash);

struct ConfigDifference {
  std::string key, ours, theirs;
};

/// The first key that config_hash covers in which two configs differ.
std::optional<ConfigDifference> first_difference(const RunConfig& ours, const RunConfig& theirs);

template <class Fields>
void describe(Fields& fields, DataConfig& config) {
  fields.text("corpus", config.corpus);
  fields.choice("order", config.order, {"shuffled", "sequential"});
}

template <class Fields>
void describe(Fields& fields, ScheduleConfig& config) {
  fields.choice("kind", config.kind, {"cosine"});
  fields.number("warmup", config.warmup, 0.0, 1.0);
  fields.number("final", config.final, 0.0, 1.0);
}

template <class Fields>
void describe(Fields& fields, OptimizerConfig& config) {
  fields.choice("kind", config.kind, {"adamw"});
  fields.number("learning_rate", config.learning_rate, 0.0, 1e3);
  fields.number("beta1", config.beta1, 0.0, 0.999999);
  fields.number("beta2", config.beta2, 0.0, 0.9999999);
  fields.number("epsilon", config.epsilon, 1e-30, 1.0);
  fields.number("weight_decay", config.weight_decay, 0.0, 1e3);
  fields.number("clip", config.clip, 0.0);
}

template <class Fields>
void describe(Fields& fields, EvaluateConfig& config) {
  fields.parsed("every", config.every, parse_interval, format_interval);
  fields.number("tokens", config.tokens, std::int64_t{1});
  fields.number("midway_tokens", config.midway_tokens, std::int64_t{0});
}

template <class Fields>
void describe(Fields& fields, CheckpointConfig& config) {
  fields.parsed("every", config.every, parse_interval, format_interval);
}

template <class Fields>
void describe(Fields& fields, LogConfig& config) {
  fields.parsed("every", config.every, parse_interval, format_interval);
}

template <class Fields>
void describe(Fields& fields, TrainConfig& config) {
  fields.number("tokens", config.tokens, std::int64_t{1});
  fields.number("batch_tokens", config.batch_tokens, std::int64_t{1});
  fields.number("micro_batch", config.micro_batch, 1, 1 << 16);
  fields.number("gradient_slots", config.gradient_slots, 1, 1 << 12);
  fields.choice("precision", config.precision, {"fp32", "tf32", "bf16"});
  fields.some_of("recompute", config.recompute, {"norms", "mlp"});
  fields.number("seed", config.seed, std::uint64_t{0}, std::uint64_t{1} << 52);
  fields.choice("on_divergence", config.on_divergence, {"stop", "lower_learning_rate"});
  fields.section("schedule", config.schedule);
  fields.section("optimizer", config.optimizer);
  fields.section("evaluate", config.evaluate);
  fields.section("checkpoint", config.checkpoint);
  fields.section("log", config.log);
}

template <class Fields>
void describe(Fields& fields, RunConfig& config) {
  fields.section("model", config.model);
  fields.section("data", config.data);
  fields.section("train", config.train);
}

}  // namespace minichilla
