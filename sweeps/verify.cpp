#include "sweeps/verify.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "kernels/error.h"
#include "model/quote.h"
#include "sweeps/text_table.h"
#include "trainer/files.h"
#include "trainer/json_fields.h"
#include "trainer/progress_line.h"
#include "trainer/run_directory.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

std::vector<PlannedRun> draw(const VerifyOptions& options) {
  std::vector<PlannedRun> done;
  for (const PlannedRun& run : read_plan(options.executor.sweep)) {
    const auto result = read_result(run_folder(options.executor.sweep, run.run_id));
    if (result && result->status == "done") done.push_back(run);
  }
  if (done.empty())
    throw InputError(options.executor.sweep.string() + ": found no finished run, expected some to verify");
  std::mt19937_64 random(options.seed);
  std::shuffle(done.begin(), done.end(), random);
  done.resize(std::min(done.size(), static_cast<std::size_t>(options.runs)));
  return done;
}

/// A sweep of the sample alone. One that was interrupted goes on, if it is of the same runs.
void plan_again(const fs::path& sweep, const fs::path& again, const std::vector<PlannedRun>& sample) {
  const auto same = [](const PlannedRun& a, const PlannedRun& b) { return a.run_id == b.run_id; };
  if (path_exists(again / "plan.json")) {
    const std::vector<PlannedRun> planned = read_plan(again);
    if (std::ranges::equal(planned, sample, same)) return;
  }
  fs::remove_all(again);
  for (const PlannedRun& run : sample) {
    create_synced_folders(run_folder(again, run.run_id));
    replace_file(run_folder(again, run.run_id) / "config.yaml",
                 read_file(run_folder(sweep, run.run_id) / "config.yaml"));
  }
  write_plan(again, sample);
}

/// The weights that a finished run kept; empty when it kept none.
std::string weights_of(const fs::path& run) {
  const std::vector<std::int64_t> steps = numbered_folders(run / "checkpoints");
  if (steps.empty()) return "";
  const fs::path file = run / "checkpoints" / std::to_string(steps.back()) / "model.safetensors";
  return path_exists(file) ? read_file(file) : "";
}

VerifiedRun compare(const fs::path& before, const fs::path& after, double tolerance) {
  const RunResult first = read_result(before).value();
  VerifiedRun run;
  run.run_id = first.run_id;
  run.val_loss = first.val_loss;
  const auto again = read_result(after);
  if (!again || again->status != "done") {
    run.message = again ? "diverged: " + again->reason : "was not trained to its end";
    return run;
  }
  run.val_loss_again = again->val_loss;
  run.same_numerics = again->numerics_id == first.numerics_id;
  if (!run.same_numerics) {
    run.agrees = std::fabs(first.val_loss - again->val_loss) <= tolerance;
    if (!run.agrees) run.message = "the validation loss differs by more than " + format_number(tolerance);
    return run;
  }
  const std::string weights = weights_of(before), weights_again = weights_of(after);
  if (first.val_loss != again->val_loss || first.train_loss != again->train_loss) {
    run.message = "the losses differ";
  } else if (!weights.empty() && !weights_again.empty() && weights != weights_again) {
    run.message = "the losses agree, the weights differ";
  }
  run.agrees = run.message.empty();
  return run;
}

}  // namespace

bool Verification::agrees() const {
  return std::all_of(runs.begin(), runs.end(), [](const VerifiedRun& run) { return run.agrees; });
}

Verification verify_sweep(const VerifyOptions& options, const ExecutorEvents& events) {
  const fs::path sweep = options.executor.sweep, again = sweep / "verify";
  const std::vector<PlannedRun> sample = draw(options);
  plan_again(sweep, again, sample);
  ExecutorOptions executor = options.executor;
  executor.sweep = again;
  Verification verification;
  verification.interrupted = run_sweep(executor, events).interrupted;
  if (verification.interrupted) return verification;
  for (const PlannedRun& run : sample) {
    verification.runs.push_back(
        compare(run_folder(sweep, run.run_id), run_folder(again, run.run_id), options.tolerance));
  }
  if (verification.agrees()) {
    fs::remove_all(again);
  } else {
    verification.kept = again.string();
  }
  return verification;
}

std::string verification_text(const Verification& verification) {
  using Align = TextTable::Align;
  TextTable table({{"run", Align::left},
                   {"val loss", Align::right},
                   {"again", Align::right},
                   {"compared", Align::left},
                   {"", Align::left}});
  for (const VerifiedRun& run : verification.runs) {
    table.add({run.run_id, format_fixed(run.val_loss, 6), format_fixed(run.val_loss_again, 6),
               run.same_numerics ? "bits" : "losses (other numerics)", run.agrees ? "same" : run.message});
  }
  if (verification.agrees()) return table.text();
  return table.text() + "\nwhat was trained again is in " + verification.kept + "\n";
}

nlohmann::ordered_json verification_json(const Verification& verification) {
  nlohmann::ordered_json json;
  json["agrees"] = verification.agrees();
  json["runs"] = nlohmann::ordered_json::array();
  for (const VerifiedRun& run : verification.runs) {
    json["runs"].push_back({{"run_id", run.run_id},
                            {"same_numerics", run.same_numerics},
                            {"agrees", run.agrees},
                            {"val_loss", finite_or_null(run.val_loss)},
                            {"val_loss_again", finite_or_null(run.val_loss_again)},
                            {"message", run.message}});
  }
  return json;
}

}  // namespace minichilla
