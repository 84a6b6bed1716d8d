// The plan of a sweep on disk: plan.json lists the runs of a sweep folder with their budgets.
//
// `sweep plan` writes it, everything else reads it: it says which folders of runs/ belong to the sweep and
// what the runs were planned for, which their own files do not tell (a run knows its tokens, not the budget
// they came from).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace minichilla {

/// One run of a sweep as it was planned; the run itself is in runs/<run_id>.
struct PlannedRun {
  std::string run_id;
  std::string kind;  ///< of the sweep that planned it: "isoflop", "envelope", "grid" or "list"
  /// Nominal training FLOPs that the run was given, in the column `flops_column`: its IsoFLOP group. 0 when
  /// its tokens were given instead.
  double budget = 0;
  std::string flops_column = "flops";  ///< "flops", "flops_hoffmann" or "flops_6nd"
  std::string size;                    ///< layers × width, e.g. "2x32"
  std::int64_t params = 0, params_non_embedding = 0;
  std::int64_t tokens = 0;  ///< whole steps; the FLOPs spent are below the budget by less than one batch
  double flops = 0;         ///< of those tokens, in the column `flops` whatever the budget spends
  std::uint64_t seed = 0;
  double estimated_s = 0;  ///< training time of one worker by calibration; 0 when it was not measured
};

/// The plan of a sweep folder, in the order of the plan. InputError names the file and what is wrong or
/// missing.
std::vector<PlannedRun> read_plan(const std::filesystem::path& sweep);
/// The same of the text of a plan.json; `file` is for messages.
std::vector<PlannedRun> parse_plan(const std::string& text, const std::string& file);

/// Replaces plan.json.
void write_plan(const std::filesystem::path& sweep, const std::vector<PlannedRun>& runs);

/// runs/<run_id> of a sweep.
std::filesystem::path run_folder(const std::filesystem::path& sweep, const std::string& run_id);

}  // namespace minichilla
