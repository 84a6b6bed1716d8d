// Everything that a report shows, gathered from a sweep folder, a fit.json or a table.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "sweeps/analysis/fit.h"
#include "sweeps/status.h"

namespace minichilla {

/// A row of the table of all runs; what is not known is NaN.
struct ReportRun {
  std::string id, status;
  std::string reason;  ///< why it diverged or failed
  double N = 0, D = 0, C = 0;
  double budget = kUnknown, seed = kUnknown, steps = kUnknown, learning_rate = kUnknown,
         batch_tokens = kUnknown;
  double loss = kUnknown, bits_per_byte = kUnknown, wall_s = kUnknown, tokens_per_s = kUnknown;
};

struct ReportInput {
  std::string title;  ///< name of the sweep folder or of the table
  Fit fit;
  RunTable table;
  ParameterCount count = ParameterCount::all;
  std::vector<ReportRun> runs;
  std::vector<std::string> warnings;  ///< about this report: no fit.json, a fit older than the runs
  /// How to reproduce it: pairs of a label and a plain text, and the sweep's config.
  std::vector<std::pair<std::string, std::string>> provenance;
  std::vector<std::string> commands;
  std::string config;
};

/// What the folder of the report's files is when the user names none: the sweep's folder, or that of the fit
/// or table.
std::filesystem::path report_folder(const std::filesystem::path& input);

/// `input` is a sweep folder, a fit.json whose sweep or table can be reached, or a CSV table. Where there is
/// no fit it is made with default options, `on_progress` told; a warning in the result says so. InputError
/// names what is missing.
ReportInput read_report_input(const std::filesystem::path& input,
                              const std::function<void(double)>& on_progress);

}  // namespace minichilla
