#include "sweeps/report_input.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "kernels/error.h"
#include "sweeps/analysis/sweep_folder.h"
#include "sweeps/run_store.h"
#include "sweeps/status.h"
#include "trainer/corpus.h"
#include "trainer/files.h"
#include "trainer/run_directory.h"

namespace minichilla {

namespace fs = std::filesystem;

namespace {

bool is_sweep(const fs::path& folder) {
  return fs::is_regular_file(folder / "plan.json");
}

Fit read_fit(const fs::path& file) {
  return parse_fit(read_file(file), file.string());
}

/// Whether the runs that the fit was made from have the sizes that `table` gives them.
bool same_sizes(const Fit& fit, const RunTable& table) {
  std::map<std::string, double> sizes;
  for (const Observation& run : table.runs) sizes[run.run] = run.N;
  for (const IsoflopProfile& profile : fit.isoflop.profiles) {
    for (const Observation& run : profile.runs) {
      const auto found = sizes.find(run.run);
      if (found != sizes.end() && std::fabs(found->second - run.N) > 1e-6 * run.N) return false;
    }
  }
  return true;
}

/// The sweep's table with the parameter count that the fit used, which its sizes tell.
void read_sweep_for(const fs::path& sweep, ReportInput& report) {
  report.table = read_sweep_table(sweep, ParameterCount::all);
  if (same_sizes(report.fit, report.table)) return;
  RunTable table = read_sweep_table(sweep, ParameterCount::non_embedding);
  if (!same_sizes(report.fit, table)) return;
  report.table = std::move(table);
  report.count = ParameterCount::non_embedding;
}

void warn_when_stale(const std::string& fit_command, ReportInput& report) {
  if (static_cast<std::size_t>(report.fit.runs) == report.table.runs.size() &&
      same_sizes(report.fit, report.table))
    return;
  report.warnings.push_back("The fit was made from " + std::to_string(report.fit.runs) +
                            " runs, the table has " + std::to_string(report.table.runs.size()) +
                            " now: run " + fit_command + " again.");
}

void require_runs(const fs::path& source, const RunTable& table) {
  if (!table.runs.empty()) return;
  std::string message = source.string() + ": no finished run, expected at least one";
  if (!table.notes.empty()) message += " (" + table.notes.front() + ")";
  throw InputError(message);
}

void fit_with_defaults(const std::string& fit_command, const std::function<void(double)>& on_progress,
                       ReportInput& report) {
  FitOptions options;
  options.on_progress = on_progress;
  report.fit = fit_all(report.table, options);
  report.warnings.push_back("There was no fit yet, so this report made one with the default options (" +
                            std::to_string(options.bootstrap) + " resamples, seed " +
                            std::to_string(options.seed) + "); keep one with " + fit_command + ".");
}

/// A run as planned; what its own files know better is filled in by add_record.
ReportRun planned_run(const RunStatus& status, ParameterCount count) {
  const PlannedRun& planned = status.planned;
  ReportRun run;
  run.id = planned.run_id;
  run.status = name_of(status.state);
  run.reason = status.reason;
  run.budget = planned.budget > 0 ? planned.budget : kUnknown;
  run.N = static_cast<double>(count == ParameterCount::all ? planned.params : planned.params_non_embedding);
  run.D = static_cast<double>(planned.tokens);
  run.C = planned.flops;
  run.seed = static_cast<double>(planned.seed);
  return run;
}

void add_record(const RunRecord& record, ReportRun& run) {
  run.steps = static_cast<double>(record.config.train.steps());
  run.learning_rate = record.config.train.optimizer.learning_rate;
  run.batch_tokens = static_cast<double>(record.config.train.batch_tokens);
  if (!record.result) return;
  const RunResult& result = *record.result;
  run.wall_s = result.wall_s;
  run.tokens_per_s = result.tokens_per_s;
  if (record.state != RunState::done) return;
  run.D = static_cast<double>(result.tokens);
  run.C = result.flops;
  run.loss = result.val_loss;
  run.bits_per_byte = result.val_bits_per_byte;
}

/// Up to three of the values, and how many more there are.
std::string joined(const std::set<std::string>& values) {
  constexpr std::size_t kMost = 3;
  std::string text;
  std::size_t named = 0;
  for (const std::string& value : values) {
    if (named++ == kMost) break;
    text += (text.empty() ? "" : ", ") + value;
  }
  if (values.size() > kMost)
    text += " and " + std::to_string(values.size() - kMost) + " more, in runs/*/result.json";
  return text.empty() ? "unknown" : text;
}

std::string corpus_identity(const std::string& folder) {
  try {
    return folder + ", hash " + open_corpus(folder)->hash();
  } catch (const std::runtime_error&) {
    return folder + ", which cannot be opened from here";
  }
}

void read_runs(const fs::path& sweep, ReportInput& report) {
  std::set<std::string> versions, devices, numerics, corpora;
  for (const RunStatus& status : sweep_status(sweep)) {
    report.runs.push_back(planned_run(status, report.count));
    const fs::path folder = run_folder(sweep, status.planned.run_id);
    if (!fs::exists(folder / "config.yaml")) continue;
    const RunRecord record = read_run(folder);
    add_record(record, report.runs.back());
    corpora.insert(record.config.data.corpus);
    if (!record.result) continue;
    versions.insert(record.result->version);
    devices.insert(record.result->device);
    numerics.insert(record.result->numerics_id);
  }
  report.provenance.emplace_back("minichilla, of the runs", joined(versions));
  report.provenance.emplace_back("Device", joined(devices));
  report.provenance.emplace_back("Numerics ids", joined(numerics));
  for (const std::string& corpus : corpora) report.provenance.emplace_back("Corpus", corpus_identity(corpus));
}

/// The rows of a table that knows only its observations.
void list_observations(ReportInput& report) {
  for (const Observation& run : report.table.runs) {
    ReportRun row;
    row.id = run.run;
    row.status = "done";
    row.budget = run.budget > 0 ? run.budget : kUnknown;
    row.N = run.N;
    row.D = run.D;
    row.C = run.C;
    row.seed = static_cast<double>(run.seed);
    row.loss = run.loss;
    report.runs.push_back(row);
  }
}

ReportInput read_sweep(const fs::path& sweep, const fs::path& fit_file,
                       const std::function<void(double)>& on_progress) {
  ReportInput report;
  const std::string fit_command = "minichilla fit " + sweep.string();
  const bool fitted = fs::exists(fit_file);
  if (fitted) report.fit = read_fit(fit_file);
  read_sweep_for(sweep, report);
  drop_highest_losses(report.table, report.fit.dropped);
  count_flops(report.table, report.fit.flop_count);
  require_runs(sweep, report.table);
  if (fitted) {
    warn_when_stale(fit_command, report);
  } else {
    fit_with_defaults(fit_command, on_progress, report);
  }
  read_runs(sweep, report);
  if (fs::exists(sweep / "sweep.yaml")) report.config = read_file(sweep / "sweep.yaml");
  report.commands = {"minichilla sweep plan sweep.yaml --output " + sweep.string(),
                     "minichilla sweep run " + sweep.string(), fit_command,
                     "minichilla report " + sweep.string()};
  return report;
}

ReportInput read_table(const fs::path& table, const fs::path& fit_file,
                       const std::function<void(double)>& on_progress) {
  ReportInput report;
  const std::string fit_command = "minichilla fit " + table.string();
  if (!fit_file.empty()) report.fit = read_fit(fit_file);
  report.table = read_csv_table(table, report.fit.selection);
  drop_highest_losses(report.table, report.fit.dropped);
  count_flops(report.table, report.fit.flop_count);
  require_runs(table, report.table);
  if (fit_file.empty()) {
    fit_with_defaults(fit_command, on_progress, report);
  } else {
    warn_when_stale(fit_command, report);
  }
  list_observations(report);
  report.commands = {fit_command, "minichilla report " + (fit_file.empty() ? table : fit_file).string()};
  return report;
}

/// What a fit was made from: the sweep it lies in, else its source as written, else its source beside the
/// fit.
fs::path source_of(const fs::path& fit_file) {
  if (is_sweep(fit_file.parent_path().empty() ? "." : fit_file.parent_path())) {
    return fit_file.parent_path().empty() ? "." : fit_file.parent_path();
  }
  const fs::path source = read_fit(fit_file).source;
  for (const fs::path& candidate :
       {source, fit_file.parent_path() / source, fit_file.parent_path() / source.filename()}) {
    if (!source.empty() && (is_sweep(candidate) || fs::is_regular_file(candidate))) return candidate;
  }
  throw InputError(fit_file.string() + ": its source '" + source.string() +
                   "' is not there, expected the sweep folder or table that the fit was made from");
}

}  // namespace

fs::path report_folder(const fs::path& input) {
  if (fs::is_directory(input)) return input;
  return input.has_parent_path() ? input.parent_path() : fs::path(".");
}

ReportInput read_report_input(const fs::path& input, const std::function<void(double)>& on_progress) {
  if (!fs::exists(input)) {
    throw InputError(input.string() + ": not there, expected a sweep folder, a fit.json or a CSV table");
  }
  const bool is_fit = input.extension() == ".json";
  const fs::path source = is_fit ? source_of(input) : input;
  ReportInput report = fs::is_directory(source)
                           ? read_sweep(source, is_fit ? input : source / "fit.json", on_progress)
                           : read_table(source, is_fit ? input : fs::path(), on_progress);
  report.title = fs::absolute(source).lexically_normal().filename().string();
  if (report.title.empty())
    report.title = fs::absolute(source).lexically_normal().parent_path().filename().string();
  return report;
}

}  // namespace minichilla
