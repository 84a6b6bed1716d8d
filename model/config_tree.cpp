#include "model/config_tree.h"

#include <algorithm>
#include <cctype>

namespace minichilla {
namespace {

/// Nearly all values: plain in YAML whatever stands around them.
bool is_plain(const std::string& text) {
  const auto alphanumeric = [](unsigned char c) { return c < 128 && std::isalnum(c); };
  return !text.empty() && (alphanumeric(text.front()) || text.front() == '/') &&
         std::ranges::all_of(text, [&](char c) {
           return alphanumeric(static_cast<unsigned char>(c)) || c == '/' || c == '_' || c == '.' || c == '-';
         });
}

/// Quoted where YAML wants it, which yaml-cpp knows but for carriage returns.
std::string quoted_scalar(const std::string& text, bool in_list) {
  YAML::Emitter emitter;
  // yaml-cpp writes it plain and then, at the end of a line, reads it as a part of the line's end.
  if (text.find('\r') != std::string::npos) emitter.SetStringFormat(YAML::DoubleQuoted);
  if (!in_list) {
    emitter << text;
    return emitter.c_str();
  }
  emitter << YAML::Flow << YAML::BeginSeq << text << YAML::EndSeq;
  const std::string list = emitter.c_str();
  return list.substr(1, list.size() - 2);
}

std::string scalar_text(const std::string& text, bool in_list) {
  const bool is_null = text == "null" || text == "Null" || text == "NULL";
  return is_plain(text) && !is_null ? text : quoted_scalar(text, in_list);
}

std::string list_text(const std::vector<std::string>& items) {
  std::string text = "[";
  for (const std::string& item : items) text += (text.size() > 1 ? ", " : "") + scalar_text(item, true);
  return text + "]";
}

void write_map(const ConfigTree& map, std::size_t indent, bool indent_first, std::string& text);

void write_value(const ConfigTree& value, std::size_t indent, std::string& text) {
  switch (value.kind) {
    case ConfigTree::Kind::scalar:
      (text += ' ') += scalar_text(value.scalar, false);
      text += '\n';
      return;
    case ConfigTree::Kind::list:
      (text += ' ') += list_text(value.items);
      text += '\n';
      return;
    case ConfigTree::Kind::map:
      text += '\n';
      return write_map(value, indent + 2, true, text);
    case ConfigTree::Kind::maps:
      text += '\n';
      if (value.sections.empty()) (text += std::string(indent + 2, ' ')) += "[]\n";
      for (const ConfigTree& section : value.sections) {
        (text += std::string(indent + 2, ' ')) += "- ";
        write_map(section, indent + 4, false, text);
      }
  }
}

void write_map(const ConfigTree& map, std::size_t indent, bool indent_first, std::string& text) {
  bool indented = !indent_first;
  const auto begin_line = [&] {
    if (!indented) text.append(indent, ' ');
    indented = false;
  };
  if (map.fields.empty()) {
    begin_line();
    text += "{}\n";
  }
  for (const auto& [key, value] : map.fields) {
    begin_line();
    (text += key) += ':';
    write_value(value, indent, text);
  }
}

}  // namespace

YAML::Node yaml_of(const ConfigTree& tree) {
  if (tree.kind == ConfigTree::Kind::scalar) return YAML::Node(tree.scalar);
  if (tree.kind == ConfigTree::Kind::map) {
    YAML::Node map(YAML::NodeType::Map);
    for (const auto& [key, value] : tree.fields) map[key] = yaml_of(value);
    return map;
  }
  YAML::Node list(YAML::NodeType::Sequence);
  for (const std::string& item : tree.items) list.push_back(item);
  for (const ConfigTree& section : tree.sections) list.push_back(yaml_of(section));
  return list;
}

std::string yaml_text(const ConfigTree& tree) {
  std::string text;
  write_map(tree, 0, true, text);
  return text;
}

}  // namespace minichilla
