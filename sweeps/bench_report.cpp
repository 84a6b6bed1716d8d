#include "sweeps/bench_report.h"

#include <nlohmann/json.hpp>

#include "sweeps/machine_report.h"
#include "sweeps/text_table.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

using Json = nlohmann::ordered_json;
using Align = TextTable::Align;

constexpr double kGiga = 1e9;

/// Per second of the fastest sample, in thousands of millions.
double rate(double amount, const Timing& timing) {
  return amount / timing.best_s / kGiga;
}

std::string share(double part, double whole) {
  return format_fixed(100 * part / whole, 1) + " %";
}

/// `flops` of what the peak would have done in the moments of the samples, per cent, where that is known.
std::optional<double> paired_percent(double flops, const Timing& timing) {
  if (flops <= 0 || timing.median_possible <= 0) return std::nullopt;
  return 100 * flops / timing.median_possible;
}

std::string paired_text(double flops, const Timing& timing) {
  const std::optional<double> percent = paired_percent(flops, timing);
  return percent ? format_fixed(*percent, 1) + " %" : "-";
}

std::string heading(const DeviceFigures& figures) {
  return figures.device + (figures.device == "cpu" ? ", " + counted(figures.lanes, "thread") : "");
}

std::string peak_text(const DeviceFigures& figures, const std::string& precision) {
  const Peak& peak = *figures.peak;
  const std::string bf16 =
      peak.bf16_flops_per_s == 0
          ? "no instruction for bf16"
          : peak.bf16_of + ": " + format_short(peak.bf16_flops_per_s / kGiga) + " GFLOP/s";
  return "peak    " + format_short(peak.flops_per_s / kGiga) + " GFLOP/s: " + peak.flops_of +
         (figures.device == "cpu" ? " (" + bf16 + ")" : ", " + precision) + "\nmemory  " +
         format_short(peak.bytes_per_s / kGiga) + " GB/s read and written: " + peak.bytes_of + "\n";
}

std::string operations_text(const DeviceFigures& figures) {
  TextTable table({{"shape", Align::left},
                   {"operation", Align::left},
                   {"pass", Align::left},
                   {"best ms"},
                   {"median ms"},
                   {"GFLOP/s"},
                   {"of peak"},
                   {"paired"},
                   {"GB/s"},
                   {"of memory"}});
  for (const OperationFigure& figure : figures.operations) {
    const double flops = rate(figure.flops, figure.timing), bytes = rate(figure.bytes, figure.timing);
    const auto of = [&](double value, double Peak::*most) {
      return figures.peak ? share(value * kGiga, (*figures.peak).*most) : "-";
    };
    table.add({figure.shape, figure.operation, figure.pass, format_fixed(1e3 * figure.timing.best_s, 4),
               format_fixed(1e3 * figure.timing.median_s, 4), flops > 0 ? format_fixed(flops, 1) : "-",
               flops > 0 ? of(flops, &Peak::flops_per_s) : "-", paired_text(figure.flops, figure.timing),
               format_fixed(bytes, 1), of(bytes, &Peak::bytes_per_s)});
  }
  return table.text();
}

std::string steps_text(const DeviceFigures& figures) {
  TextTable table({{"shape", Align::left},
                   {"step", Align::left},
                   {"best ms"},
                   {"median ms"},
                   {"tokens/s best"},
                   {"median"},
                   {"GFLOP/s"},
                   {"of peak"},
                   {"paired"}});
  for (const StepFigure& figure : figures.steps) {
    const double flops = rate(figure.flops, figure.timing);
    table.add({figure.shape,
               counted(static_cast<std::int64_t>(figure.tokens), "token") + ", micro-batch " +
                   std::to_string(figure.micro_batch),
               format_fixed(1e3 * figure.timing.best_s, 2), format_fixed(1e3 * figure.timing.median_s, 2),
               format_count(figure.tokens / figure.timing.best_s),
               format_count(figure.tokens / figure.timing.median_s), format_fixed(flops, 1),
               figures.peak ? share(flops * kGiga, figures.peak->flops_per_s) : "-",
               paired_text(figure.flops, figure.timing)});
  }
  return table.text();
}

