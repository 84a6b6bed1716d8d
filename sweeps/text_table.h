// Plain tables and bars for terminals and logs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace minichilla {

/// Columns as wide as their widest cell, two spaces apart, no trailing spaces.
class TextTable {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::right;
  };
  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// As many cells as columns (std::logic_error otherwise).
  void add(std::vector<std::string> cells);
  /// A line of its own between the rows.
  void add_line(std::string line);
  std::string text() const;

 private:
  struct Row {
    std::vector<std::string> cells;  // empty: a line
    std::string line;
  };
  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

/// `digits` decimals.
std::string format_fixed(double value, int digits);

/// Three significant digits, as people write them: "3e11", "0.00574".
std::string format_short(double value);

/// "1 run", "3 runs".
std::string counted(std::int64_t count, const std::string& what);

/// "[#####.....]" with `width` places between the brackets; `fraction` is clamped to [0, 1].
std::string bar(double fraction, int width);

}  // namespace minichilla
