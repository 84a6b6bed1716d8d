#include "sweeps/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <regex>

#include "sweeps/analysis/published_laws.h"
#include "sweeps/fit_table.h"
#include "sweeps/hoffmann.h"
#include "sweeps/html.h"
#include "sweeps/report_style.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

std::string fixed(double value, int decimals) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

std::string significant(double value, int digits) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

std::string paragraph(const std::string& text, const char* style = "") {
  return std::string("<p") + style + ">" + html_escaped(text) + "</p>\n";
}

/// The answer with its exponents raised, its indices lowered and its percentages unbroken.
std::string answer_markup(const std::string& answer) {
  std::string markup = html_escaped(answer);
  markup = std::regex_replace(markup, std::regex("\\^(-?[0-9.]*[0-9])"), "<sup>$1</sup>");
  markup = std::regex_replace(markup, std::regex("\\b([ND])_opt\\b"), "$1<sub>opt</sub>");
  return std::regex_replace(markup, std::regex("([0-9]) %"), "$1&nbsp;%");
}

std::string section(const std::string& id, const std::string& title) {
  return "<h2 id=\"" + id + "\">" + title + "</h2>\n";
}

/// "45.2k" with its 80 % interval below, "[38k, 61k]"; markup.
template <class Format>
HtmlCell estimate_cell(const Estimate& estimate, Format format) {
  std::string markup = format(estimate.value);
  if (const auto& interval = estimate.interval) {
    markup += " <span class=\"i\">[" + format(interval->low80) + ", " + format(interval->high80) + "]</span>";
  }
  return number_cell(estimate.value, markup);
}

HtmlCell interval_cell(const Estimate& estimate, double Interval80And95::*low,
                       double Interval80And95::*high) {
  if (!estimate.interval) return number_cell(std::nan(""), "");
  const Interval80And95& interval = *estimate.interval;
  return number_cell(interval.*low, fixed(interval.*low, 2) + " to " + fixed(interval.*high, 2));
}

std::string count(double value) {
  return format_count(value);
}
std::string loss(double value) {
  return fixed(value, 3);
}

/// `theirs` may be null: they did not fit that way.
void exponent_row(HtmlTable& table, const char* name, const std::string& refused, const Estimate& a,
                  const Estimate& b, const HoffmannExponents* theirs) {
  if (refused == kNotAskedFor) return;
  if (!refused.empty()) {
    table.wide_row(text_cell(name), "no estimate: " + html_escaped(refused));
    return;
  }
  const auto range = [](double value, double low, double high) {
    return fixed(value, 2) + " <span class=\"i\">[" + fixed(low, 3) + ", " + fixed(high, 3) + "]</span>";
  };
  std::vector<HtmlCell> cells = {text_cell(name)};
  for (const Estimate* estimate : {&a, &b}) {
    cells.push_back(number_cell(estimate->value, "<strong>" + fixed(estimate->value, 2) + "</strong>"));
    cells.push_back(interval_cell(*estimate, &Interval80And95::low80, &Interval80And95::high80));
    cells.push_back(interval_cell(*estimate, &Interval80And95::low95, &Interval80And95::high95));
  }
  cells.push_back(theirs ? number_cell(theirs->a, range(theirs->a, theirs->a_low80, theirs->a_high80))
                         : number_cell(std::nan(""), ""));
  cells.push_back(theirs ? number_cell(theirs->b, range(theirs->b, theirs->b_low80, theirs->b_high80))
                         : number_cell(std::nan(""), ""));
  table.row(cells);
}

