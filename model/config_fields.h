// Reading and writing config structs as YAML through one description of each.
//
// A config struct has a function `template <class Fields> void describe(Fields& fields, TheConfig& config)`
// that names every key once:
//
//     template <class Fields>
//     void describe(Fields& fields, ScheduleConfig& config) {
//       fields.choice("kind", config.kind, {"cosine"});
//       fields.number("warmup", config.warmup, 0.0, 1.0);
//     }
//
// ConfigReader fills the struct from YAML (absent keys keep their defaults, unknown keys are errors that
// suggest the nearest name), ConfigWriter makes a tree of it with every key written out. Both go through the
// same description, so a resolved config reads back as itself.
#pragma once

#include <yaml-cpp/yaml.h>

#include <concepts>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "model/config_tree.h"
#include "model/quote.h"

namespace minichilla {

/// A finite number with an optional unit suffix k (or K), M, G (or B), T, powers of 1000: "1.36M" is exactly
/// the double 1.36e6, "3e11" is itself. Throws std::invalid_argument, saying what was expected, for anything
/// else.
double parse_quantity(const std::string& text);

/// Shortest text that parses back to the same double.
std::string format_number(double value);

/// Reads one YAML map. Every error is an InputError of one line, "FILE:LINE: PATH: found …, expected …"; what
/// came from set_path() or from code has no LINE.
class ConfigReader {
 public:
  /// `file` and `path` ("" at the top, else "train.schedule") are for messages only.
  ConfigReader(YAML::Node map, std::string file, std::string path);

  /// A whole or real number in [minimum, maximum]; suffixes as in parse_quantity. Whole numbers end at ±2^53,
  /// up to where every one of them is a double.
  template <class Number>
  requires std::integral<Number> || std::floating_point<Number>
  void number(const char* key, Number& value, Number minimum,
              Number maximum = std::numeric_limits<Number>::max()) {
    if (const YAML::Node node = take(key)) {
      const double parsed = read_number(node, key, static_cast<double>(minimum), static_cast<double>(maximum),
                                        std::integral<Number>);
      value = static_cast<Number>(parsed);
    }
  }
  void flag(const char* key, bool& value);
  void text(const char* key, std::string& value);
  void choice(const char* key, std::string& value, const std::vector<std::string>& valid);
  /// A list of at least one scalar, or a single scalar.
  void texts(const char* key, std::vector<std::string>& values);
  void choices(const char* key, std::vector<std::string>& values, const std::vector<std::string>& valid);
  /// A list of any number of choices, [] included, each at most once; or a single scalar.
  void some_of(const char* key, std::vector<std::string>& values, const std::vector<std::string>& valid);
  void numbers(const char* key, std::vector<double>& values, double minimum, double maximum);
  void numbers(const char* key, std::vector<std::int64_t>& values, std::int64_t minimum,
               std::int64_t maximum);
  /// A scalar with a syntax of its own; `parse` throws std::invalid_argument saying what was expected.
  template <class T, class Parse, class Format>
  void parsed(const char* key, T& value, Parse parse, Format) {
    if (const YAML::Node node = take(key)) {
      const std::string scalar = read_scalar(node, key);
      try {
        value = parse(scalar);
      } catch (const std::invalid_argument& error) {
        fail(node, key, "found " + quote(scalar) + ", expected " + error.what());
      }
    }
  }
  /// A nested struct, described by its own describe().
  template <class Config>
  void section(const char* key, Config& config) {
    if (const YAML::Node node = take(key)) {
      ConfigReader reader(node, file_, path_of(key));
      describe(reader, config);
      reader.finish();
    }
  }
  /// A list of maps, each a Config that starts from `initial`.
  template <class Config>
  void sections(const char* key, std::vector<Config>& configs, const Config& initial) {
    if (const YAML::Node node = take(key)) {
      if (!node.IsSequence()) fail_type(node, key, "a list of maps");
      configs.clear();
      for (std::size_t i = 0; i < node.size(); ++i) {
        configs.push_back(initial);
        ConfigReader reader(node[i], file_, path_of(key) + "[" + std::to_string(i) + "]");
        describe(reader, configs.back());
        reader.finish();
      }
    }
  }

