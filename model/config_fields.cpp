#include "model/config_fields.h"

#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "kernels/error.h"

namespace minichilla {
namespace {

constexpr double kLargestWhole = 0x1p53;
constexpr std::size_t kDeepestValue = 32;
constexpr int kLargestValue = 10'000;  ///< nodes, with every alias written out

std::string kind_of(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Map:
      return "a map";
    case YAML::NodeType::Sequence:
      return node.size() == 0 ? "an empty list" : "a list";
    case YAML::NodeType::Null:
    case YAML::NodeType::Undefined:
      return "nothing";
    case YAML::NodeType::Scalar:
      break;
  }
  return quote(node.Scalar());
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string suggestion(const std::string& name, const std::vector<std::string>& valid) {
  const std::string near = nearest_name(name, valid);
  return near.empty() ? "" : "; did you mean " + near + "?";
}

/// "FILE:LINE: ", without the line where there is none.
std::string place(const std::string& file, const YAML::Mark& mark) {
  return file + (mark.line >= 0 ? ":" + std::to_string(mark.line + 1) : "") + ": ";
}

/// Power of ten that a unit suffix stands for, 0 for none.
int suffix_exponent(char suffix) {
  switch (suffix) {
    case 'k':
    case 'K':
      return 3;
    case 'M':
      return 6;
    case 'G':
    case 'B':
      return 9;
    case 'T':
      return 12;
    default:
      return 0;
  }
}

/// The same value without the marks of where it stood. Aliases of aliases can stand for any number of nodes:
/// `nodes` counts them.
YAML::Node unmarked(const YAML::Node& node, int& nodes, std::size_t depth = 0) {
  if (depth > kDeepestValue) throw YAML::Exception(YAML::Mark::null_mark(), "nested too deeply");
  if (++nodes > kLargestValue) throw YAML::Exception(YAML::Mark::null_mark(), "too many values");
  if (node.IsScalar()) return YAML::Node(node.Scalar());
  if (node.IsNull()) return YAML::Node(YAML::NodeType::Null);
  YAML::Node copy(node.Type());
  if (node.IsSequence()) {
    for (const YAML::Node& item : node) copy.push_back(unmarked(item, nodes, depth + 1));
  } else {
    for (const auto& entry : node) {
      copy[unmarked(entry.first, nodes, depth + 1)] = unmarked(entry.second, nodes, depth + 1);
    }
  }
  return copy;
}

/// Notices where documents start; YAML::LoadAll would, too, but never ends when the parser stops moving on,
/// as it does at some misplaced commas.
class DocumentStarts : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override { last_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
  }
  void OnMapEnd() override {}
  const YAML::Mark& last() const { return last_; }

 private:
  YAML::Mark last_;
};

/// The one document in `text`, undefined when there is none. YAML::Exception for more.
YAML::Node load_document(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentStarts starts;
  if (!parser.HandleNextDocument(starts)) return YAML::Node(YAML::NodeType::Undefined);
  if (parser.HandleNextDocument(starts))
    throw YAML::Exception(starts.last(), "a second document begins here");
  return YAML::Load(text);
}

}  // namespace

double parse_quantity(const std::string& text) {
  const int exponent = text.empty() ? 0 : suffix_exponent(text.back());
  std::string number = text.substr(0, text.size() - (exponent > 0 ? 1 : 0));
  // As decimal digits, so that 1.36M is the double nearest to 1360000 and not the product of two rounded
  // numbers.
  const bool scientific = number.find_first_of("eE") != std::string::npos;
  const double factor = scientific ? std::pow(10.0, exponent) : 1;
  const bool digits_last =
      !number.empty() && (std::isdigit(static_cast<unsigned char>(number.back())) || number.back() == '.');
  if (digits_last && exponent > 0 && !scientific) (number += 'e') += std::to_string(exponent);

  double value = 0;
  const char* const end = number.data() + number.size();
  const auto [rest, error] = std::from_chars(number.data(), end, value);
  if (!digits_last || error != std::errc() || rest != end || !std::isfinite(value * factor)) {
    throw std::invalid_argument("a number such as 1000, 3e11 or 1.36M (suffixes k, M, G, T)");
  }
  return value * factor;
}

