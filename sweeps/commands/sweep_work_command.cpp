// minichilla sweep work: one worker, on any host that sees the folder.
#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/cuda_device.h"
#include "kernels/error.h"
#include "sweeps/commands/device_options.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/commands/sweep_commands.h"
#include "sweeps/device_choice.h"
#include "sweeps/local_executor.h"
#include "sweeps/text_table.h"
#include "sweeps/time_limit.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

struct WorkOptions {
  std::string sweep, json;
  std::string device = "auto", products = kLibraryProducts, order = "longest";
  bool retry_failed = false;
  double seconds_left = std::numeric_limits<double>::quiet_NaN();
};

std::string work_summary(const SweepOutcome& outcome, const std::string& sweep) {
  const int left = outcome.runs - outcome.done - outcome.diverged - static_cast<int>(outcome.failures.size());
  std::string text = counted(outcome.runs, "run") + ": " + std::to_string(outcome.done) + " done, " +
                     std::to_string(outcome.diverged) + " diverged, " +
                     std::to_string(outcome.failures.size()) + " failed";
  if (left > 0) text += ", " + std::to_string(left) + " left";
  if (outcome.elsewhere > 0) text += " (" + std::to_string(outcome.elsewhere) + " at work elsewhere)";
  text += "\n";
  for (const SweepOutcome::Failure& failure : outcome.failures) {
    text += "failed: " + failure.run_id + ": " + failure.message + "\n";
  }
  if (outcome.host_failed) return text + "too many runs failed on this host in a row: it takes no more\n";
  if (outcome.refused > 0) {
    return text + counted(outcome.refused, "run") +
           " not taken: the time that is left does not reach a checkpoint; to go on: minichilla sweep work " +
           sweep + "\n";
  }
  return text + (outcome.interrupted ? "interrupted; to go on: minichilla sweep work " + sweep + "\n"
                                     : "nothing is left to take; minichilla sweep status " + sweep + "\n");
}

void work_command(const WorkOptions& options, CommandContext& context) {
  ExecutorOptions executor;
  executor.sweep = options.sweep;
  executor.device = options.device;
  if (executor.device == "auto") executor.device = cuda_support().problem.empty() ? "cuda" : "cpu";
  executor.products = options.products;
  executor.order = order_of(options.order);
  executor.wait_for_others = false;
  executor.stop = context.stop;
  const bool given = !std::isnan(options.seconds_left);
  TimeLimit limit(options.sweep, given ? options.seconds_left : slurm_seconds_left(options.sweep));
  executor.may_start = [&](const PlannedRun& planned, double fraction) {
    return limit.allows(planned, fraction);
  };
  if (options.retry_failed) forget_all_failures(options.sweep);
  ExecutorEvents events;
  events.on_message = [](const std::string& message) { std::cerr << message << std::endl; };
  const SweepOutcome outcome = run_sweep(executor, events);
  write_json(options.json, outcome_json(outcome));
  if (options.json != "-") std::cout << work_summary(outcome, options.sweep) << std::flush;
  if (outcome.host_failed) context.status = kPartialFailure;
  if (outcome.interrupted || (outcome.refused > 0 && !outcome.host_failed)) context.status = kInterrupted;
}

}  // namespace

void add_taking_options(CLI::App& command, std::string& order, bool& retry_failed) {
  command
      .add_option("--order", order,
                  "Which run is taken next: longest (the tail is short), shortest or planned")
      ->check(CLI::IsMember({"longest", "shortest", "planned"}))
      ->capture_default_str();
  command.add_flag("--retry-failed", retry_failed, "Try runs again that failed too often");
}

RunOrder order_of(const std::string& word) {
  if (word == "shortest") return RunOrder::shortest;
  return word == "planned" ? RunOrder::planned : RunOrder::longest;
}

void forget_all_failures(const std::filesystem::path& sweep) {
  for (const PlannedRun& run : read_plan(sweep)) {
    const std::filesystem::path folder = run_folder(sweep, run.run_id);
    if (is_given_up(read_history(folder), {})) forget_failures(folder);
  }
}

void add_sweep_work(CLI::App& sweep, CommandContext& context) {
  auto options = std::make_shared<WorkOptions>();
  CLI::App* command = sweep.add_subcommand("work", "Work on a sweep as one of its workers, on any host");
  command->add_option("SWEEP", options->sweep, "Folder of a planned sweep")->required();
  add_device_options(*command, "Where to train", options->device, options->products);
  add_taking_options(*command, options->order, options->retry_failed);
  command
      ->add_option(
          "--time-left", options->seconds_left,
          "Seconds after which this host is lost: runs that cannot reach a checkpoint before are not "
          "taken;\nin a job of SLURM it is asked for them")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 1e9));
  command->add_option("--json", options->json, "Write what came of it as JSON to this file; - is stdout")
      ->type_name("FILE");
  command->footer(
      "Takes the next run that nobody works on, trains it, takes the next. SIGTERM, SIGINT and SIGUSR1 "
      "checkpoint.\n"
      "Exit status: 0 nothing is left to take, 1 too many runs failed on this host, 75 interrupted, or no "
      "time was\nleft for another run.\nExample:\n"
      "  ssh node7 minichilla sweep work /shared/sweeps/mine");
  command->callback([options, &context] { work_command(*options, context); });
}

}  // namespace minichilla
