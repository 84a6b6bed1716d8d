#include "sweeps/analysis/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>
#include <string_view>

#include "kernels/error.h"
#include "model/quote.h"

namespace minichilla {
namespace {

constexpr std::string_view kBlank = " \t\r";

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(kBlank);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string listed(const std::vector<std::string>& names, const char* separator) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : separator) + name;
  return text;
}

}  // namespace

CsvTable::CsvTable(std::string content, std::string file) : file_(std::move(file)) {
  if (content.starts_with("\xef\xbb\xbf")) content.erase(0, 3);
  std::istringstream lines(content);
  std::string text;
  for (std::size_t line = 1; std::getline(lines, text); ++line) {
    if (trimmed(text).empty() || trimmed(text)[0] == '#') continue;
    std::vector<std::string> fields = split(text, line);
    if (columns_.empty()) {
      std::set<std::string> names;
      for (const std::string& name : fields) {
        if (!names.insert(name).second) {
          throw InputError(file_ + ":" + std::to_string(line) + ": column " + quote(name) +
                           " twice in the header");
        }
      }
      columns_ = std::move(fields);
    } else if (fields.size() != columns_.size()) {
      throw InputError(file_ + ":" + std::to_string(line) + ": found " + std::to_string(fields.size()) +
                       " fields, expected " + std::to_string(columns_.size()) + " as in the header");
    } else {
      rows_.push_back({line, std::move(fields)});
    }
  }
  if (columns_.empty()) throw InputError(file_ + ": empty, expected a CSV table with a header");
}

std::vector<std::string> CsvTable::split(const std::string& text, std::size_t line) const {
  std::vector<std::string> fields(1);
  bool inside = false, was_quoted = false;
  const auto end_field = [&] {
    if (!was_quoted) fields.back() = trimmed(fields.back());
    was_quoted = false;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (inside && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      fields.back() += '"';
      ++i;
    } else if (c == '"' && (inside || (!was_quoted && trimmed(fields.back()).empty()))) {
      if (!inside) fields.back().clear();
      inside = !inside;
      was_quoted = true;
    } else if (c == ',' && !inside) {
      end_field();
      fields.emplace_back();
    } else if (inside || !was_quoted) {
      fields.back() += c;
    } else if (kBlank.find(c) == kBlank.npos) {
      throw InputError(file_ + ":" + std::to_string(line) + ": found " + quote(text.substr(i)) +
                       " after the closing double quote of a field, expected a comma");
    }
  }
  if (inside)
    throw InputError(file_ + ":" + std::to_string(line) + ": a double quote is not closed on its line");
  end_field();
  return fields;
}

std::optional<std::size_t> CsvTable::find(const std::vector<std::string>& names) const {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (std::find(names.begin(), names.end(), columns_[i]) == names.end()) continue;
    if (found) {
      throw InputError(file_ + ": columns " + quote(columns_[*found]) + " and " + quote(columns_[i]) +
                       " mean the same, expected one of them");
    }
    found = i;
  }
  return found;
}

std::size_t CsvTable::require(const std::vector<std::string>& names) const {
  if (const auto column = find(names)) return *column;
  std::string message =
      file_ + ": no column " + listed(names, " or ") + ", found " + quote(listed(columns_, ", "));
  for (const std::string& name : names) {
    const std::string near = nearest_name(name, columns_);
    if (!near.empty()) throw InputError(message + "; is " + quote(near) + " meant?");
  }
  throw InputError(message);
}

double CsvTable::number(const CsvRow& row, std::size_t column) const {
  const std::string& field = row.fields[column];
  const char* const end = field.data() + field.size();
  double value = 0;
  const auto [stop, error] = std::from_chars(field.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) fail(row, column, "a finite number");
  return value;
}

double CsvTable::positive(const CsvRow& row, std::size_t column) const {
  const double value = number(row, column);
  if (!(value > 0)) fail(row, column, "a number above zero");
  return value;
}

void CsvTable::fail(const CsvRow& row, std::size_t column, const std::string& expected) const {
  throw InputError(file_ + ":" + std::to_string(row.line) + ": column " + columns_[column] + ": found " +
                   quote(row.fields[column]) + ", expected " + expected);
}

std::string csv_field(const std::string& field) {
  if (field.find_first_of(",\"#") == std::string::npos && field == trimmed(field)) return field;
  std::string text = "\"";
  for (const char c : field) text += c == '"' ? std::string("\"\"") : std::string(1, c);
  return text + '"';
}

}  // namespace minichilla