std::string format_number(double value) {
  char text[64];
  const auto result = std::to_chars(text, text + sizeof text, value);
  return std::string(text, result.ptr);
}

ConfigReader::ConfigReader(YAML::Node map, std::string file, std::string path)
    : map_(std::move(map)), file_(std::move(file)), path_(std::move(path)) {
  const std::string where = path_.empty() ? "the config" : path_;
  if (!map_.IsMap() && !map_.IsNull()) {
    throw InputError(place(file_, map_.Mark()) + where + ": found " + kind_of(map_) +
                     ", expected a map of keys");
  }
  if (!map_.IsMap()) return;
  std::map<std::string, int> lines;
  for (const auto& entry : map_) {
    const YAML::Node& key = entry.first;
    if (!key.IsScalar()) {
      throw InputError(place(file_, key.Mark()) + where + ": found " + kind_of(key) +
                       " as a key, expected a name");
    }
    const auto [first, fresh] = lines.emplace(key.Scalar(), key.Mark().line + 1);
    if (!fresh) {
      fail(key, key.Scalar(),
           "found a second time, expected once (first on line " + std::to_string(first->second) + ")");
    }
  }
}

YAML::Node ConfigReader::take(const char* key) {
  known_.emplace_back(key);
  if (!map_.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
  return static_cast<const YAML::Node&>(map_)[key];
}

bool ConfigReader::has(const char* key) const {
  return map_.IsMap() && static_cast<const YAML::Node&>(map_)[key].IsDefined();
}

std::string ConfigReader::path_of(const std::string& key) const {
  return path_.empty() ? key : path_ + "." + key;
}

void ConfigReader::fail(const YAML::Node& node, const std::string& key, const std::string& message) const {
  YAML::Mark mark = node.IsDefined() ? node.Mark() : YAML::Mark::null_mark();
  if (node.IsDefined() && node.IsNull() && map_.IsMap()) {
    // An absent value is marked where the next token stands; its key knows better.
    for (const auto& entry : map_) {
      if (entry.first.Scalar() == key) mark = entry.first.Mark();
    }
  }
  throw InputError(place(file_, mark) + path_of(printable(key)) + ": " + message);
}

void ConfigReader::fail_type(const YAML::Node& node, const std::string& key,
                             const std::string& expected) const {
  fail(node, key, "found " + kind_of(node) + ", expected " + expected);
}

void ConfigReader::fail(const char* key, const std::string& message) const {
  const YAML::Node node = map_.IsMap() ? static_cast<const YAML::Node&>(map_)[key] : YAML::Node();
  fail(node.IsDefined() ? node : map_, key, message);
}

std::string ConfigReader::read_scalar(const YAML::Node& node, const std::string& key) const {
  if (!node.IsScalar()) fail_type(node, key, "a single value");
  return node.Scalar();
}

double ConfigReader::read_number(const YAML::Node& node, const std::string& key, double minimum,
                                 double maximum, bool whole) const {
  const std::string scalar = read_scalar(node, key);
  const std::string found = "found " + quote(scalar) + ", expected ";
  const std::string kind = whole ? "a whole number" : "a number";
  double value = 0;
  try {
    value = parse_quantity(scalar);
  } catch (const std::invalid_argument& error) {
    fail(node, key, found + error.what());
  }
  if (whole && value != std::floor(value)) fail(node, key, found + "a whole number");
  if (whole) {
    minimum = std::max(minimum, -kLargestWhole);
    maximum = std::min(maximum, kLargestWhole);
  }
  if (value < minimum || value > maximum) {
    fail(node, key,
         found + kind +
             (maximum < std::numeric_limits<double>::max()
                  ? " from " + format_number(minimum) + " to " + format_number(maximum)
                  : " of at least " + format_number(minimum)));
  }
  return value;
}

std::vector<std::pair<YAML::Node, std::string>> ConfigReader::read_items(const YAML::Node& node,
                                                                         const std::string& key) const {
  if (node.IsScalar()) return {{node, key}};
  if (!node.IsSequence()) fail_type(node, key, "a list");
  if (node.size() == 0) fail_type(node, key, "at least one value");
  std::vector<std::pair<YAML::Node, std::string>> items;
  for (const YAML::Node& item : node) {
    items.emplace_back(item, key + "[" + std::to_string(items.size()) + "]");
  }
  return items;
}

void ConfigReader::check_choice(const YAML::Node& node, const std::string& key, const std::string& value,
                                const std::vector<std::string>& valid) const {
  if (std::find(valid.begin(), valid.end(), value) != valid.end()) return;
  fail(node, key,
       "found " + quote(value) + ", expected " + (valid.size() > 1 ? "one of " : "") + joined(valid) +
           suggestion(value, valid));
}

void ConfigReader::flag(const char* key, bool& value) {
  if (const YAML::Node node = take(key)) {
    const std::string scalar = read_scalar(node, key);
    if (scalar != "true" && scalar != "false") fail_type(node, key, "true or false");
    value = scalar == "true";
  }
}

void ConfigReader::text(const char* key, std::string& value) {
  if (const YAML::Node node = take(key)) value = read_scalar(node, key);
}

void ConfigReader::choice(const char* key, std::string& value, const std::vector<std::string>& valid) {
  if (const YAML::Node node = take(key)) {
    const std::string scalar = read_scalar(node, key);
    check_choice(node, key, scalar, valid);
    value = scalar;
  }
}

void ConfigReader::texts(const char* key, std::vector<std::string>& values) {
  if (const YAML::Node node = take(key)) {
    values.clear();
    for (const auto& [item, name] : read_items(node, key)) values.push_back(read_scalar(item, name));
  }
}

void ConfigReader::choices(const char* key, std::vector<std::string>& values,
                           const std::vector<std::string>& valid) {
  if (const YAML::Node node = take(key)) {
    values.clear();
    for (const auto& [item, name] : read_items(node, key)) {
      values.push_back(read_scalar(item, name));
      check_choice(item, name, values.back(), valid);
    }
  }
}

void ConfigReader::some_of(const char* key, std::vector<std::string>& values,
                           const std::vector<std::string>& valid) {
  const YAML::Node node = take(key);
  if (!node) return;
  values.clear();
  if (node.IsSequence() && node.size() == 0) return;
  for (const auto& [item, name] : read_items(node, key)) {
    const std::string value = read_scalar(item, name);
    check_choice(item, name, value, valid);
    if (std::find(values.begin(), values.end(), value) != values.end())
      fail(item, name, "found " + quote(value) + " a second time, expected once");
    values.push_back(value);
  }
}

void ConfigReader::numbers(const char* key, std::vector<double>& values, double minimum, double maximum) {
  if (const YAML::Node node = take(key)) {
    values.clear();
    for (const auto& [item, name] : read_items(node, key)) {
      values.push_back(read_number(item, name, minimum, maximum, false));
    }
  }
}

void ConfigReader::numbers(const char* key, std::vector<std::int64_t>& values, std::int64_t minimum,
                           std::int64_t maximum) {
  if (const YAML::Node node = take(key)) {
    values.clear();
    for (const auto& [item, name] : read_items(node, key)) {
      values.push_back(static_cast<std::int64_t>(
          read_number(item, name, static_cast<double>(minimum), static_cast<double>(maximum), true)));
    }
  }
}

void ConfigReader::finish() const {
  if (!map_.IsMap()) return;
  for (const auto& entry : map_) {
    const std::string key = entry.first.Scalar();
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    fail(entry.first, key,
         "found an unknown key, expected one of " + joined(known_) + suggestion(key, known_));
  }
}

void ConfigWriter::fail(const char* key, const std::string& message) const {
  throw std::logic_error(std::string("config cannot be written: ") + key + ": " + message);
}

void ConfigWriter::scalar(const char* key, std::string value) {
  add(key, {ConfigTree::Kind::scalar, std::move(value), {}, {}, {}});
}

void ConfigWriter::list(const char* key, const std::vector<std::string>& values) {
  if (!values.empty()) some_of(key, values, {});
}

void ConfigWriter::some_of(const char* key, const std::vector<std::string>& values,
                           const std::vector<std::string>&) {
  add(key, {ConfigTree::Kind::list, {}, values, {}, {}});
}

void ConfigWriter::numbers(const char* key, const std::vector<double>& values, double, double) {
  std::vector<std::string> texts;
  for (const double value : values) texts.push_back(format_number(value));
  list(key, texts);
}

void ConfigWriter::numbers(const char* key, const std::vector<std::int64_t>& values, std::int64_t,
                           std::int64_t) {
  std::vector<std::string> texts;
  for (const std::int64_t value : values) texts.push_back(std::to_string(value));
  list(key, texts);
}

YAML::Node parse_yaml(const std::string& text, const std::string& file) {
  try {
    const YAML::Node document = load_document(text);
    return !document.IsDefined() || document.IsNull() ? YAML::Node(YAML::NodeType::Map) : document;
  } catch (const YAML::Exception& error) {
    throw InputError(place(file, error.mark) + "found no YAML, expected a config: " + printable(error.msg));
  }
}

YAML::Node load_yaml(const std::string& file) {
  std::error_code failure;
  const std::filesystem::file_status status = std::filesystem::status(file, failure);
  if (status.type() == std::filesystem::file_type::not_found)
    throw InputError(file + ": found no such file, expected a YAML config");
  if (status.type() == std::filesystem::file_type::none)
    throw IoError(file + ": cannot be read: " + failure.message());
  if (std::filesystem::is_directory(status)) {
    throw InputError(file + ": found a folder, expected a YAML config file");
  }
  std::ifstream stream(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream.is_open() || stream.bad()) throw IoError(file + ": cannot be read");
  return parse_yaml(text, file);
}

void set_path(YAML::Node map, const std::string& assignment) {
  const std::string where = "--set " + printable(assignment) + ": ";
  const std::size_t equals = assignment.find('=');
  std::vector<std::string> keys(1);
  for (const char letter : assignment.substr(0, equals)) {
    if (letter == '.') {
      keys.emplace_back();
    } else {
      keys.back() += letter;
    }
  }
  if (equals == std::string::npos || std::find(keys.begin(), keys.end(), "") != keys.end()) {
    throw InputError("--set: found " + quote(assignment) +
                     ", expected path=value such as train.optimizer.learning_rate=0.01");
  }
  if (keys.size() > kDeepestValue) {
    throw InputError(where + "found " + std::to_string(keys.size()) +
                     " names in the path, expected at most " + std::to_string(kDeepestValue));
  }
  YAML::Node value;
  int nodes = 0;
  try {
    value = load_document(assignment.substr(equals + 1));
    if (value.IsDefined()) value.reset(unmarked(value, nodes));
  } catch (const YAML::Exception& error) {
    throw InputError(where +
                     "found a value that is not YAML, expected one such as 0.01 or [dense, banded]: " +
                     printable(error.msg));
  }
  if (!value.IsDefined() || value.IsNull()) throw InputError(where + "found no value, expected path=value");
  YAML::Node node = map;
  std::string path = "the config";
  for (std::size_t i = 0;; ++i) {
    if (!node.IsMap())
      throw InputError(where + "found " + kind_of(node) + " as " + printable(path) + ", expected a section");
    if (i + 1 == keys.size()) break;
    const YAML::Node next = static_cast<const YAML::Node&>(node)[keys[i]];
    if (!next.IsDefined() || next.IsNull()) node[keys[i]] = YAML::Node(YAML::NodeType::Map);
    node.reset(node[keys[i]]);
    path = i == 0 ? keys[0] : path + "." + keys[i];
  }
  node[keys.back()] = value;
}

}  // namespace minichilla
