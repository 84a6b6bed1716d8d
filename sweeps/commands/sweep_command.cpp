// minichilla sweep plan|run; the others have files of their own.
#include <CLI/CLI.hpp>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/cuda_device.h"
#include "kernels/error.h"
#include "sweeps/commands/commands.h"
#include "sweeps/commands/device_options.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/commands/sweep_commands.h"
#include "sweeps/device_choice.h"
#include "sweeps/local_executor.h"
#include "sweeps/machine.h"
#include "sweeps/plan_table.h"
#include "sweeps/run_store.h"
#include "sweeps/speeds.h"
#include "sweeps/text_table.h"
#include "sweeps/worker_slots.h"
#include "trainer/corpus.h"
#include "trainer/files.h"
#include "trainer/progress_line.h"
#include "trainer/run_memory.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kProgressWidth = 79;  // a line that wraps cannot be erased

struct SweepOptions {
  std::string input, output, json;
  std::string device = "auto", products = kLibraryProducts;
  std::vector<std::string> sets;
  int workers = 0;   ///< 0: one per core or GPU
  double speed = 0;  ///< FLOP/s of one worker, in place of measuring; 0: measure
  std::string gpus, order = "longest";
  bool retry_failed = false, no_pin = false;
  bool extend = false, no_calibration = false;
};

/// Settles what the command line left open.
void settle_device(SweepOptions& options) {
  if (options.device == "auto") options.device = cuda_support().problem.empty() ? "cuda" : "cpu";
  const bool on_cpu = options.device == "cpu";
  if (options.workers == 0) options.workers = on_cpu ? usable_cores() : 1;
}

SweepPlan read_plan_from_config(const SweepOptions& options) {
  YAML::Node map = load_yaml(options.input);
  for (const std::string& assignment : options.sets) set_path(map, assignment);
  const SweepConfig config = read_sweep_config(map, options.input);
  if (config.data.corpus.empty()) {
    throw InputError(options.input +
                     ": data.corpus: not given, expected the folder of a prepared corpus "
                     "(minichilla data prepare)");
  }
  return make_plan(config, *open_corpus(config.data.corpus), device_maker(options.device));
}

/// Bytes that the runs of a plan have on their device; 0: unknown.
std::uint64_t memory_available(const SweepPlan& plan, const SweepOptions& options) {
  const DeviceMaker make_device = device_maker(options.device);
  return memory_for_run(*make_device(plan.rows.front().config.train.precision)).value_or(0);
}

void calibrate(SweepPlan& plan, const SweepOptions& options, const StopToken& stop) {
  const fs::path cache = fs::path(options.output) / "calibration.json";
  ProgressLine line(std::chrono::hours(1));
  SpeedOptions speed;
  speed.workers = options.workers;
  speed.make_device = device_maker(options.device);
  speed.memory_available = memory_available(plan, options);
  speed.on_progress = [&](int done, int all) {
    if (stop.requested()) throw Interrupted{};
    const std::string text = "measuring speed: " + std::to_string(done) + "/" + std::to_string(all);
    done < all ? line.update(text) : line.finish(text + " shapes and batches");
  };
  estimate_times(plan, cache, speed);
}

/// Reads, checks, measures and stores; nothing is stored when anything is wrong.
struct StoredPlan {
  SweepPlan plan;
  StoreChanges changes;
};
StoredPlan plan_and_store(const SweepOptions& options, const StopToken& stop) {
  check_output_folder(options.output);
  StoredPlan stored{read_plan_from_config(options), {}};
  check_plan(options.output, stored.plan, options.extend);
  if (options.speed > 0) {
    assume_speed(stored.plan, options.speed);
  } else if (!options.no_calibration) {
    calibrate(stored.plan, options, stop);
  }
  stored.changes = store_plan(options.output, stored.plan, options.extend);
  return stored;
}

PlanView view_of(const SweepPlan& plan, const SweepOptions& options) {
  const bool on_cpu = options.device == "cpu";
  PlanView view{options.workers, plan_warnings(plan, options.workers, memory_available(plan, options)),
                on_cpu ? "core" : "GPU"};
  if (!on_cpu || options.speed > 0) return view;  // with --speed the plan is for other machines
  std::set<std::string> precisions;
  for (const PlanRow& row : plan.rows) precisions.insert(row.config.train.precision);
  for (const std::string& precision : precisions) {
    const std::string slow = slow_on_this_cpu(precision);
    if (!slow.empty()) view.warnings.push_back(slow);
  }
  return view;
}

