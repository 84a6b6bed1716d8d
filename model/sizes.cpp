#include "model/sizes.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <stdexcept>

#include "kernels/error.h"
#include "model/families.h"
#include "model/quote.h"

namespace minichilla {
namespace {

constexpr int kMlpRatio = 4;
constexpr int kLargestNumber[] = {kMostLayers, kLargestWidth, kMostHeads};  ///< in "3x48x6", place by place

/// What was expected in place of a size; the callers say what was found and where.
[[noreturn]] void refuse_size(const std::string& expected) {
  throw std::invalid_argument(expected);
}

std::string did_you_mean(const std::string& found, const std::vector<std::string>& valid) {
  const std::string near = nearest_name(found, valid);
  return near.empty() ? "" : "; did you mean " + near + "?";
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

std::string layers_by_width(const ModelConfig& shape) {
  return std::to_string(shape.n_layers) + "x" + std::to_string(shape.d_model);
}

/// Whether the ladder's rung of these layers and this width, if there is one, has these heads.
bool on_ladder(const ModelConfig& shape) {
  const FamilyShape* rung = find_shape(layers_by_width(shape));
  return rung && rung->model.n_heads == shape.n_heads;
}

bool same_widths(const ModelConfig& a, const ModelConfig& b) {
  return a.n_layers == b.n_layers && a.d_model == b.d_model && a.n_heads == b.n_heads &&
         a.head_width() == b.head_width() && a.mlp_width() == b.mlp_width();
}

std::string extent(const Family& family) {
  const std::size_t count = family.shapes.size();
  return "indices 0 to " + std::to_string(count - 1) + " (" + family.name + " has " + std::to_string(count) +
         " shapes, from " + family.shapes.front().name + " to " + family.shapes.back().name + ")";
}

/// Python's slice.indices(): where a slice begins, ends and how it steps over `length` items.
struct Slice {
  int begin, end, step;
};

Slice slice_bounds(const std::vector<std::string>& parts, const std::string& example, int length) {
  std::optional<int> number[3];
  for (std::size_t i = 0; i < parts.size(); ++i) {
    number[i] = whole_number(parts[i]);
    if (!number[i] && !parts[i].empty()) refuse_size("whole numbers in a slice such as " + example);
  }
  const int step = number[2].value_or(1);
  if (step == 0) refuse_size("a step other than 0");
  const int lowest = step > 0 ? 0 : -1;
  const int highest = step > 0 ? length : length - 1;
  const auto bound = [&](int index) {
    return std::clamp(index < 0 ? index + length : index, lowest, highest);
  };
  return {number[0] ? bound(*number[0]) : (step > 0 ? lowest : highest),
          number[1] ? bound(*number[1]) : (step > 0 ? highest : lowest), step};
}

/// The shapes of "FAMILY[indices]".
std::vector<ModelConfig> parse_members(const Family& family, const std::string& indices) {
  const int length = static_cast<int>(family.shapes.size());
  const std::string example = family.name + "[0:5]";
  const std::vector<std::string> parts = split(indices, ':');
  if (parts.size() > 3) refuse_size("a slice such as " + example + " or " + family.name + "[0:8:2]");
  if (parts.size() == 1) {
    const std::optional<int> index = whole_number(parts[0]);
    if (!index || *index < -length || *index >= length) refuse_size(extent(family));
    return {family.shapes[static_cast<std::size_t>(*index < 0 ? *index + length : *index)].model};
  }
  const Slice slice = slice_bounds(parts, example, length);
  std::vector<ModelConfig> members;
  for (std::int64_t i = slice.begin; slice.step > 0 ? i < slice.end : i > slice.end; i += slice.step) {
    members.push_back(family.shapes[static_cast<std::size_t>(i)].model);
  }
  if (members.empty()) refuse_size("a slice that is not empty, of " + extent(family));
  return members;
}

const char* const kExpected =
    "a shape by name such as gpt3-125M or 2x32, a family's shapes such as ladder[3] or ladder[0:5], or "
    "layers x width x heads such as 3x48x6";

/// Neither a slice nor numbers: perhaps a name with an error in it.
[[noreturn]] void refuse_name(const std::string& size) {
  std::vector<std::string> names;
  for (const Family& family : families()) {
    if (size == family.name) refuse_size(kExpected + ("; did you mean " + size + "[:]?"));
    for (const FamilyShape& shape : family.shapes) names.push_back(shape.name);
  }
  refuse_size(kExpected + did_you_mean(size, names));
}

/// "3x48x6", or "2x33" that is on no ladder.
ModelConfig parse_widths(const std::string& size) {
  const std::vector<std::string> parts = split(size, 'x');
  if (parts.size() != 2 && parts.size() != 3) refuse_name(size);
  std::vector<int> numbers;
  for (const std::string& part : parts) {
    const std::optional<int> number = whole_number(part);
    const int largest = kLargestNumber[numbers.size()];
    if (!number || *number < 1) refuse_name(size);
    if (*number > largest) refuse_size("no number above " + std::to_string(largest) + " in its place");
    numbers.push_back(*number);
  }
  if (numbers.size() == 2) {
    std::vector<std::string> names;
    for (const FamilyShape& shape : find_family("ladder").shapes) names.push_back(shape.name);
    const std::string near = nearest_name(size, names);
    refuse_size("a shape of the ladder" + (near.empty() ? "" : " such as " + near) +
                ", or the heads too, as in " + size + "x" + std::to_string(likely_heads(numbers[1])));
  }
  ModelConfig shape;
  shape.n_layers = numbers[0];
  shape.d_model = numbers[1];
  shape.n_heads = numbers[2];
  if (shape.d_model % shape.n_heads != 0) refuse_size("a width that is a multiple of the heads");
  if (on_ladder(shape)) shape.family = "ladder";
  return shape;
}

/// One entry of a list of sizes.
std::vector<ModelConfig> parse_entry(const std::string& size) {
  if (const FamilyShape* shape = find_shape(size)) return {shape->model};
  const std::size_t bracket = size.find('[');
  if (bracket == std::string::npos || !size.ends_with("]")) return {parse_widths(size)};
  const std::string family = size.substr(0, bracket);
  const std::vector<std::string> names = family_names();
  if (std::find(names.begin(), names.end(), family) == names.end()) {
    refuse_size(kExpected + did_you_mean(family, names));
  }
  return parse_members(find_family(family), size.substr(bracket + 1, size.size() - bracket - 2));
}

}  // namespace

std::string shape_name(const ModelConfig& config) {
  for (const Family& family : families()) {
    if (family.name != config.family || family.name == "ladder") continue;
    for (const FamilyShape& shape : family.shapes) {
      if (same_widths(shape.model, config)) return shape.name;
    }
  }
  std::string name = layers_by_width(config);
  const auto add = [&](char letter, int value) { (name += letter) += std::to_string(value); };
  if (!on_ladder(config)) add('x', config.n_heads);
  if (config.head_width() * config.n_heads != config.d_model) add('h', config.head_width());
  if (config.mlp_width() != kMlpRatio * config.d_model) add('f', config.mlp_width());
  return name;
}

std::vector<ModelConfig> parse_sizes(const std::vector<std::string>& sizes) {
  std::vector<ModelConfig> shapes;
  for (const std::string& size : sizes) {
    try {
      for (const ModelConfig& shape : parse_entry(size)) {
        const bool known = std::any_of(shapes.begin(), shapes.end(),
                                       [&](const ModelConfig& other) { return same_widths(shape, other); });
        if (!known) shapes.push_back(shape);
      }
    } catch (const std::invalid_argument& error) {
      throw InputError("sizes: found " + quote(size) + ", expected " + error.what());
    }
  }
  return shapes;
}

ModelConfig parse_size(const std::string& size) {
  const std::vector<ModelConfig> shapes = parse_entry(size);
  if (shapes.size() != 1) {
    refuse_size("one shape, and " + printable(size) + " has " + std::to_string(shapes.size()));
  }
  return shapes.front();
}

ModelConfig with_shape(ModelConfig config, const ModelConfig& shape) {
  config.family = shape.family;
  config.n_layers = shape.n_layers;
  config.d_model = shape.d_model;
  config.n_heads = shape.n_heads;
  if (shape.d_head) config.d_head = shape.d_head;
  if (shape.d_ff) config.d_ff = shape.d_ff;
  return config;
}

void read_size(ConfigReader& fields, ModelConfig& config) {
  const auto parse = [&](const std::string& size) { return with_shape(config, parse_size(size)); };
  const auto format = [](const ModelConfig& shape) { return shape_name(shape); };
  fields.parsed("size", config, parse, format);
  if (!fields.has("size")) return;
  for (const char* key : {"family", "n_layers", "d_model", "n_heads", "d_head", "d_ff"}) {
    if (fields.has(key)) {
      fields.fail(key, "found beside size, which stands for it, expected one of the two");
    }
  }
}

}  // namespace minichilla
