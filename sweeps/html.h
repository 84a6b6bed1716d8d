// Pieces of HTML: escaped text, numbers, tables.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace minichilla {

/// Text that is safe between tags and inside quoted attributes. Control characters become spaces.
std::string html_escaped(std::string_view text);

/// Three significant digits: "3×10<sup>11</sup>", "42".
std::string html_power(double value);

/// One cell: markup (already escaped), and the number a sortable table orders it by.
struct HtmlCell {
  std::string markup;
  double sort = std::numeric_limits<double>::quiet_NaN();
  bool numeric = false;
};
/// A cell of plain text.
HtmlCell text_cell(std::string_view text);
/// A right-aligned cell; "–" when `value` is not finite.
HtmlCell number_cell(double value, const std::string& markup);

/// Rows of equal length under one header.
class HtmlTable {
 public:
  /// Headers are markup.
  HtmlTable(std::vector<std::string> headers, bool sortable = false)
      : headers_(std::move(headers)), sortable_(sortable) {}
  void row(const std::vector<HtmlCell>& cells);
  /// `first` and then one cell of `markup` over the remaining columns.
  void wide_row(const HtmlCell& first, const std::string& markup);
  std::string html() const;

 private:
  std::vector<std::string> headers_;
  bool sortable_;
  std::string rows_;
  std::vector<bool> numeric_;  ///< by column, as the first row has it
};

}  // namespace minichilla