std::string exponent_table(const Fit& fit) {
  HtmlTable table({"Approach", "<i>a</i>", "80 %", "95 %", "<i>b</i>", "80 %", "95 %",
                   "Hoffmann et al. <i>a</i>", "Hoffmann et al. <i>b</i>"});
  exponent_row(table, "1 · training-curve envelope", fit.envelope.refused, fit.envelope.laws.a,
               fit.envelope.laws.b, &kHoffmannEnvelope);
  exponent_row(table, "2 · IsoFLOP minima", fit.isoflop.refused, fit.isoflop.laws.a, fit.isoflop.laws.b,
               &kHoffmannIsoflop);
  exponent_row(table, "3 · surface L(N, D)", fit.parametric.refused, fit.parametric.a, fit.parametric.b,
               &kHoffmannParametric);
  const ParametricFit &plain = fit.variable_projection, &robust = fit.variable_projection_robust;
  exponent_row(table, "surface by variable projection", plain.refused, plain.a, plain.b, nullptr);
  exponent_row(table, "the same, robust", robust.refused, robust.a, robust.b, nullptr);
  for (const auto& [name, law] : {std::pair{"Kaplan et al. 2020, published", "kaplan"},
                                  {"Besiroglu et al. 2024, published", "besiroglu"},
                                  {"Muennighoff et al. 2023, published", "muennighoff_c4"}}) {
    const Fit published = fit_of_law(parse_law(law));
    const bool surface = published.parametric.refused.empty();
    exponent_row(table, name, "", surface ? published.parametric.a : published.isoflop.laws.a,
                 surface ? published.parametric.b : published.isoflop.laws.b, nullptr);
  }
  return section("exponents", "How model size and tokens should grow with compute") +
         "<p>N<sub>opt</sub> ∝ C<sup><i>a</i></sup> and D<sub>opt</sub> ∝ C<sup><i>b</i></sup>, with "
         "percentile intervals of "
         "the bootstrap. The last two columns are what Hoffmann et al. (2022, Table 2) found by the same "
         "approach, the last three rows what others found on their text.</p>\n" +
         table.html();
}

std::string surface_law(const ParametricFit& fit) {
  if (!fit.refused.empty()) return "";
  HtmlTable table({"<i>E</i>", "<i>A</i>", "<i>B</i>", "<i>α</i>", "<i>β</i>", "Runs"});
  const auto digits = [](double value) { return significant(value, 3); };
  table.row({estimate_cell(fit.E, loss), estimate_cell(fit.A, digits), estimate_cell(fit.B, digits),
             estimate_cell(fit.alpha, digits), estimate_cell(fit.beta, digits),
             number_cell(fit.runs_used, std::to_string(fit.runs_used))});
  return "<p>Approach 3 fits L(N, D) = E + A/N<sup>α</sup> + B/D<sup>β</sup> (80 % intervals in "
         "brackets):</p>\n" +
         table.html();
}

const char* approach_name(const std::string& approach) {
  if (approach == "envelope") return "1 · envelope";
  if (approach == "isoflop") return "2 · IsoFLOP";
  return approach == "parametric" ? "3 · surface" : "surface by variable projection";
}

std::string predictions(const Fit& fit) {
  if (fit.predictions.empty()) return "";
  HtmlTable table({"Approach", "Parameters N", "Tokens D", "Tokens per parameter", "Loss"});
  for (const Optimum& optimum : fit.predictions) {
    table.row({text_cell(approach_name(optimum.approach)), estimate_cell(optimum.N, count),
               estimate_cell(optimum.D, count),
               number_cell(optimum.D.value / optimum.N.value, count(optimum.D.value / optimum.N.value)),
               optimum.loss ? estimate_cell(*optimum.loss, loss) : number_cell(std::nan(""), "")});
  }
  return section("prediction", "What to train with ten times the compute") +
         "<p>Compute-optimal at C = " + html_power(fit.predictions.front().C) +
         " FLOPs, ten times the largest budget (80 % intervals in brackets).</p>\n" + table.html();
}

