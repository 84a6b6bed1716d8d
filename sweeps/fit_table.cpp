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
  if (approach == "parametric") return "3 surface L(N, D)";
  if (approach == "variable_projection") return "variable projection";
  if (approach == "variable_projection_robust") return "  robust";
  return approach;  // the name of a law
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
                   const Estimate& a, const Estimate& b, const HoffmannExponents* published) {
  if (refused == kNotAskedFor) return;
  const std::string theirs =
      published ? "a " + format_fixed(published->a, 2) + ", b " + format_fixed(published->b, 2) : "";
  if (refused.empty()) {
    table.add({title_of(approach), fixed3(a.value), interval80(a, fixed3), interval95(a, fixed3),
               fixed3(b.value), interval80(b, fixed3), theirs});
  } else {
    table.add({title_of(approach), "-", "refused, see below", "", "", "", theirs});
  }
}

std::vector<std::pair<const char*, const ParametricFit*>> projections_of(const Fit& fit) {
  return {{"variable_projection", &fit.variable_projection},
          {"variable_projection_robust", &fit.variable_projection_robust}};
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
  add_exponents(table, "envelope", envelope.refused, envelope.laws.a, envelope.laws.b, &kHoffmannEnvelope);
  add_exponents(table, "isoflop", isoflop.refused, isoflop.laws.a, isoflop.laws.b, &kHoffmannIsoflop);
  add_exponents(table, "parametric", parametric.refused, parametric.a, parametric.b, &kHoffmannParametric);
  for (const auto& [name, one] : projections_of(fit)) {
    add_exponents(table, name, one->refused, one->a, one->b, nullptr);
  }
  const bool any = fit.envelope.refused != kNotAskedFor || fit.isoflop.refused != kNotAskedFor ||
                   fit.parametric.refused != kNotAskedFor || fit.variable_projection.refused != kNotAskedFor;
  return any ? "\nN_opt grows as C^a, D_opt as C^b:\n" + indented(table.text()) : "";
}

/// "[0.31, 0.37]", with a question mark for an end that the runs do not bound.
std::string profile95(const std::map<std::string, Interval80And95>& profile, const std::string& name) {
  const auto found = profile.find(name);
  if (found == profile.end()) return "-";
  const auto end = [](double value) { return std::isfinite(value) ? significant(value) : "?"; };
  return "[" + end(found->second.low95) + ", " + end(found->second.high95) + "]";
}

std::string surface(const ParametricFit& fit) {
  if (!fit.refused.empty()) return "";
  TextTable table({{"", Align::left}, {"value"}, {"80 %"}, {"95 %"}, {"profile 95 %"}});
  const auto add = [&](const char* name, const Estimate& estimate) {
    table.add({name, significant(estimate.value), interval80(estimate, significant),
               interval95(estimate, significant), profile95(fit.profile, name)});
  };
  add("E", fit.E);
  add("A", fit.A);
  add("B", fit.B);
  add("alpha", fit.alpha);
  add("beta", fit.beta);
  add("a", fit.a);
  return "\nL(N, D) = E + A/N^alpha + B/D^beta by approach 3, " + std::to_string(fit.runs_used) +
         " runs, sum of Huber losses " + significant(fit.objective) + ":\n" + indented(table.text());
}

std::string projections(const Fit& fit) {
  TextTable table(
      {{"", Align::left}, {"E"}, {"80 %"}, {"A"}, {"B"}, {"alpha"}, {"80 %"}, {"beta"}, {"80 %"}});
  const ParametricFit* any = nullptr;
  for (const auto& [name, one] : projections_of(fit)) {
    if (!one->refused.empty()) continue;
    any = one;
    table.add({title_of(name), significant(one->E.value), interval80(one->E, significant),
               significant(one->A.value), significant(one->B.value), significant(one->alpha.value),
               interval80(one->alpha, significant), significant(one->beta.value),
               interval80(one->beta, significant)});
  }
  if (!any) return "";
  return "\nThe same surface by variable projection (condition number " + significant(any->condition_number) +
         " in five parameters, " + significant(any->condition_number_projected) +
         " in the two that are looked for):\n" + indented(table.text());
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
  const std::string bias = predicted_bias_sentence(fit);
  return "\nIsoFLOP minima:\n" + indented(table.text()) + (bias.empty() ? "" : "  " + bias + "\n");
}

std::string listed(const std::string& what, const std::vector<std::string>& notes) {
  std::string text;
  for (const std::string& note : notes) text += "  " + what + note + "\n";
  return text;
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%+.2g %%", 100 * share);
  return text;
}