  /// True when the file names this key.
  bool has(const char* key) const;
  /// Throws for a key that no description asked for.
  void finish() const;
  /// Throws an InputError about `key` of this map.
  [[noreturn]] void fail(const char* key, const std::string& message) const;

 private:
  YAML::Node take(const char* key);
  std::string path_of(const std::string& key) const;
  std::string read_scalar(const YAML::Node& node, const std::string& key) const;
  double read_number(const YAML::Node& node, const std::string& key, double minimum, double maximum,
                     bool whole) const;
  /// The items of a list with the names that messages give them ("key[2]"), or a single scalar as a list of
  /// one.
  std::vector<std::pair<YAML::Node, std::string>> read_items(const YAML::Node& node,
                                                             const std::string& key) const;
  void check_choice(const YAML::Node& node, const std::string& key, const std::string& value,
                    const std::vector<std::string>& valid) const;
  [[noreturn]] void fail(const YAML::Node& node, const std::string& key, const std::string& message) const;
  [[noreturn]] void fail_type(const YAML::Node& node, const std::string& key,
                              const std::string& expected) const;

  YAML::Node map_;
  std::string file_, path_;
  std::vector<std::string> known_;
};

/// Makes the tree of a config with every described key, in the order of the description. Empty lists that
/// read only as absent are left out.
class ConfigWriter {
 public:
  template <class Number>
  requires std::integral<Number> || std::floating_point<Number>
  void number(const char* key, const Number& value, Number, Number = {}) {
    if constexpr (std::integral<Number>) {
      scalar(key, std::to_string(value));
    } else {
      scalar(key, format_number(value));
    }
  }
  void flag(const char* key, const bool& value) { scalar(key, value ? "true" : "false"); }
  void text(const char* key, const std::string& value) { scalar(key, value); }
  void choice(const char* key, const std::string& value, const std::vector<std::string>&) {
    scalar(key, value);
  }
  void texts(const char* key, const std::vector<std::string>& values) { list(key, values); }
  void choices(const char* key, const std::vector<std::string>& values, const std::vector<std::string>&) {
    list(key, values);
  }
  void some_of(const char* key, const std::vector<std::string>& values, const std::vector<std::string>&);
  void numbers(const char* key, const std::vector<double>& values, double, double);
  void numbers(const char* key, const std::vector<std::int64_t>& values, std::int64_t, std::int64_t);
  template <class T, class Parse, class Format>
  void parsed(const char* key, const T& value, Parse, Format format) {
    scalar(key, format(value));
  }
  template <class Config>
  void section(const char* key, Config& config) {
    add(key, described(config));
  }
  template <class Config>
  void sections(const char* key, std::vector<Config>& configs, const Config&) {
    ConfigTree list{ConfigTree::Kind::maps, {}, {}, {}, {}};
    for (Config& config : configs) list.sections.push_back(described(config));
    add(key, std::move(list));
  }
  bool has(const char*) const { return true; }
  [[noreturn]] void fail(const char* key, const std::string& message) const;

  template <class Config>
  static ConfigTree described(Config& config) {
    ConfigWriter writer;
    describe(writer, config);
    return std::move(writer.tree_);
  }

 private:
  void add(const char* key, ConfigTree value) { tree_.fields.push_back({key, std::move(value)}); }
  void scalar(const char* key, std::string value);
  void list(const char* key, const std::vector<std::string>& values);
  ConfigTree tree_;
};

/// The YAML document in `text`, an empty map when there is none. InputError naming `file` and line when it
/// does not parse or holds several documents.
YAML::Node parse_yaml(const std::string& text, const std::string& file);

/// The same of a file; InputError too when there is no such file, IoError when it cannot be read.
YAML::Node load_yaml(const std::string& file);

/// Sets `assignment` ("train.optimizer.learning_rate=0.01"; the value is YAML) in the map, making sections on
/// the way. InputError for a malformed assignment, a path through something that is no section, and a config
/// that is no map.
void set_path(YAML::Node map, const std::string& assignment);

/// Fills `config` from the map and refuses unknown keys.
template <class Config>
void read_config(const YAML::Node& map, const std::string& file, Config& config) {
  ConfigReader reader(map, file, "");
  describe(reader, config);
  reader.finish();
}

/// The complete tree of a config; yaml_text() writes it.
template <class Config>
ConfigTree write_config(Config config) {
  return ConfigWriter::described(config);
}

}  // namespace minichilla
