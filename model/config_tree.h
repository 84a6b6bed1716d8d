// A config as it is written: keys in the order of their description, values as text.
#pragma once

#include <yaml-cpp/yaml.h>

#include <string>
#include <vector>

namespace minichilla {

struct ConfigField;

/// One value of a config: a scalar, a list of scalars, a section, or a list of sections. Thousands are made
/// and written by a large plan; YAML::Node and YAML::Emitter took ten times as long.
struct ConfigTree {
  enum class Kind { scalar, list, map, maps };

  Kind kind = Kind::map;
  std::string scalar;                ///< of a scalar
  std::vector<std::string> items;    ///< of a list
  std::vector<ConfigField> fields;   ///< of a section
  std::vector<ConfigTree> sections;  ///< of a list of sections
};

struct ConfigField {
  std::string key;
  ConfigTree value;
};

/// The same as YAML, to set_path() in or to read.
YAML::Node yaml_of(const ConfigTree& tree);

/// Block-style YAML text of a section, lists of scalars in flow style, newline at the end.
std::string yaml_text(const ConfigTree& tree);

}  // namespace minichilla