std::string minimum_table(const IsoflopFit& fit) {
  if (fit.profiles.empty()) return "";
  HtmlTable table({"Budget (FLOPs)", "Runs", "N<sub>opt</sub>", "D<sub>opt</sub>", "Loss there"});
  for (const IsoflopProfile& profile : fit.profiles) {
    const HtmlCell budget = number_cell(profile.C, html_power(profile.C));
    if (!profile.used) {
      table.wide_row(budget,
                     std::to_string(profile.runs.size()) + " runs, refused: " + html_escaped(profile.reason));
      continue;
    }
    table.row({budget,
               number_cell(static_cast<double>(profile.runs.size()), std::to_string(profile.runs.size())),
               estimate_cell(profile.params_opt, count), estimate_cell(profile.tokens_opt, count),
               estimate_cell(profile.loss_opt, loss)});
  }
  return "<h3 id=\"minima\">The minimum of each budget</h3>\n"
         "<p>Approach 2, 80 % intervals in brackets. " +
         html_escaped(predicted_bias_sentence(fit)) + "</p>\n" + table.html();
}

std::string figure_html(const DrawnFigure& drawn) {
  const Figure& figure = drawn.figure;
  std::string html =
      "<figure id=\"figure-" + figure.name + "\">\n<h3>" + html_escaped(figure.title) + "</h3>\n";
  if (drawn.svg.empty())
    return html + paragraph("Not drawn: " + figure.missing, " class=\"refused\"") + "</figure>\n";
  return html + "<div class=\"scroll\">" + inline_svg(drawn.svg, figure.name, figure.title) +
         "</div>\n<figcaption>" + html_escaped(figure.caption) + "</figcaption>\n</figure>\n";
}

HtmlCell run_number(double value, const std::string& text) {
  return number_cell(value, text);
}

HtmlCell status_cell(const ReportRun& run) {
  HtmlCell cell = text_cell(run.status);
  if (run.status != "done") cell.markup = "<strong>" + cell.markup + "</strong>";
  return cell;
}

/// Why runs did not end well, below their table.
std::string reasons(const std::vector<ReportRun>& runs) {
  std::string html;
  for (const ReportRun& run : runs) {
    if (run.reason.empty()) continue;
    html += "<li><code>" + html_escaped(run.id) + "</code> " + html_escaped(run.status + ": " + run.reason) +
            "</li>\n";
  }
  return html.empty() ? "" : "<ul class=\"reasons\">\n" + html + "</ul>\n";
}

/// Whether any run knows the number; columns that nobody knows are left out.
bool known(const std::vector<ReportRun>& runs, double ReportRun::*number) {
  return std::any_of(runs.begin(), runs.end(),
                     [&](const ReportRun& run) { return std::isfinite(run.*number); });
}

struct RunColumn {
  const char* header;
  double ReportRun::*number;
  std::string (*format)(double);
};

constexpr RunColumn kRunColumns[] = {
    {"Budget", &ReportRun::budget, html_power},
    {"N", &ReportRun::N, count},
    {"D", &ReportRun::D, count},
    {"C (FLOPs)", &ReportRun::C, html_power},
    {"Seed", &ReportRun::seed, [](double value) { return fixed(value, 0); }},
    {"Steps", &ReportRun::steps, [](double value) { return fixed(value, 0); }},
    {"Learning rate", &ReportRun::learning_rate, [](double value) { return significant(value, 3); }},
    {"Batch (tokens)", &ReportRun::batch_tokens, [](double value) { return fixed(value, 0); }},
    {"Loss", &ReportRun::loss, [](double value) { return fixed(value, 4); }},
    {"Bits/byte", &ReportRun::bits_per_byte, [](double value) { return fixed(value, 3); }},
    {"Wall time", &ReportRun::wall_s, format_duration},
    {"Tokens/s", &ReportRun::tokens_per_s, count},
};

