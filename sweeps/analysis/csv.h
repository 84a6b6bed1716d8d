// Comma-separated tables: a header, rows, `#` comment lines, double quotes.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace minichilla {

struct CsvRow {
  std::size_t line;  ///< in the file, from 1
  std::vector<std::string> fields;
};

/// A whole table in memory; every row has as many fields as the header. A column may go by several names.
class CsvTable {
 public:
  /// Of a file's content. InputError names `file` and line: no header, a column twice, a row with another
  /// number of fields, an open quote, text after a closed one. Blanks around a field are dropped, those inside
  /// quotes kept.
  CsvTable(std::string content, std::string file);

  const std::vector<CsvRow>& rows() const { return rows_; }

  /// Index of the column with one of `names`; InputError when two of them are there.
  std::optional<std::size_t> find(const std::vector<std::string>& names) const;
  /// Same, InputError when none is there: it lists the columns found and the nearest one.
  std::size_t require(const std::vector<std::string>& names) const;

  /// The field as a finite number; InputError names file, line, column, found and expected.
  double number(const CsvRow& row, std::size_t column) const;
  /// Same, and above zero.
  double positive(const CsvRow& row, std::size_t column) const;
  /// InputError about one field: "FILE:LINE: column NAME: found 'FIELD', expected EXPECTED".
  [[noreturn]] void fail(const CsvRow& row, std::size_t column, const std::string& expected) const;

 private:
  std::vector<std::string> split(const std::string& text, std::size_t line) const;
  std::string file_;
  std::vector<std::string> columns_;
  std::vector<CsvRow> rows_;
};

/// `field` as it stands, or quoted where a comma, a quote, # or a blank at its ends would be misread.
std::string csv_field(const std::string& field);

}  // namespace minichilla