std::string describe_changes(const SweepOptions& options, const StoreChanges& changes) {
  const auto runs = [](int count) { return counted(count, "run"); };
  std::string text = options.output + ": ";
  if (changes.added == 0) {
    text += "all " + runs(changes.present) + " were planned before";
  } else {
    text += runs(changes.added) + " planned";
    if (changes.present > 0) text += ", " + std::to_string(changes.present) + " were planned before";
  }
  if (changes.others > 0) text += "; " + runs(changes.others) + " of other plans stay";
  return text + "\nnext: minichilla sweep run " + options.output + "\n";
}

void plan_command(const SweepOptions& options, CommandContext& context) {
  try {
    const StoredPlan stored = plan_and_store(options, context.stop);
    const PlanView view = view_of(stored.plan, options);
    write_json(options.json, plan_json(stored.plan, view));
    if (options.json == "-") return;
    std::cout << plan_text(stored.plan, view) << "\n"
              << describe_changes(options, stored.changes) << std::flush;
  } catch (const Interrupted&) {
    std::cerr << "minichilla: interrupted; nothing was planned\n";
    context.status = kInterrupted;
  }
}

/// The shape in SHAPE-TOKENS-sSEED-HASH; a shape may have a dash in its own name.
std::string shape_of(const std::string& run_id) {
  std::size_t end = run_id.size();
  for (int field = 0; field < 3 && end != std::string::npos && end > 0; ++field) {
    end = run_id.rfind('-', end - 1);
  }
  return run_id.substr(0, end);
}

/// "12/24 [####....] 48 %, ETA 3m12s, 2x32 1.982 (63 %)", cut to kProgressWidth.
std::string progress_text(const SweepProgress& progress) {
  const int ended = progress.done + progress.diverged + progress.failed;
  std::string text = std::to_string(ended) + "/" + std::to_string(progress.runs) + " " +
                     bar(progress.fraction, 20) + " " + format_fixed(std::floor(100 * progress.fraction), 0) +
                     " %, ETA " + format_duration(progress.eta_s);
  if (progress.diverged > 0) text += ", " + std::to_string(progress.diverged) + " diverged";
  if (progress.failed > 0) text += ", " + std::to_string(progress.failed) + " failed";
  if (progress.elsewhere > 0) text += ", " + std::to_string(progress.elsewhere) + " elsewhere";
  for (std::size_t i = 0; i < progress.workers.size(); ++i) {
    const WorkerView& worker = progress.workers[i];
    const std::string size = shape_of(worker.run_id);
    const std::string loss = std::isnan(worker.loss) ? "" : " " + format_fixed(worker.loss, 3);
    const std::string part =
        ", " + size + loss + " (" + format_fixed(std::floor(100 * worker.progress), 0) + " %)";
    if (text.size() + part.size() > kProgressWidth) {
      const std::string rest = ", +" + std::to_string(progress.workers.size() - i);
      return text.size() + rest.size() <= kProgressWidth ? text + rest : text;
    }
    text += part;
  }
  return text;
}

std::string summary_text(const SweepOutcome& outcome, const std::string& sweep) {
  const int ended = outcome.done + outcome.diverged + static_cast<int>(outcome.failures.size());
  std::string text = counted(outcome.runs, "run") + ": " + std::to_string(outcome.done) + " done, " +
                     std::to_string(outcome.diverged) + " diverged, " +
                     std::to_string(outcome.failures.size()) + " failed";
  if (ended < outcome.runs) text += ", " + std::to_string(outcome.runs - ended) + " to do";
  if (outcome.tokens > 0) {
    text += "; " + format_duration(outcome.wall_s) + ", " + format_count(outcome.tokens / outcome.wall_s) +
            " tokens/s";
  } else if (outcome.done + outcome.diverged == outcome.runs) {
    text += "; nothing was left to do";
  }
  text += "\n";
  for (const SweepOutcome::Failure& failure : outcome.failures) {
    text += "failed: " + failure.run_id + ": " + failure.message + "\n";
  }
  if (outcome.interrupted) return text + "interrupted; to go on: minichilla sweep run " + sweep + "\n";
  if (outcome.host_failed)
    return text + "too many runs failed here in a row; on another host: minichilla sweep run " + sweep + "\n";
  if (!outcome.failures.empty())
    return text + "to try those again: minichilla sweep run " + sweep + " --retry-failed\n";
  return text + "next: minichilla fit " + sweep + "\n";
}