std::string held_out(const Fit& fit) {
  if (!fit.held_out) return "";
  const HeldOut& held = *fit.held_out;
  std::string text = "\nWithout the " + std::to_string(held.runs) +
                     (held.budget ? " runs of the largest budget, " : " runs above ") + format_count(held.C) +
                     " FLOPs, the others predict:\n";
  if (held.loss_error) {
    text += "  their losses by approach 3 off by " + percent(*held.loss_error) + " on average, " +
            percent(*held.loss_error_rms).substr(1) + " root mean square\n";
  }
  if (held.params_found && held.params_predicted) {
    text += "  N_opt there by approach 2 " + format_count(*held.params_predicted) + ", found " +
            format_count(*held.params_found) + " (" +
            percent(*held.params_predicted / *held.params_found - 1) + ")\n";
  }
  return text;
}

std::string accountings(const Fit& fit) {
  if (fit.accountings.size() < 2) return "";
  TextTable table({{"FLOPs counted as", Align::left}, {"a"}, {"b"}});
  for (const Accounting& one : fit.accountings) table.add({one.name, fixed3(one.a), fixed3(one.b)});
  return "\nThe exponents of the surface's optimum depend on how FLOPs and parameters are counted:\n" +
         indented(table.text());
}

std::string verdict(const Fit& fit) {
  if (fit.verdict.believed.empty() || fit.verdict.reasons.empty()) return "";
  std::string name = title_of(fit.verdict.believed);
  name.erase(0, name.find_first_not_of(' '));
  return "\nMost to be believed here: " + name + "\n" + listed("", fit.verdict.reasons);
}

bool is_asked_for(const Fit& fit, const char* approach) {
  return std::find(fit.asked_for.begin(), fit.asked_for.end(), approach) != fit.asked_for.end();
}

std::string other_readings(const Fit& fit) {
  if (!is_asked_for(fit, "envelope") || fit.envelope.other_readings.empty()) return "";
  TextTable table(
      {{"frontier by", Align::left}, {"a"}, {"b"}, {"points"}, {"sizes"}, {"of unfinished runs"}});
  for (const FrontierLaw& law : fit.envelope.other_readings) {
    table.add({(law.method == "hull" ? "convex hull" : "1500 bins") +
                   std::string(law.with_edges ? " with edges" : ""),
               fixed3(law.a), fixed3(law.b), std::to_string(law.points), std::to_string(law.sizes),
               std::to_string(law.unfinished)});
  }
  return "\nApproach 1 as others read the curves (whole, a point of the smallest or largest model is an "
         "edge):\n" +
         indented(table.text());
}

std::string law_table(const LawFit& law) {
  TextTable table({{"", Align::left}, {"value"}, {"80 %"}, {"95 %"}, {"profile 95 %"}});
  for (const auto& [name, estimate] : law.constants) {
    table.add({name, significant(estimate.value), interval80(estimate, significant),
               interval95(estimate, significant), profile95(law.profile, name)});
  }
  return ", " + std::to_string(law.runs_used) + " points:\n" + indented(table.text()) + listed("", law.notes);
}

/// The constants on one line, with 80 % intervals.
std::string law_line(const LawFit& law) {
  std::string text;
  for (const auto& [name, estimate] : law.constants) {
    text += (text.empty() ? ": " : ", ") + name + " " + significant(estimate.value);
    if (estimate.interval) text += " " + interval80(estimate, significant);
  }
  return text + "\n";
}

/// A law that was fitted: a table where it was asked for by name, else a line. One that was refused only
/// where it was asked for.
void add_law(const LawFit& law, bool asked_for, std::string& text) {
  if (law.refused == kNotAskedFor || (!law.refused.empty() && !asked_for)) return;
  if (asked_for || text.empty()) text += "\n";
  text += law.equation;
  if (!law.refused.empty()) {
    text += ": refused: " + law.refused + "\n";
  } else {
    text += asked_for ? law_table(law) : law_line(law);
  }
}

std::string other_laws(const Fit& fit) {
  std::string text;
  for (const LawFit& law : fit.kaplan) add_law(law, is_asked_for(fit, "kaplan"), text);
  add_law(fit.repeated_data, is_asked_for(fit, "repeated_data"), text);
  add_law(fit.overtraining, is_asked_for(fit, "overtraining"), text);
  for (const LawFit& law : fit.learning_rate) add_law(law, is_asked_for(fit, "learning_rate"), text);
  return text;
}

