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
  double weight = 1;  ///< of its loss in approach 2, as one over its variance
  // Zero where they are not known:
  double unique_tokens = 0;  ///< of the training text: D over it is the number of epochs
  double learning_rate = 0;  ///< peak
  double batch_tokens = 0;   ///< tokens per step
  double steps = 0;
  double N_non_embedding = 0;
  double C_exact = 0,
         C_hoffmann = 0;  ///< multiply-adds asked for; full attention and embeddings (model/flops.h)
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

/// A run to a target loss: what critical_batch.h works on.
struct BatchRun {
  double loss, batch_tokens, steps;
};

/// Which rows and columns of a CSV table are meant.
struct TableOptions {
  /// Column and value that a row must have, as text or as the same number; several values of one column are
  /// alternatives.
  std::vector<std::pair<std::string, std::string>> where;
  /// Names of table_columns() and the columns that are taken for them: {"params", "N_noembed"}.
  std::vector<std::pair<std::string, std::string>> columns;
  /// Every row is an observation, also those of one `run` (checkpoints at a constant learning rate).
  bool every_row = false;
};

struct RunTable {
  std::string source;
  std::vector<Observation> runs;
  std::vector<BatchRun> batch_runs;  ///< of a table of runs to target losses, which has no `runs`
  std::vector<Curve> curves;
  std::vector<std::string> notes;  ///< what was left out, and why, one sentence each
  std::string loss_unit = "nats per token";
  TableOptions selection;            ///< the rows and columns that were taken
  int dropped = 0;                   ///< runs that drop_highest_losses() left out
  std::string flop_count = "given";  ///< one of flop_count_names()
  bool budgets_planned = false;      ///< budgets were given, by a plan or a column, not taken from C
};

enum class ParameterCount { all, non_embedding };

/// Finished runs of a sweep folder: N counts as asked, C is the column that the budgets spend (`flops` unless
/// the plan says otherwise), loss the validation loss. Diverged and unfinished runs are left out with a note.
/// Curves come from the evaluations on "val". InputError names the file that is missing or wrong.
RunTable read_sweep_table(const std::filesystem::path& sweep, ParameterCount count);

/// A run that may not have ended, of the tokens that its schedule is for.
struct RunInProgress {
  Curve curve;  ///< validation losses so far; with the end when it has ended
  double end = 0;
  bool ended = false;
};

/// The run of a folder. Its size is that of its result, else counted from its config with the vocabulary of
/// its corpus. InputError names the file that is missing or wrong, or says that there is no evaluation yet.
RunInProgress read_run_in_progress(const std::filesystem::path& folder, ParameterCount count);

/// A column that the table of runs knows: the first name is the canonical one.
struct TableColumn {
  std::vector<std::string> names;
  bool required = false;
};
const std::vector<TableColumn>& table_columns();

/// CSV with a header, `#` comment lines skipped: params|N, tokens|D, flops|C (6·N·D when absent), loss,
/// optional group|budget, run, seed, weight and more (see table_columns). Several rows with one `run` form a
/// curve whose last row is the observation. Without a budget column, runs whose C lie close together form a
/// budget (see assign_budgets). A table with a column loss_target has one row per run to that loss, with
/// batch_tokens and steps. InputError names file, line, column, found and expected.
RunTable read_csv_table(const std::filesystem::path& file, const TableOptions& options = {});
/// The same of a file's content; `file` is for messages and the table's source.
RunTable parse_csv_table(const std::string& content, const std::string& file,
                         const TableOptions& options = {});

/// Takes the `count` runs of highest loss out, with a note; their curves stay. InputError when no run would
/// be left.
void drop_highest_losses(RunTable& table, int count);

/// How C may be counted: "given", "6nd", "exact" (multiply-adds asked for), "hoffmann" (full attention and
/// embeddings).
const std::vector<std::string>& flop_count_names();

/// Counts the C of runs and curves in one of these ways. Budgets belong to the count that they were given in:
/// with another one they are those of assign_budgets(). InputError when a run does not know the count.
void count_flops(RunTable& table, const std::string& count);

/// Gives runs without a budget one: runs with at least three sizes whose C follow each other within 3 %, and
/// lie within 10 % in all, share their geometric mean, rounded to three digits. Others stay in none; where
/// they are more than half, the table is no IsoFLOP grid and all do.
void assign_budgets(std::vector<Observation>& runs);

/// One row per observation, or per curve point, that read_csv_table reads back.
std::string runs_csv(const RunTable& table);
std::string curves_csv(const RunTable& table);

}  // namespace minichilla