int status_of(const SweepOutcome& outcome) {
  if (outcome.interrupted) return kInterrupted;
  return outcome.done == outcome.runs ? 0 : kPartialFailure;
}

/// The sweep folder to run: given, or planned from the config that was given.
std::string folder_to_run(SweepOptions& options, const StopToken& stop) {
  if (fs::is_directory(options.input)) {
    if (!options.output.empty() || !options.sets.empty()) {
      throw InputError("sweep run " + options.input +
                       ": --output and --set go with a config, this is a sweep's folder");
    }
    return options.input;
  }
  if (options.output.empty()) {
    throw InputError("sweep run " + options.input + ": a config needs --output, the folder for the sweep");
  }
  const StoredPlan stored = plan_and_store(options, stop);
  PlanView view = view_of(stored.plan, options);
  view.table = false;
  std::cerr << plan_text(stored.plan, view);
  return options.output;
}

/// GPUs that workers train on: those of --gpus, or with plain --device cuda all that can train.
std::vector<int> chosen_gpus(const SweepOptions& options) {
  if (options.gpus.empty() && options.device != "cuda") return {};
  const CudaSupport support = cuda_support();
  if (!support.problem.empty()) throw InputError("--gpus: found no GPU: " + support.problem);
  if (options.gpus.empty()) {
    std::vector<int> usable;
    for (std::size_t i = 0; i < support.gpus.size(); ++i) {
      if (support.gpus[i].problem.empty()) usable.push_back(static_cast<int>(i));
    }
    return usable;
  }
  const std::vector<int> chosen = parse_numbers(options.gpus, "--gpus");
  for (const int gpu : chosen) {
    const auto index = static_cast<std::size_t>(gpu);
    const std::string problem = index < support.gpus.size()
                                    ? support.gpus[index].problem
                                    : "there are " + std::to_string(support.gpus.size()) +
                                          ", numbered from 0 in the order of CUDA_VISIBLE_DEVICES";
    if (!problem.empty()) throw InputError("--gpus: found " + std::to_string(gpu) + ": " + problem);
  }
  return chosen;
}

SweepOutcome run_with_progress(const ExecutorOptions& executor) {
  ProgressLine line;
  ExecutorEvents events;
  events.on_progress = [&](const SweepProgress& progress) { line.update(progress_text(progress)); };
  events.on_message = [&](const std::string& message) { line.print(message); };
  return run_sweep(executor, events);
}

void run_command(SweepOptions& options, CommandContext& context) {
  const std::vector<int> gpus = chosen_gpus(options);
  if (!gpus.empty()) {
    options.device = "cuda:" + std::to_string(gpus.front());  // for the plan, if there has to be one
    if (options.workers == 0) options.workers = static_cast<int>(gpus.size());
  }
  settle_device(options);
  try {
    const std::string sweep = folder_to_run(options, context.stop);
    ExecutorOptions executor;
    executor.sweep = sweep;
    executor.workers = options.workers;
    executor.device = options.device;
    executor.products = options.products;
    executor.gpus = gpus;
    executor.pin = !options.no_pin;
    executor.order = order_of(options.order);
    executor.stop = context.stop;
    if (options.retry_failed) forget_all_failures(sweep);
    const SweepOutcome outcome = run_with_progress(executor);
    write_json(options.json, outcome_json(outcome));
    if (options.json != "-") std::cout << summary_text(outcome, sweep) << std::flush;
    context.status = status_of(outcome);
  } catch (const Interrupted&) {
    std::cerr << "minichilla: interrupted; nothing was planned\n";
    context.status = kInterrupted;
  }
}

const char* const kJsonHelp = "Write it all as JSON to this file; - is stdout";

