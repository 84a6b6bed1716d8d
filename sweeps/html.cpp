#include "sweeps/html.h"

#include <cmath>
#include <cstdio>

namespace minichilla {

std::string html_escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') ? ' ' : c;
    }
  }
  return escaped;
}

std::string html_power(double value) {
  char text[64];
  if (!(value > 0) || !std::isfinite(value) || (value >= 1 && value < 999.5)) {
    std::snprintf(text, sizeof text, "%.3g", value);
    return text;
  }
  std::snprintf(text, sizeof text, "%.2e", value);
  const std::string printed = text;
  const std::size_t e = printed.find('e');
  std::string mantissa = printed.substr(0, e);
  while (mantissa.back() == '0') mantissa.pop_back();
  if (mantissa.back() == '.') mantissa.pop_back();
  const std::string power = "10<sup>" + std::to_string(std::stoi(printed.substr(e + 1))) + "</sup>";
  return mantissa == "1" ? power : mantissa + "×" + power;
}

HtmlCell text_cell(std::string_view text) {
  return {html_escaped(text)};
}

HtmlCell number_cell(double value, const std::string& markup) {
  return {std::isfinite(value) ? markup : "–", value, true};
}

void HtmlTable::row(const std::vector<HtmlCell>& cells) {
  if (numeric_.empty()) {
    for (const HtmlCell& cell : cells) numeric_.push_back(cell.numeric);
  }
  rows_ += "<tr>";
  for (const HtmlCell& cell : cells) {
    rows_ += cell.numeric ? "<td class=\"n\"" : "<td";
    if (sortable_ && std::isfinite(cell.sort)) {
      char value[48];
      std::snprintf(value, sizeof value, " data-sort=\"%.10g\"", cell.sort);
      rows_ += value;
    }
    rows_ += ">" + cell.markup + "</td>";
  }
  rows_ += "</tr>\n";
}

void HtmlTable::wide_row(const HtmlCell& first, const std::string& markup) {
  rows_ += "<tr><td" + std::string(first.numeric ? " class=\"n\"" : "") + ">" + first.markup +
           "</td><td colspan=\"" + std::to_string(headers_.size() - 1) + "\" class=\"refused\">" + markup +
           "</td></tr>\n";
}

std::string HtmlTable::html() const {
  std::string html =
      std::string("<div class=\"scroll\"><table") + (sortable_ ? " class=\"sortable\"" : "") + "><thead><tr>";
  for (std::size_t i = 0; i < headers_.size(); ++i) {
    html += (i < numeric_.size() && numeric_[i] ? "<th class=\"n\">" : "<th>") + headers_[i] + "</th>";
  }
  return html + "</tr></thead>\n<tbody>\n" + rows_ + "</tbody></table></div>\n";
}

}  // namespace minichilla
