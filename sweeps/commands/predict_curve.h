// minichilla predict --curve: one run extrapolated from the early part of its curve.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace minichilla {

struct PredictCurveOptions {
  std::string curve;                ///< run folder or CSV table; empty when nothing is asked
  std::string run;                  ///< which run of a CSV table with several
  std::string end;                  ///< tokens of the run's schedule
  std::string share;                ///< of the schedule, to look from
  std::vector<std::string> longer;  ///< tokens of longer schedules
};

void add_predict_curve_options(CLI::App& command, PredictCurveOptions& options);

/// Prints the prediction, or writes it as JSON to `json` ("-" is stdout). `finished` is the sweep folder or
/// CSV table of finished runs; empty: the sweep of the run's folder, or the other runs of its table.
/// InputError names the option or file that is wrong.
void predict_curve(const PredictCurveOptions& options, const std::string& finished, const std::string& json);

/// `text` of --`option` as a number above zero; InputError when it is none.
double parse_positive(const std::string& option, const std::string& text);

}  // namespace minichilla