double parse_speed(const std::string& text) {
  double speed = 0;
  try {
    speed = parse_quantity(text);
  } catch (const std::invalid_argument&) {
  }
  if (!(speed > 0))
    throw InputError("--speed: found " + quote(text) + ", expected FLOP/s of one worker such as 5e9 or 40T");
  return speed;
}

void add_planning_options(CLI::App& command, SweepOptions& options) {
  command.add_option("--set", options.sets, "Change a key of the config: path=value (may be repeated)")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
  command
      .add_option("--workers", options.workers,
                  "Worker processes, one core each, or sharing GPUs; default: one per core or GPU")
      ->check(CLI::Range(1, 4096));
  add_device_options(command, "Where its runs train, and where memory and speeds are taken from",
                     options.device, options.products);
  command.add_option("--json", options.json, kJsonHelp)->type_name("FILE");
  command.add_flag("--no-calibration", options.no_calibration, "Do not measure speeds (no time estimates)");
}

void add_plan(CLI::App& sweep, CommandContext& context) {
  auto options = std::make_shared<SweepOptions>();
  CLI::App* command =
      sweep.add_subcommand("plan", "Show every run of a sweep and what it costs, and write the plan down");
  command->add_option("CONFIG", options->input, "The sweep's YAML file")->required();
  command->add_option("--output", options->output, "Folder of the sweep")->required()->type_name("SWEEP");
  command
      ->add_option_function<std::string>(
          "--speed", [options](const std::string& text) { options->speed = parse_speed(text); },
          "FLOP/s of one worker, such as 40T, to plan for other machines than this one; nothing is measured")
      ->type_name("FLOP/S");
  command->add_flag("--extend", options->extend, "Add the runs to a sweep that was planned otherwise");
  add_planning_options(*command, *options);
  command->footer(
      "Planning the same again changes nothing.\nExample:\n"
      "  minichilla sweep plan configs/isoflop.yaml --output sweeps/mine --set 'sweep.budgets=[1e11, 1e12]'\n"
      "  minichilla sweep plan configs/isoflop.yaml --output sweeps/mine --workers 64 --speed 40T");
  command->callback([options, &context] {
    settle_device(*options);
    plan_command(*options, context);
  });
}

void add_run(CLI::App& sweep, CommandContext& context) {
  auto options = std::make_shared<SweepOptions>();
  CLI::App* command =
      sweep.add_subcommand("run", "Run what is missing of a sweep, a worker process per core");
  command->add_option("SWEEP", options->input, "Folder of a planned sweep, or a config to plan first")
      ->required();
  command->add_option("--output", options->output, "Folder of the sweep, when a config is given")
      ->type_name("SWEEP");
  add_planning_options(*command, *options);
  command
      ->add_option("--gpus", options->gpus,
                   "GPUs to train on, with --workers more than one each: 0,1 or 0-3; default with --device "
                   "cuda: all")
      ->type_name("LIST");
  add_taking_options(*command, options->order, options->retry_failed);
  command->add_flag("--no-pin", options->no_pin, "Do not keep each worker on a core of its own");
  command->footer(
      "Ctrl-C checkpoints; the same command goes on. A failing run never stops the others.\n"
      "Exit status: 0 all done, 1 some failed or diverged, 75 interrupted.\nExample:\n"
      "  minichilla sweep run sweeps/mine --workers 4");
  command->callback([options, &context] { run_command(*options, context); });
}

}  // namespace

void add_sweep_command(CLI::App& app, CommandContext& context) {
  CLI::App* sweep =
      app.add_subcommand("sweep", "Plan a grid of runs from FLOP budgets, run it, see where it stands");
  sweep->require_subcommand(1);
  add_plan(*sweep, context);
  add_run(*sweep, context);
  add_sweep_work(*sweep, context);
  add_sweep_submit(*sweep, context);
  add_sweep_status(*sweep, context);
  add_sweep_verify(*sweep, context);
  sweep->footer(
      "Example:\n  minichilla sweep plan configs/quickstart.yaml --output sweeps/first\n"
      "  minichilla sweep run sweeps/first\n  minichilla sweep status sweeps/first");
}

}  // namespace minichilla
