#include "trainer/run_config.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "kernels/error.h"
#include "model/sizes.h"
#include "trainer/corpus.h"
#include "trainer/files.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

const char* const kIntervalSyntax =
    "a fraction of the run such as 0.05, a number of steps such as '200 steps', or a time such as 60s, 10m "
    "or 2h";

std::string without_trailing_spaces(std::string text) {
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

bool take_suffix(std::string& text, const std::string& suffix) {
  if (text.size() <= suffix.size() || !text.ends_with(suffix)) return false;
  text = without_trailing_spaces(text.substr(0, text.size() - suffix.size()));
  return true;
}

std::string value_text(const ConfigTree& value) {
  if (value.kind == ConfigTree::Kind::scalar) return value.scalar;
  std::string text;
  for (const std::string& item : value.items) text += (text.empty() ? "" : ", ") + item;
  return "[" + text + "]";
}

void flatten(const ConfigTree& section, const std::string& prefix, std::vector<ConfigEntry>& entries) {
  for (const auto& [key, value] : section.fields) {
    if (value.kind == ConfigTree::Kind::map) {
      flatten(value, prefix + key + ".", entries);
    } else {
      entries.push_back({prefix + key, value_text(value)});
    }
  }
}

void check_batch(const RunConfig& config) {
  const TrainConfig& train = config.train;
  const std::int64_t unit = std::int64_t{train.micro_batch} * config.model.context_length;
  if (train.batch_tokens % unit != 0) {
    const std::int64_t below = train.batch_tokens / unit * unit;
    const std::string nearest =
        (below > 0 ? std::to_string(below) + " or " : std::string()) + std::to_string(below + unit);
    throw InputError("train.batch_tokens: found " + std::to_string(train.batch_tokens) +
                     ", expected a multiple of train.micro_batch * model.context_length = " +
                     std::to_string(train.micro_batch) + " * " + std::to_string(config.model.context_length) +
                     " = " + std::to_string(unit) + "; nearest: " + nearest);
  }
  if (train.tokens < train.batch_tokens) {
    throw InputError(
        "train.tokens: found " + std::to_string(train.tokens) +
        ", expected at least one step's train.batch_tokens = " + std::to_string(train.batch_tokens));
  }
}

/// Whole windows of T tokens and their targets (the same tokens one place on) in a split.
std::int64_t windows_of(const TokenSplit& split, int T) {
  return split.tokens() > T ? (split.tokens() - 1) / T : 0;
}

void check_corpus(const RunConfig& config, const Corpus& corpus) {
  const int T = config.model.context_length;
  const TokenSplit& train = corpus.split("train");
  if (windows_of(train, T) < config.train.batch_tokens / T) {
    throw InputError("train.batch_tokens: found " + std::to_string(config.train.batch_tokens) +
                     ", but split train of " + corpus.folder().string() + " has only " +
                     std::to_string(train.tokens()) +
                     " tokens, expected at least train.batch_tokens + 1: lower it or prepare more text");
  }
  const TokenSplit& val = corpus.split("val");
  if (windows_of(val, T) < 1) {
    throw InputError(
        "model.context_length: found " + std::to_string(T) + ", but split val of " +
        corpus.folder().string() + " has only " + std::to_string(val.tokens()) +
        " tokens, expected at least context_length + 1: lower it or prepare more validation text");
  }
}

bool is_identity(const std::string& key) {
  return key != "data.corpus" && key != "train.recompute" && key != "train.on_divergence" &&
         key != "train.evaluate.midway_tokens" && !key.starts_with("train.checkpoint.") &&
         !key.starts_with("train.log.");
}

}  // namespace

Interval parse_interval(const std::string& text) {
  Interval interval;
  std::string digits = without_trailing_spaces(text);
  double factor = 1;
  if (take_suffix(digits, "steps") || take_suffix(digits, "step")) {
    interval.unit = Interval::Unit::steps;
  } else if (take_suffix(digits, "s") || take_suffix(digits, "m") || take_suffix(digits, "h")) {
    interval.unit = Interval::Unit::seconds;
    const char unit = without_trailing_spaces(text).back();
    factor = unit == 'h' ? 3600 : unit == 'm' ? 60 : 1;
  }
  try {
    interval.value = parse_quantity(digits) * factor;
  } catch (const std::invalid_argument&) {
    throw std::invalid_argument(kIntervalSyntax);
  }
  switch (interval.unit) {
    case Interval::Unit::fraction:
      if (!(interval.value > 0 && interval.value <= 1)) {
        throw std::invalid_argument(
            "a fraction of the run above 0 and up to 1 (or a number with a unit: steps, s, m, h)");
      }
      break;
    case Interval::Unit::steps:
      if (interval.value < 1 || interval.value != std::floor(interval.value) || interval.value > 1e15) {
        throw std::invalid_argument("a whole number of steps, at least 1");
      }
      break;
    case Interval::Unit::seconds:
      if (!(interval.value > 0)) throw std::invalid_argument("a time above 0");
      break;
  }
  return interval;
}

std::string format_interval(const Interval& interval) {
  const std::string value = format_number(interval.value);
  switch (interval.unit) {
    case Interval::Unit::steps:
      return value + (interval.value == 1 ? " step" : " steps");
    case Interval::Unit::seconds:
      return value + "s";
    case Interval::Unit::fraction:
      break;
  }
  return value;
}

RunConfig resolved(RunConfig config, const Corpus& corpus) {
  config.model = resolved(config.model);
  check_batch(config);
  check_corpus(config, corpus);
  TrainConfig& train = config.train;
  const int T = config.model.context_length;
  const std::int64_t micro_batches = train.batch_tokens / (std::int64_t{train.micro_batch} * T);
  train.gradient_slots = static_cast<int>(std::min<std::int64_t>(train.gradient_slots, micro_batches));
  const std::int64_t windows = std::max<std::int64_t>(train.evaluate.tokens / T, 1);
  train.evaluate.tokens = std::min(windows, windows_of(corpus.split("val"), T)) * T;
  return config;
}

std::vector<ConfigEntry> config_entries(const RunConfig& config) {
  std::vector<ConfigEntry> entries;
  flatten(write_config(config), "", entries);
  return entries;
}

std::string config_hash(const RunConfig& config, const std::string& corpus_hash) {
  std::vector<std::string> lines = {"corpus=" + corpus_hash + "\n"};
  for (const ConfigEntry& entry : config_entries(config)) {
    if (is_identity(entry.key)) lines.push_back(entry.key + "=" + entry.value + "\n");
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += line;
  return sha256_hex(text);
}

std::optional<ConfigDifference> first_difference(const RunConfig& ours, const RunConfig& theirs) {
  const std::vector<ConfigEntry> a = config_entries(ours), b = config_entries(theirs);
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (is_identity(a[i].key) && a[i].value != b[i].value)
      return ConfigDifference{a[i].key, a[i].value, b[i].value};
  }
  return std::nullopt;
}

std::string run_id(const RunConfig& config, const std::string& corpus_hash) {
  return shape_name(config.model) + "-" + format_count(static_cast<double>(config.train.tokens)) + "-s" +
         std::to_string(config.train.seed) + "-" + config_hash(config, corpus_hash).substr(0, 8);
}

}  // namespace minichilla
