#include "model/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "kernels/error.h"
#include "model/quote.h"

namespace minichilla {
namespace {

constexpr int kMlpRatio = 4;

struct Rung {
  int n_layers, d_model, n_heads;
};

// Every width is at least its predecessor's and the layers' parameters grow from rung to rung, so the order
// holds for every vocabulary and context length. With 257 tokens and 64 positions neighbours differ by
// factors of 1.28 to 1.75. Heads are 8 to 16 wide up to half a million parameters and 24 to 32 beyond.
constexpr Rung kLadder[] = {
    {1, 12, 1},    // 5.8k parameters with V = 257, T = 64
    {1, 16, 2},    // 8.4k
    {2, 16, 2},    // 11.7k
    {1, 24, 3},    // 15.0k
    {2, 24, 3},    // 22.2k
    {2, 32, 2},    // 35.7k
    {2, 40, 5},    // 52.4k
    {3, 40, 5},    // 72.1k
    {3, 48, 3},    // 100k
    {3, 64, 4},    // 171k
    {3, 80, 5},    // 259k
    {4, 80, 5},    // 337k
    {4, 96, 6},    // 478k
    {4, 128, 4},   // 834k
    {5, 144, 6},   // 1.30M
    {6, 160, 5},   // 1.91M
    {6, 192, 6},   // 2.73M
    {7, 224, 7},   // 4.31M
    {8, 256, 8},   // 6.40M
    {8, 320, 10},  // 9.97M
    {8, 384, 12},  // 14.3M
};

[[noreturn]] void refuse(const std::string& key, const std::string& found, const std::string& expected) {
  throw InputError("model." + key + ": found " + found + ", expected " + expected);
}

void check_at_least(const char* key, int value, int minimum) {
  if (value < minimum) refuse(key, std::to_string(value), "at least " + std::to_string(minimum));
}

const ModelConfig* find_rung(int n_layers, int d_model) {
  for (const ModelConfig& rung : ladder_shapes()) {
    if (rung.n_layers == n_layers && rung.d_model == d_model) return &rung;
  }
  return nullptr;
}

std::string rung_name(const ModelConfig& rung) {
  return std::to_string(rung.n_layers) + "x" + std::to_string(rung.d_model);
}

[[noreturn]] void refuse_size(const std::string& found, const std::string& expected) {
  throw InputError("sizes: found " + quote(found) + ", expected " + expected);
}

/// The text between separators, empty parts included.
std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find(separator, begin)) != std::string::npos; begin = end + 1) {
    parts.push_back(text.substr(begin, end - begin));
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::optional<int> whole_number(const std::string& text) {
  int value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Heads that divide the width, about 16 wide.
int likely_heads(int d_model) {
  int heads = std::max(1, d_model / 16);
  while (d_model % heads != 0) --heads;
  return heads;
}

std::string ladder_extent() {
  const int rungs = static_cast<int>(ladder_shapes().size());
  return "rungs 0 to " + std::to_string(rungs - 1) + " (the ladder has " + std::to_string(rungs) + ", from " +
         rung_name(ladder_shapes().front()) + " to " + rung_name(ladder_shapes().back()) + ")";
}

/// Python's slice.indices(): where a slice begins, ends and how it steps over `length` items.
struct Slice {
  int begin, end, step;
};

Slice parse_slice(const std::string& size, const std::vector<std::string>& parts, int length) {
  std::optional<int> number[3];
  for (std::size_t i = 0; i < parts.size(); ++i) {
    number[i] = whole_number(parts[i]);
    if (!number[i] && !parts[i].empty()) refuse_size(size, "whole numbers in a slice such as ladder[0:5]");
  }
  const int step = number[2].value_or(1);
  if (step == 0) refuse_size(size, "a step other than 0");
  const int lowest = step > 0 ? 0 : -1;
  const int highest = step > 0 ? length : length - 1;
  const auto bound = [&](int index) {
    return std::clamp(index < 0 ? index + length : index, lowest, highest);
  };
  return {number[0] ? bound(*number[0]) : (step > 0 ? lowest : highest),
          number[1] ? bound(*number[1]) : (step > 0 ? highest : lowest), step};
}

/// The rungs of "ladder[...]".
std::vector<ModelConfig> parse_rungs(const std::string& size) {
  const std::vector<ModelConfig>& ladder = ladder_shapes();
  const int length = static_cast<int>(ladder.size());
  const std::string prefix = "ladder[";
  const std::vector<std::string> parts =
      split(size.substr(prefix.size(), size.size() - prefix.size() - 1), ':');
  if (parts.size() > 3) refuse_size(size, "a slice such as ladder[0:5] or ladder[0:8:2]");
  if (parts.size() == 1) {
    const std::optional<int> index = whole_number(parts[0]);
    if (!index || *index < -length || *index >= length) refuse_size(size, ladder_extent());
    return {ladder[static_cast<std::size_t>(*index < 0 ? *index + length : *index)]};
  }
  const Slice slice = parse_slice(size, parts, length);
  std::vector<ModelConfig> rungs;
  for (std::int64_t i = slice.begin; slice.step > 0 ? i < slice.end : i > slice.end; i += slice.step) {
    rungs.push_back(ladder[static_cast<std::size_t>(i)]);
  }
  if (rungs.empty()) refuse_size(size, "a slice that is not empty, of " + ladder_extent());
  return rungs;
}

/// "2x32" or "3x48x6".
ModelConfig parse_shape(const std::string& size) {
  const std::string expected =
      "a slice of the ladder such as ladder[0:5], one of its rungs such as ladder[3] or 2x32, or layers x "
      "width x "
      "heads such as 3x48x6";
  const std::vector<std::string> parts = split(size, 'x');
  if (parts.size() != 2 && parts.size() != 3) refuse_size(size, expected);
  std::vector<int> numbers;
  for (const std::string& part : parts) {
    const std::optional<int> number = whole_number(part);
    if (!number || *number < 1) refuse_size(size, expected);
    numbers.push_back(*number);
  }
  const ModelConfig* rung = find_rung(numbers[0], numbers[1]);
  if (numbers.size() == 2) {
    if (rung) return *rung;
    std::vector<std::string> names;
    for (const ModelConfig& shape : ladder_shapes()) names.push_back(rung_name(shape));
    const std::string near = nearest_name(size, names);
    refuse_size(size, "a shape of the ladder" + (near.empty() ? "" : " such as " + near) +
                          ", or the heads too, as in " + size + "x" +
                          std::to_string(likely_heads(numbers[1])));
  }
  if (rung && rung->n_heads == numbers[2]) return *rung;
  if (numbers[1] % numbers[2] != 0) refuse_size(size, "a width that is a multiple of the heads");
  ModelConfig shape;
  shape.n_layers = numbers[0];
  shape.d_model = numbers[1];
  shape.n_heads = numbers[2];
  return shape;
}

}  // namespace

int ModelConfig::attention_window() const {
  return attention.window ? attention.window : std::max(1, context_length / 4);
}

AttentionPattern ModelConfig::layer_pattern(int layer) const {
  const std::string& kind = attention.pattern[static_cast<std::size_t>(layer) % attention.pattern.size()];
  return kind == "banded" ? AttentionPattern::banded(attention_window()) : AttentionPattern::dense();
}

ModelConfig resolved(ModelConfig config) {
  check_at_least("n_layers", config.n_layers, 1);
  check_at_least("d_model", config.d_model, 1);
  check_at_least("n_heads", config.n_heads, 1);
  check_at_least("d_head", config.d_head, 0);
  check_at_least("d_ff", config.d_ff, 0);
  check_at_least("context_length", config.context_length, 1);
  check_at_least("attention.window", config.attention.window, 0);
  if (!(config.initial_std >= 0 && std::isfinite(config.initial_std))) {
    refuse("initial_std", format_number(config.initial_std), "a number of at least 0");
  }
  if (config.attention.pattern.empty()) refuse("attention.pattern", "an empty list", "dense, banded or both");
  for (const std::string& kind : config.attention.pattern) {
    if (kind != "dense" && kind != "banded") refuse("attention.pattern", quote(kind), "dense or banded");
  }
  if (config.d_head == 0 && config.d_model % config.n_heads != 0) {
    refuse("n_heads", std::to_string(config.n_heads),
           "a divisor of d_model = " + std::to_string(config.d_model) + ", or d_head given");
  }
  config.d_head = config.head_width();
  config.d_ff = config.mlp_width();
  config.attention.window = config.attention_window();
  return config;
}

std::string shape_name(const ModelConfig& config) {
  std::string name = rung_name(config);
  const auto add = [&](char letter, int value) { (name += letter) += std::to_string(value); };
  const ModelConfig* rung = find_rung(config.n_layers, config.d_model);
  if (!rung || rung->n_heads != config.n_heads) add('x', config.n_heads);
  if (config.head_width() * config.n_heads != config.d_model) add('h', config.head_width());
  if (config.mlp_width() != kMlpRatio * config.d_model) add('f', config.mlp_width());
  return name;
}

const std::vector<ModelConfig>& ladder_shapes() {
  static const std::vector<ModelConfig> shapes = [] {
    std::vector<ModelConfig> ladder;
    for (const Rung& rung : kLadder) {
      ModelConfig config;
      config.family = "ladder";
      config.n_layers = rung.n_layers;
      config.d_model = rung.d_model;
      config.n_heads = rung.n_heads;
      ladder.push_back(config);
    }
    return ladder;
  }();
  return shapes;
}

std::vector<ModelConfig> parse_sizes(const std::vector<std::string>& sizes) {
  std::vector<ModelConfig> shapes;
  std::vector<std::string> names;
  for (const std::string& size : sizes) {
    const bool slice = size.starts_with("ladder[") && size.ends_with("]");
    for (const ModelConfig& shape : slice ? parse_rungs(size) : std::vector<ModelConfig>{parse_shape(size)}) {
      const std::string name = shape_name(shape);
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      names.push_back(name);
      shapes.push_back(shape);
    }
  }
  return shapes;
}

}  // namespace minichilla
