#include "sweeps/commands/predict_curve.h"

#include <cmath>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "kernels/error.h"
#include "model/config_fields.h"
#include "model/quote.h"
#include "sweeps/analysis/extrapolate.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/fit_table.h"
#include "sweeps/text_table.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

/// The run that is asked about, and the runs to learn from.
struct CurveQuestion {
  RunInProgress run;
  std::optional<double> found;  ///< its loss at the end, where it is there already
  RunTable finished;
};

RunTable read_finished(const fs::path& input) {
  if (fs::is_directory(input)) return read_sweep_table(input, ParameterCount::all);
  if (!fs::exists(input) || input.extension() == ".json") {
    throw InputError(input.string() +
                     ": found no sweep folder and no CSV table, expected the finished runs " +
                     "that --curve is compared with");
  }
  return read_csv_table(input);
}

/// The sweep that a run's folder lies in, SWEEP/runs/RUN.
fs::path sweep_of(const fs::path& run) {
  const fs::path sweep = fs::absolute(run / "").lexically_normal().parent_path().parent_path().parent_path();
  if (!fs::exists(sweep / "plan.json")) {
    throw InputError("--curve " + run.string() +
                     ": found a run outside a sweep, expected the sweep folder or CSV table of finished runs "
                     "before the options");
  }
  return sweep;
}

RunInProgress run_of_table(const RunTable& table, const PredictCurveOptions& options) {
  const Curve* found = nullptr;
  std::string names;
  for (const Curve& curve : table.curves) {
    const bool meant = options.run.empty() ? table.curves.size() == 1 : curve.run == options.run;
    if (meant) found = &curve;
    if (&curve - table.curves.data() < 3) names += (names.empty() ? "" : ", ") + quote(curve.run);
  }
  if (!found) {
    throw InputError(options.curve + ": found " +
                     counted(static_cast<std::int64_t>(table.curves.size()), "run") + " with a curve" +
                     (names.empty() ? "" : " (" + names + (table.curves.size() > 3 ? ", …)" : ")")) +
                     (options.run.empty() ? ", expected one, or --run" : ", expected " + quote(options.run)));
  }
  if (options.end.empty() && options.share.empty()) {
    throw InputError("--end: missing, expected the tokens that the schedule of " + quote(found->run) +
                     " is for");
  }
  RunInProgress run;
  run.curve = *found;
  run.end = options.end.empty() ? found->points.back().D : parse_positive("end", options.end);
  run.ended = options.end.empty();
  return run;
}

/// Cuts the curve where --share says, and keeps the end apart.
void look_from(const PredictCurveOptions& options, CurveQuestion& question) {
  RunInProgress& run = question.run;
  if (run.ended) question.found = run.curve.points.back().loss;
  if (options.share.empty()) {
    if (!run.ended) return;
    throw InputError(options.curve + ": found a finished run, with a loss of " +
                     format_short(*question.found) +
                     "; expected --share, the share of its tokens to look from");
  }
  const double share = parse_positive("share", options.share);
  if (share >= 1) throw InputError("--share: found " + quote(options.share) + ", expected less than 1");
  std::erase_if(run.curve.points, [&](const CurvePoint& point) { return point.D > share * run.end * 1.001; });
}

CurveQuestion read_question(const PredictCurveOptions& options, const std::string& finished) {
  CurveQuestion question;
  const fs::path curve = options.curve;
  if (!fs::exists(curve)) {
    throw InputError("--curve " + options.curve + ": not there, expected a run folder or a CSV table");
  }
  if (fs::is_directory(curve)) {
    if (!options.run.empty() || !options.end.empty()) {
      throw InputError("--curve " + options.curve + ": found a run folder, expected a CSV table with " +
                       (options.run.empty() ? "--end" : "--run"));
    }
    question.run = read_run_in_progress(curve, ParameterCount::all);
    question.finished = read_finished(finished.empty() ? sweep_of(curve) : fs::path(finished));
  } else {
    const RunTable table = read_csv_table(curve);
    question.run = run_of_table(table, options);
    question.finished = finished.empty() ? table : read_finished(finished);
  }
  look_from(options, question);
  return question;
}

nlohmann::json json_of(const CurveQuestion& question, const Extrapolation& result) {
  nlohmann::json out = nlohmann::json::array();
  for (const ScheduleEnd& end : result.ends) {
    nlohmann::json one = {{"kind", "extrapolation"},
                          {"run", question.run.curve.run},
                          {"params", {{"value", question.run.curve.N}}},
                          {"tokens", {{"value", end.D}}},
                          {"from_tokens", result.from_D},
                          {"from_loss", result.from_loss},
                          {"share", result.share},
                          {"relation", result.relation},
                          {"finished_runs", result.finished},
                          {"refused", end.refused}};
    if (end.refused.empty()) {
      one["loss"] = to_json(end.loss);
      one["held_out_runs"] = end.checked;
      if (end.checked > 0) one["error_rms"] = end.error;
      if (end.checked > 0) one["error_largest"] = end.worst;
    }
    if (question.found && end.D == question.run.end) one["loss_found"] = *question.found;
    out.push_back(one);
  }
  for (nlohmann::json& one : out) one["notes"] = result.notes;
  return out;
}

}  // namespace

double parse_positive(const std::string& option, const std::string& text) {
  const std::string expected = "--" + option + ": found " + quote(text) + ", expected ";
  double value = 0;
  try {
    value = parse_quantity(text);
  } catch (const std::invalid_argument& error) {
    throw InputError(expected + error.what());
  }
  if (!(value > 0) || !std::isfinite(value)) throw InputError(expected + "a number above zero");
  return value;
}

void add_predict_curve_options(CLI::App& command, PredictCurveOptions& options) {
  command.add_option("--curve", options.curve,
                     "A run folder, or a CSV table of a training curve: from its early part, the loss at its "
                     "end, with the error that this has on the finished runs of its sweep");
  command.add_option("--run", options.run, "Which run of --curve's table, where it has several");
  command.add_option("--end", options.end, "Tokens that the schedule of --curve's table is for, e.g. 20M");
  command.add_option("--longer", options.longer,
                     "Tokens of longer schedules: the loss of --curve's run with each, e.g. 40M 80M");
  command.add_option("--share", options.share,
                     "Look at no more than this share of the schedule, e.g. 0.3: also of a finished run");
}

void predict_curve(const PredictCurveOptions& options, const std::string& finished, const std::string& json) {
  const CurveQuestion question = read_question(options, finished);
  std::vector<double> longer;
  for (const std::string& text : options.longer) {
    longer.push_back(parse_positive("longer", text));
    if (longer.back() <= question.run.end) {
      throw InputError("--longer: found " + quote(text) + ", expected more than the schedule's " +
                       format_number(question.run.end) + " tokens");
    }
  }
  const Extrapolation result = extrapolate(question.finished, question.run.curve, question.run.end, longer);
  write_json(json, json_of(question, result));
  if (json != "-") std::cout << extrapolation_table(question.run.curve, question.found, result) << std::flush;
}

}  // namespace minichilla
