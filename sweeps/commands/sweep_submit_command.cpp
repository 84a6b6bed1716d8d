// minichilla sweep submit|cancel: workers through SLURM.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "sweeps/commands/json_output.h"
#include "sweeps/commands/sweep_commands.h"
#include "sweeps/device_choice.h"
#include "sweeps/slurm_executor.h"
#include "sweeps/text_table.h"

namespace minichilla {
namespace {

struct SubmitOptions {
  std::string sweep, json, replace;
  SlurmOptions given;
  /// Copies what was given on the command line over what the sweep's folder has.
  std::vector<std::function<void(SlurmOptions&)>> overrides;
  bool dry_run = false, go_on = false, release = false, ended = false, no_report = false;
};

SubmitRequest request_of(const SubmitOptions& options) {
  SubmitRequest request;
  request.sweep = options.sweep;
  request.options = read_slurm_options(options.sweep);
  for (const auto& override_from : options.overrides) override_from(request.options);
  if (options.no_report) request.options.report = false;
  const auto environment = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value ? value : "";
  };
  request.restarts = std::atoi(environment("SLURM_RESTART_COUNT").c_str());
  if (!options.replace.empty()) {
    request.kind = SubmitRequest::Kind::replace;
    request.job = options.replace;
    request.ended = options.ended;
  } else if (options.release) {
    request.kind = SubmitRequest::Kind::release;
  } else if (options.go_on) {
    request.kind = SubmitRequest::Kind::go_on;
    request.job = environment("SLURM_JOB_ID");
  }
  return request;
}

/// "" when no worker was released.
std::string released_text(const Submission& submission) {
  std::string text;
  for (const std::string& job : submission.released) text += (text.empty() ? "" : ", ") + job;
  return text.empty() ? text : "released, as their launch had failed: " + text + "\n";
}

std::string submission_text(const std::string& sweep, const Submission& submission) {
  std::string text = released_text(submission) + sweep + ": " + std::to_string(submission.to_do) + " of " +
                     counted(submission.runs, "run") + " to do; ";
  if (!submission.note.empty()) return text + "nothing submitted: " + submission.note + "\n";
  text += counted(submission.wanted, "worker") + " wanted, " + std::to_string(submission.living) +
          " queued or running\n";
  for (const WorkerArray& array : submission.arrays) {
    text += "submitted: job array " + array.job_id + " of " + counted(array.tasks, "worker");
    if (array.throttle > 0) text += ", " + std::to_string(array.throttle) + " at once";
    text += "\n";
  }
  if (submission.arrays.empty()) text += "nothing submitted: that is enough\n";
  if (!submission.report_job.empty()) {
    text += "submitted: job " + submission.report_job + ", which follows them up, fits and reports\n";
  }
  return text + "next: minichilla sweep status " + sweep + " --watch\n";
}

nlohmann::ordered_json submission_json(const Submission& submission) {
  nlohmann::ordered_json arrays = nlohmann::ordered_json::array();
  for (const WorkerArray& array : submission.arrays) {
    arrays.push_back({{"job_id", array.job_id}, {"tasks", array.tasks}, {"throttle", array.throttle}});
  }
  return {{"runs", submission.runs},
          {"to_do", submission.to_do},
          {"wanted", submission.wanted},
          {"living", submission.living},
          {"released", submission.released},
          {"arrays", arrays},
          {"report_job", submission.report_job},
          {"note", submission.note}};
}

/// Scripts have nobody who would try again.
Submission submit_patiently(const SubmitRequest& request) {
  for (const int pause_s : {5, 15, 30, 60}) {
    try {
      return submit_sweep(request);
    } catch (const SlurmUnreachable& error) {
      if (request.kind == SubmitRequest::Kind::top_up) throw;
      std::cerr << error.what() << std::endl;
      std::this_thread::sleep_for(std::chrono::seconds(pause_s));
    }
  }
  return submit_sweep(request);
}

void submit_command(const SubmitOptions& options, CommandContext& context) {
  const SubmitRequest request = request_of(options);
  if (options.dry_run) {
    std::cout << describe_submission(request) << std::flush;
    return;
  }
  const Submission submission = submit_patiently(request);
  if (options.release) {
    std::cout << released_text(submission) << std::flush;
    return;
  }
  write_json(options.json, submission_json(submission));
  if (options.json != "-") std::cout << submission_text(options.sweep, submission) << std::flush;
  if (!options.go_on || submission.to_do == 0) return;
  context.status = submission.note.empty() ? kInterrupted : kPartialFailure;
}

void cancel_command(const std::string& sweep) {
  const std::vector<SlurmJob> cancelled = cancel_sweep(sweep);
  std::string text =
      sweep + ": " + counted(static_cast<std::int64_t>(cancelled.size()), "job") + " cancelled";
  for (std::size_t i = 0; i < std::min<std::size_t>(10, cancelled.size()); ++i) {
    text += (i == 0 ? ": " : ", ") + cancelled[i].id;
  }
  if (cancelled.size() > 10) text += ", ...";
  std::cout << text << "\n";
  if (!cancelled.empty())
    std::cout << "workers checkpoint and end; to go on: minichilla sweep submit " << sweep << "\n";
  std::cout << std::flush;
}

/// An option that the sweep's folder remembers.
template <class T>
CLI::Option* add_remembered(CLI::App& command, const std::shared_ptr<SubmitOptions>& options,
                            const char* name, T SlurmOptions::*member, const char* type, const char* help) {
  CLI::Option* option = command.add_option(name, options->given.*member, help)->type_name(type);
  SubmitOptions* target = options.get();
  options->overrides.push_back([option, member, target](SlurmOptions& stored) {
    if (option->count() > 0) stored.*member = target->given.*member;
  });
  return option;
}

void add_resources(CLI::App& command, const std::shared_ptr<SubmitOptions>& options) {
  const auto text = [&](const char* name, std::string SlurmOptions::*member, const char* type,
                        const char* help) {
    return add_remembered(command, options, name, member, type, help);
  };
  text("--partition", &SlurmOptions::partition, "NAME", "Partition, as for sbatch");
  text("--account", &SlurmOptions::account, "NAME", "Account, as for sbatch");
  text("--qos", &SlurmOptions::qos, "NAME", "Quality of service, as for sbatch");
  text("--gres", &SlurmOptions::gres, "LIST", "Of one worker, as for sbatch: gpu:1");
  text("--constraint", &SlurmOptions::constraint, "LIST", "Features of the nodes, as for sbatch");
  text("--mem", &SlurmOptions::mem, "SIZE", "Of one worker, as for sbatch: 4G");
  text("--time", &SlurmOptions::time, "TIME", "Limit of one worker, as for sbatch: 4:00:00");
  add_remembered(command, options, "--cpus", &SlurmOptions::cpus, "N", "Cores of one worker (default 1)")
      ->check(CLI::Range(1, 4096));
  add_remembered(command, options, "--extra", &SlurmOptions::extra, "OPTION",
                 "Another option of sbatch, such as --extra=--exclude=node7 (may be repeated)")
      ->allow_extra_args(false);
  add_remembered(command, options, "--module", &SlurmOptions::modules, "NAME",
                 "Module to load before (may be repeated)")
      ->allow_extra_args(false);
  text("--container", &SlurmOptions::container, "COMMAND",
       "Command that minichilla is run with: \"apptainer exec --nv image.sif\"");
  text("--program", &SlurmOptions::program, "FILE", "minichilla on the nodes; default: this one");
  text("--template", &SlurmOptions::worker_template, "FILE",
       "In place of scripts/slurm/worker.sbatch, which is built in");
  text("--device", &SlurmOptions::device, "DEVICE", "Where workers train, as for sweep work");
}

void add_submit(CLI::App& sweep, CommandContext& context) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* command =
      sweep.add_subcommand("submit", "Submit workers for a sweep to SLURM, or those that are missing");
  command
      ->add_option("SWEEP", options->sweep, "Folder of a planned sweep, on a file system that the nodes see")
      ->required();
  add_remembered(*command, options, "--workers", &SlurmOptions::workers, "N",
                 "Workers wanted; default: one per run to do, at most 32")
      ->check(CLI::Range(1, 1'000'000));
  add_remembered(*command, options, "--throttle", &SlurmOptions::throttle, "N",
                 "Workers that run at once; 0: all (default)")
      ->check(CLI::Range(0, 1'000'000));
  add_remembered(*command, options, "--grace", &SlurmOptions::grace_s, "SECONDS",
                 "How long before the time limit a worker is told to checkpoint (default 120)")
      ->check(CLI::Range(1, 86'400));
  add_resources(*command, options);
  command->add_flag("--no-report", options->no_report,
                    "Without the job that follows the workers up, resubmits them, fits and reports");
  command->add_flag("--dry-run", options->dry_run, "Print the script and what would be submitted");
  command->add_option("--json", options->json, "Write what was submitted as JSON to this file; - is stdout")
      ->type_name("FILE");
  // For the scripts.
  command->add_option("--replace", options->replace)->group("");
  command->add_flag("--ended", options->ended)->group("");
  command->add_flag("--continue", options->go_on)->group("");
  command->add_flag("--release", options->release)->group("");
  command->footer(
      "Options are remembered in SWEEP/slurm/submit.yaml. The same command again submits what is missing of "
      "the "
      "wanted\nworkers and nothing else.\nExample:\n"
      "  minichilla sweep submit /shared/sweeps/mine --workers 64 --gres gpu:1 --time 4:00:00");
  command->callback([options, &context] { submit_command(*options, context); });
}

void add_cancel(CLI::App& sweep) {
  auto folder = std::make_shared<std::string>();
  CLI::App* command =
      sweep.add_subcommand("cancel", "Cancel the sweep's jobs in SLURM; its workers checkpoint");
  command->add_option("SWEEP", *folder, "Folder of a sweep that was submitted")->required();
  command->footer("Example:\n  minichilla sweep cancel /shared/sweeps/mine");
  command->callback([folder] { cancel_command(*folder); });
}

}  // namespace

void add_sweep_submit(CLI::App& sweep, CommandContext& context) {
  add_submit(sweep, context);
  add_cancel(sweep);
}

}  // namespace minichilla
