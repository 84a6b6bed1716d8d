#include "sweeps/text_table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

namespace minichilla {

void TextTable::add(std::vector<std::string> cells) {
  if (cells.size() != columns_.size())
    throw std::logic_error("a row with another number of cells than columns");
  rows_.push_back({std::move(cells), ""});
}

void TextTable::add_line(std::string line) {
  rows_.push_back({{}, std::move(line)});
}

std::string TextTable::text() const {
  std::vector<std::size_t> widths;
  std::vector<std::string> titles;
  for (const Column& column : columns_) {
    titles.push_back(column.title);
    widths.push_back(column.title.size());
  }
  for (const Row& row : rows_) {
    for (std::size_t i = 0; i < row.cells.size(); ++i) widths[i] = std::max(widths[i], row.cells[i].size());
  }
  std::string text;
  const auto append = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string padding(widths[i] - cells[i].size(), ' ');
      if (i > 0) line += "  ";
      line += columns_[i].align == Align::left ? cells[i] + padding : padding + cells[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  append(titles);
  for (const Row& row : rows_) {
    if (row.cells.empty()) {
      text += row.line + "\n";
    } else {
      append(row.cells);
    }
  }
  return text;
}

std::string format_fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string format_short(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.3g", value);
  std::string text = buffer;
  const std::size_t exponent = text.find('e');
  if (exponent == std::string::npos) return text;
  // "e+09" and "e-05" are "e9" and "e-5".
  std::size_t sign = exponent + 1;
  if (text[sign] == '+') {
    text.erase(sign, 1);
  } else {
    ++sign;
  }
  while (text[sign] == '0') text.erase(sign, 1);
  return text;
}

std::string counted(std::int64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

std::string bar(double fraction, int width) {
  const int full = static_cast<int>(std::floor(std::clamp(fraction, 0.0, 1.0) * width));
  return "[" + std::string(static_cast<std::size_t>(full), '#') +
         std::string(static_cast<std::size_t>(width - full), '.') + "]";
}

}  // namespace minichilla