std::string all_runs(const ReportInput& input) {
  std::vector<RunColumn> columns;
  for (const RunColumn& column : kRunColumns) {
    if (known(input.runs, column.number)) columns.push_back(column);
  }
  std::vector<std::string> headers = {"Run"};
  for (const RunColumn& column : columns) {
    headers.push_back(column.header);
    if (column.number == &ReportRun::D) headers.push_back("D/N");
  }
  headers.push_back("Status");
  HtmlTable table(headers, true);
  for (const ReportRun& run : input.runs) {
    std::vector<HtmlCell> cells = {{"<code>" + html_escaped(run.id) + "</code>"}};
    for (const RunColumn& column : columns) {
      const double value = run.*column.number;
      cells.push_back(run_number(value, std::isfinite(value) ? column.format(value) : ""));
      if (column.number == &ReportRun::D) cells.push_back(run_number(run.D / run.N, count(run.D / run.N)));
    }
    cells.push_back(status_cell(run));
    table.row(cells);
  }
  return section("runs", "All runs") + "<p>" + std::to_string(input.runs.size()) + " runs, loss in " +
         html_escaped(input.table.loss_unit) + ". Click a column to sort by it.</p>\n" + table.html() +
         reasons(input.runs);
}

void list(std::string& html, const char* title, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  html += std::string("<h3>") + title + "</h3>\n<ul>\n";
  for (const std::string& line : lines) html += "<li>" + html_escaped(line) + "</li>\n";
  html += "</ul>\n";
}

std::string notes(const ReportInput& input) {
  std::string html;
  std::vector<std::string> general = input.table.notes;
  for (const std::string& note : input.fit.notes) {
    if (std::find(general.begin(), general.end(), note) == general.end()) general.push_back(note);
  }
  list(html, "The runs", general);
  list(html, "Approach 1", input.fit.envelope.notes);
  list(html, "Approach 2", input.fit.isoflop.notes);
  list(html, "Approach 3", input.fit.parametric.notes);
  list(html, "Variable projection, robust", input.fit.variable_projection_robust.notes);
  if (!input.fit.verdict.believed.empty()) {
    list(html, ("Why to believe " + std::string(approach_name(input.fit.verdict.believed)) + " here").c_str(),
         input.fit.verdict.reasons);
  }
  return html.empty() ? "" : section("notes", "Notes") + html;
}

std::string reproduction(const ReportInput& input, const std::string& date) {
  std::string html = section("reproduce", "How to reproduce this");
  html += "<pre>";
  for (const std::string& command : input.commands) html += html_escaped(command) + "\n";
  html += "</pre>\n<dl>\n";
  auto facts = input.provenance;
  facts.emplace_back("minichilla, of this report", MINICHILLA_VERSION);
  facts.emplace_back("Parameters counted", input.count == ParameterCount::all ? "all" : "without embeddings");
  facts.emplace_back("Date of this report", date);
  for (const auto& [label, text] : facts) {
    html += "<dt>" + html_escaped(label) + "</dt><dd>" + html_escaped(text) + "</dd>\n";
  }
  html += "</dl>\n";
  if (!input.config.empty()) {
    html += "<details><summary>The sweep's config, sweep.yaml</summary><pre>" + html_escaped(input.config) +
            "</pre></details>\n";
  }
  return html;
}

}  // namespace

std::string report_page(const ReportInput& input, const std::vector<DrawnFigure>& figures,
                        const std::string& date) {
  const std::string title = "Scaling laws of " + html_escaped(input.title);
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
      title + "</title>\n<style>" + kReportStyle + "</style>\n</head>\n<body>\n<main>\n";
  html += "<header><p class=\"kicker\">" + title + "</p>\n<h1>" + answer_markup(input.fit.answer) +
          "</h1></header>\n";
  for (const std::string& warning : input.warnings) html += paragraph(warning, " class=\"warning\"");
  html += exponent_table(input.fit) + predictions(input.fit);
  html += section("figures", "Figures");
  for (const DrawnFigure& figure : figures) {
    html += figure_html(figure);
    if (figure.figure.name == "isoflop") html += minimum_table(input.fit.isoflop);
    if (figure.figure.name == "surface") html += surface_law(input.fit.parametric);
  }
  html += all_runs(input) + notes(input) + reproduction(input, date);
  return html + "</main>\n<script>" + kReportScript + "</script>\n</body>\n</html>\n";
}

}  // namespace minichilla