std::string left_out(const Fit& fit) {
  std::string text = listed("", fit.notes);
  const auto add = [&](const std::string& name, const std::string& refused,
                       const std::vector<std::string>& notes) {
    if (refused == kNotAskedFor) return;
    if (!refused.empty()) text += "  " + name + "refused: " + refused + "\n";
    text += listed(name, notes);
  };
  add("approach 1: ", fit.envelope.refused, fit.envelope.notes);
  add("approach 2: ", fit.isoflop.refused, fit.isoflop.notes);
  add("approach 3: ", fit.parametric.refused, fit.parametric.notes);
  // What holds for every surface is said once.
  if (fit.parametric.refused != fit.variable_projection.refused) {
    add("variable projection: ", fit.variable_projection.refused, fit.variable_projection.notes);
  }
  std::vector<std::string> own;
  for (const std::string& note : fit.variable_projection_robust.notes) {
    const auto& said =
        fit.parametric.refused == kNotAskedFor ? fit.variable_projection.notes : fit.parametric.notes;
    if (std::find(said.begin(), said.end(), note) == said.end()) own.push_back(note);
  }
  add("robust variable projection: ",
      fit.variable_projection_robust.refused == fit.variable_projection.refused
          ? std::string(fit.variable_projection_robust.refused.empty() ? "" : kNotAskedFor)
          : fit.variable_projection_robust.refused,
      own);
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

std::string extrapolation_table(const Curve& curve, const std::optional<double>& found,
                                const Extrapolation& extrapolation) {
  std::string text = curve.run + ", " + format_count(curve.N) + " parameters: loss " +
                     significant(extrapolation.from_loss) + " at " + format_count(extrapolation.from_D) +
                     " tokens, " + format_fixed(100 * extrapolation.share, 0) + " % of its schedule\n";
  std::vector<TextTable::Column> columns = {{"tokens"},  {"loss"},          {"80 %"},
                                            {"95 %"},    {"held-out runs"}, {"their error"},
                                            {"at most"}, {"", Align::left}};
  TextTable table(columns);
  for (const ScheduleEnd& end : extrapolation.ends) {
    if (!end.refused.empty()) {
      table.add({format_count(end.D), "-", "-", "-", "-", "-", "-", "refused: " + end.refused});
      continue;
    }
    const bool own = &end == &extrapolation.ends.front();
    table.add({format_count(end.D), significant(end.loss.value), interval80(end.loss, significant),
               interval95(end.loss, significant),
               end.checked > 0 ? std::to_string(end.checked) : "not checked",
               end.checked > 0 ? percent(end.error).substr(1) : "-",
               end.checked > 0 ? percent(end.worst).substr(1) : "-",
               own && found ? "found " + significant(*found) : ""});
  }
  text += indented(table.text());
  text += std::string("Learned from ") + std::to_string(extrapolation.finished) + " finished runs, by " +
          (extrapolation.relation == "decline" ? "how fast the loss falls" : "their N and D") +
          " at this share of their schedules; a longer run is one whose schedule ends there.\n";
  return text + listed("", extrapolation.notes);
}

std::string predicted_bias_sentence(const IsoflopFit& fit) {
  if (!fit.predicted_bias_a) return "";
  const auto signed3 = [](double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%+.3f", value);
    return std::string(text);
  };
  std::string text =
      "On this very grid, were the fitted surface the truth, a parabola over all sizes would put a off by " +
      signed3(fit.predicted_bias_a->value);
  if (fit.interpolation != Interpolation::parabola && fit.predicted_bias_a_used) {
    text += std::string(", the ") + (fit.interpolation == Interpolation::akima ? "Akima spline" : "window") +
            " used here by " + signed3(fit.predicted_bias_a_used->value);
  }
  return text + ".";
}

std::string difference_table(const std::vector<Difference>& differences) {
  TextTable table({{"approach", Align::left},
                   {"", Align::left},
                   {"first"},
                   {"second"},
                   {"change"},
                   {"80 %"},
                   {"95 %"},
                   {"", Align::left}});
  for (const Difference& one : differences) {
    const std::optional<bool> differs = one.differs();
    table.add({title_of(one.approach), one.constant, significant(one.first.value),
               significant(one.second.value), significant(one.change.value),
               interval80(one.change, significant), interval95(one.change, significant),
               !differs   ? ""
               : *differs ? "differs"
                          : "no difference shown"});
  }
  return indented(table.text());
}

std::string fit_table(const Fit& fit) {
  std::string text = fit.source + ": " + std::to_string(fit.runs) + (fit.runs == 1 ? " run" : " runs");
  if (fit.largest_C > 0)
    text += ", " + format_count(fit.smallest_C) + " to " + format_count(fit.largest_C) + " FLOPs";
  if (fit.flop_count != "given") text += ", counted as " + fit.flop_count;
  text += "\n" + exponents(fit) + surface(fit.parametric) + projections(fit) + minima(fit.isoflop) +
          other_readings(fit) + other_laws(fit) + held_out(fit) + accountings(fit);
  if (!fit.predictions.empty()) {
    text += "\nCompute-optimal for ten times the largest budget:\n" + optimum_table(fit.predictions);
  }
  return text + left_out(fit) + verdict(fit) + "\n" + fit.answer + "\n";
}

}  // namespace minichilla
