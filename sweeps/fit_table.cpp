#include "sweeps/fit_table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "sweeps/hoffmann.h"
#include "sweeps/text_table.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

using Align = TextTable::Align;
using Format = std::string (*)(double);

std::string fixed3(double value) {
  return format_fixed(value, 3);
}

/// Budgets from a hundredth of a PF-day on are shown in PF-days too.
constexpr double kWorthPfDays = 0.01 * kFlopsPerPfDay;

std::string significant(double value) {
  if (!std::isfinite(value)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string range(double low, double high, Format format) {
  return "[" + format(low) + ", " + format(high) + "]";
}

std::string interval80(const Estimate& estimate, Format format) {
  return estimate.interval ? range(estimate.interval->low80, estimate.interval->high80, format) : "-";
}

std::string interval95(const Estimate& estimate, Format format) {
  return estimate.interval ? range(estimate.interval->low95, estimate.interval->high95, format) : "-";
}

std::string title_of(const std::string& approach) {
  if (approach == "envelope") return "1 envelope of curves";
  if (approach == "isoflop") return "2 IsoFLOP minima";
  return approach == "parametric" ? "3 surface L(N, D)" : approach;  // the name of a law
}

std::string indented(const std::string& text) {
  std::string result = "  ";
  for (std::size_t i = 0; i < text.size(); ++i) {
    result += text[i];
    if (text[i] == '\n' && i + 1 < text.size()) result += "  ";
  }
  return result;
}

void add_exponents(TextTable& table, const std::string& approach, const std::string& refused,
                   const Estimate& a, const Estimate& b, const HoffmannExponents& published) {
  const std::string theirs = "a " + format_fixed(published.a, 2) + ", b " + format_fixed(published.b, 2);
  if (refused.empty()) {
    table.add({title_of(approach), fixed3(a.value), interval80(a, fixed3), interval95(a, fixed3),
               fixed3(b.value), interval80(b, fixed3), theirs});
  } else {
    table.add({title_of(approach), "-", "refused, see below", "", "", "", theirs});
  }
}

std::string exponents(const Fit& fit) {
  TextTable table({{"approach", Align::left},
                   {"a"},
                   {"80 %"},
                   {"95 %"},
                   {"b"},
                   {"80 %"},
                   {"Hoffmann et al.", Align::left}});
  const EnvelopeFit& envelope = fit.envelope;
  const IsoflopFit& isoflop = fit.isoflop;
  const ParametricFit& parametric = fit.parametric;
  add_exponents(table, "envelope", envelope.refused, envelope.laws.a, envelope.laws.b, kHoffmannEnvelope);
  add_exponents(table, "isoflop", isoflop.refused, isoflop.laws.a, isoflop.laws.b, kHoffmannIsoflop);
  add_exponents(table, "parametric", parametric.refused, parametric.a, parametric.b, kHoffmannParametric);
  return "N_opt grows as C^a, D_opt as C^b:\n" + indented(table.text());
}

std::string surface(const ParametricFit& fit) {
  if (!fit.refused.empty()) return "";
  TextTable table({{"", Align::left}, {"value"}, {"80 %"}, {"95 %"}});
  const auto add = [&](const char* name, const Estimate& estimate) {
    table.add({name, significant(estimate.value), interval80(estimate, significant),
               interval95(estimate, significant)});
  };
  add("E", fit.E);
  add("A", fit.A);
  add("B", fit.B);
  add("alpha", fit.alpha);
  add("beta", fit.beta);
  return "\nL(N, D) = E + A/N^alpha + B/D^beta, " + std::to_string(fit.runs_used) +
         " runs, sum of Huber losses " + significant(fit.objective) + ":\n" + indented(table.text());
}

std::string minima(const IsoflopFit& fit) {
  if (fit.profiles.empty()) return "";
  TextTable table({{"budget"}, {"runs"}, {"N_opt"}, {"80 %"}, {"D_opt"}, {"loss"}, {"", Align::left}});
  for (const IsoflopProfile& profile : fit.profiles) {
    const std::string budget = format_count(profile.C), runs = std::to_string(profile.runs.size());
    if (profile.used) {
      table.add({budget, runs, format_count(profile.params_opt.value),
                 interval80(profile.params_opt, format_count), format_count(profile.tokens_opt.value),
                 significant(profile.loss_opt.value), ""});
    } else {
      table.add({budget, runs, "-", "-", "-", "-", "refused: " + profile.reason});
    }
  }
  return "\nIsoFLOP minima:\n" + indented(table.text());
}

std::string listed(const std::string& what, const std::vector<std::string>& notes) {
  std::string text;
  for (const std::string& note : notes) text += "  " + what + note + "\n";
  return text;
}

std::string left_out(const Fit& fit) {
  std::string text = listed("", fit.notes);
  const auto add = [&](const std::string& approach, const std::string& refused,
                       const std::vector<std::string>& notes) {
    const std::string name = "approach " + approach + ": ";
    if (!refused.empty()) text += "  " + name + "refused: " + refused + "\n";
    text += listed(name, notes);
  };
  add("1", fit.envelope.refused, fit.envelope.notes);
  add("2", fit.isoflop.refused, fit.isoflop.notes);
  add("3", fit.parametric.refused, fit.parametric.notes);
  return text.empty() ? "" : "\nNotes:\n" + text;
}

}  // namespace

std::string optimum_table(const std::vector<Optimum>& optima) {
  const auto any = [&](auto&& has) { return std::any_of(optima.begin(), optima.end(), has); };
  const bool intervals = any([](const Optimum& o) {
    return o.C_interval || o.N.interval || o.D.interval || (o.loss && o.loss->interval);
  });
  const bool inverse = any([](const Optimum& o) { return o.C_interval.has_value(); });
  const bool days = any([](const Optimum& o) { return o.C >= kWorthPfDays; });
  std::vector<TextTable::Column> columns = {{"approach", Align::left}};
  const auto add_column = [&](const char* title, bool with_interval) {
    columns.push_back({title});
    if (with_interval && intervals) columns.push_back({"80 %"});
  };
  add_column("C", inverse);
  if (days) add_column("PF-days", false);
  add_column("N", true);
  add_column("D", true);
  add_column("D/N", false);
  add_column("loss", true);
  TextTable table(columns);
  for (const Optimum& optimum : optima) {
    std::vector<std::string> cells = {title_of(optimum.approach)};
    const auto add = [&](const Estimate& estimate, Format format, bool with_interval) {
      cells.push_back(format(estimate.value));
      if (with_interval && intervals) cells.push_back(interval80(estimate, format));
    };
    add({optimum.C, optimum.C_interval}, format_count, inverse);
    if (days) cells.push_back(format_short(optimum.C / kFlopsPerPfDay));
    add(optimum.N, format_count, true);
    add(optimum.D, format_count, true);
    cells.push_back(format_count(optimum.D.value / optimum.N.value));
    const Estimate none{std::nan(""), {}};
    add(optimum.loss.value_or(none), significant, true);
    table.add(cells);
  }
  return indented(table.text());
}

std::string allocation_table(const std::vector<Allocation>& allocations) {
  const bool intervals = std::any_of(allocations.begin(), allocations.end(),
                                     [](const Allocation& one) { return one.loss.interval.has_value(); });
  std::vector<TextTable::Column> columns = {{"C"},    {"N"},       {"D"},         {"D/N"}, {"loss"},
                                            {"80 %"}, {"least C"}, {"C/least C"}, {"80 %"}};
  if (!intervals) std::erase_if(columns, [](const auto& column) { return column.title == "80 %"; });
  TextTable table(columns);
  for (const Allocation& one : allocations) {
    std::vector<std::string> cells = {format_count(one.C), format_count(one.N), format_count(one.D),
                                      format_count(one.D / one.N), significant(one.loss.value)};
    if (intervals) cells.push_back(interval80(one.loss, significant));
    const double least = one.least_C.value;
    cells.push_back(std::isfinite(least) ? format_count(least) : "-");
    cells.push_back(significant(one.cost.value));
    if (intervals) cells.push_back(interval80(one.cost, significant));
    table.add(cells);
  }
  return indented(table.text());
}

std::string fit_table(const Fit& fit) {
  std::string text = fit.source + ": " + std::to_string(fit.runs) + (fit.runs == 1 ? " run" : " runs");
  if (fit.runs > 0)
    text += ", " + format_count(fit.smallest_C) + " to " + format_count(fit.largest_C) + " FLOPs";
  text += "\n\n" + exponents(fit) + surface(fit.parametric) + minima(fit.isoflop);
  if (!fit.predictions.empty()) {
    text += "\nCompute-optimal for ten times the largest budget:\n" + optimum_table(fit.predictions);
  }
  return text + left_out(fit) + "\n" + fit.answer + "\n";
}

}  // namespace minichilla