Json timing_json(const Timing& timing) {
  return {{"best_ms", 1e3 * timing.best_s},
          {"median_ms", 1e3 * timing.median_s},
          {"samples", timing.samples},
          {"repetitions", timing.repetitions}};
}

/// `part` of `whole`, per cent; null where one of them is not known.
Json share_json(double part, const std::optional<Peak>& peak, double Peak::*whole) {
  return peak && part > 0 ? Json(100 * part * kGiga / ((*peak).*whole)) : Json();
}

Json paired_json(double flops, const Timing& timing) {
  const std::optional<double> percent = paired_percent(flops, timing);
  return percent ? Json(*percent) : Json();
}

Json operation_json(const OperationFigure& figure, const std::optional<Peak>& peak) {
  const double flops = rate(figure.flops, figure.timing), bytes = rate(figure.bytes, figure.timing);
  Json json = {{"shape", figure.shape}, {"operation", figure.operation}, {"pass", figure.pass}};
  json.update(timing_json(figure.timing));
  json.update({{"flops", figure.flops},
               {"bytes", figure.bytes},
               {"gflops_per_s", flops > 0 ? Json(flops) : Json()},
               {"peak_percent", share_json(flops, peak, &Peak::flops_per_s)},
               {"paired_peak_percent", paired_json(figure.flops, figure.timing)},
               {"gb_per_s", bytes},
               {"memory_percent", share_json(bytes, peak, &Peak::bytes_per_s)}});
  return json;
}

Json step_json(const StepFigure& figure, const std::optional<Peak>& peak) {
  const double flops = rate(figure.flops, figure.timing);
  Json json = {{"shape", figure.shape},
               {"tokens", figure.tokens},
               {"micro_batch", figure.micro_batch},
               {"gradient_slots", figure.gradient_slots}};
  json.update(timing_json(figure.timing));
  json.update({{"flops", figure.flops},
               {"tokens_per_s", figure.tokens / figure.timing.best_s},
               {"median_tokens_per_s", figure.tokens / figure.timing.median_s},
               {"gflops_per_s", flops},
               {"peak_percent", share_json(flops, peak, &Peak::flops_per_s)},
               {"paired_peak_percent", paired_json(figure.flops, figure.timing)}});
  return json;
}

Json peak_json(const std::optional<Peak>& peak) {
  if (!peak) return {};
  return {{"gflops_per_s", peak->flops_per_s / kGiga},
          {"gflops_of", peak->flops_of},
          {"bf16_gflops_per_s", peak->bf16_flops_per_s > 0 ? Json(peak->bf16_flops_per_s / kGiga) : Json()},
          {"gb_per_s", peak->bytes_per_s / kGiga},
          {"gb_of", peak->bytes_of}};
}

}  // namespace

std::string bench_text(const BenchReport& report) {
  std::string text;
  for (const DeviceFigures& figures : report.figures) {
    text += (text.empty() ? "" : "\n") + heading(figures) + ": " + figures.numerics + "\n";
    if (figures.peak) text += peak_text(figures, report.precision);
    if (!figures.operations.empty()) text += "\n" + operations_text(figures);
    if (!figures.steps.empty()) text += "\n" + steps_text(figures);
  }
  return text;
}

Json bench_json(const BenchReport& report) {
  Json measured = Json::array();
  for (const DeviceFigures& figures : report.figures) {
    Json operations = Json::array(), steps = Json::array();
    for (const OperationFigure& figure : figures.operations) {
      operations.push_back(operation_json(figure, figures.peak));
    }
    for (const StepFigure& figure : figures.steps) steps.push_back(step_json(figure, figures.peak));
    measured.push_back({{"device", figures.device},
                        {"numerics", figures.numerics},
                        {"lanes", figures.lanes},
                        {"peak", peak_json(figures.peak)},
                        {"operations", operations},
                        {"steps", steps}});
  }
  return {{"format", "minichilla bench 1"},
          {"precision", report.precision},
          {"seconds", report.seconds},
          {"machine", machine_json(machine_report())},
          {"measured", measured}};
}

}  // namespace minichilla
