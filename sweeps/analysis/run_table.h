// What the estimators work on: finished runs and training curves, from a sweep folder or a CSV file.
//
// Legend of scaling-law code (as in the papers): N parameters, D training tokens, C training FLOPs, L loss in
// nats per token; optimum N(C) ∝ C^a, D(C) ∝ C^b; L(N, D) = E + A/N^alpha + B/D^beta.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace minichilla {

/// The end of one run.
struct Observation {
  double N, D, C, loss;
  double budget = 0;  ///< IsoFLOP group: the nominal FLOPs; 0 when it belongs to none
  std::string run;
  std::int64_t seed = 0;
};

struct CurvePoint {
  double D, C, loss;
};

/// Loss against tokens of one run, ascending in D and C; the last point is the run's observation.
struct Curve {
  std::string run;
  double N;
  std::vector<CurvePoint> points;
};

struct RunTable {
  std::string source;
  std::vector<Observation> runs;
  std::vector<Curve> curves;
  std::vector<std::string> notes;  ///< what was left out, and why, one sentence each
  std::string loss_unit = "nats per token";
  bool budgets_planned = false;  ///< budgets were given, by a plan or a column, not taken from C
};

enum class ParameterCount { all, non_embedding };

/// Finished runs of a sweep folder: N counts as asked, C is the column that the budgets spend (`flops` unless
/// the plan says otherwise), loss the validation loss. Diverged and unfinished runs are left out with a note.
/// Curves come from the evaluations on "val". InputError names the file that is missing or wrong.
RunTable read_sweep_table(const std::filesystem::path& sweep, ParameterCount count);

/// CSV with a header, `#` comment lines skipped: params|N, tokens|D, flops|C (6·N·D when absent), loss,
/// optional group|budget, run, seed. Several rows with one `run` form a curve whose last row is the
/// observation. Without a budget column, runs whose C lie close together form a budget (see assign_budgets).
/// InputError names file, line, column, found and expected.
RunTable read_csv_table(const std::filesystem::path& file);
/// The same of a file's content; `file` is for messages and the table's source.
RunTable parse_csv_table(const std::string& content, const std::string& file);

/// Gives runs without a budget one: runs with at least three sizes whose C follow each other within 3 %, and
/// lie within 10 % in all, share their geometric mean, rounded to three digits. Others stay in none; where
/// they are more than half, the table is no IsoFLOP grid and all do.
void assign_budgets(std::vector<Observation>& runs);

/// One row per observation, or per curve point, that read_csv_table reads back.
std::string runs_csv(const RunTable& table);
std::string curves_csv(const RunTable& table);

}  // namespace minichilla
