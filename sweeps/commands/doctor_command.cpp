// minichilla doctor: what is the matter with a run, or what can this machine do?
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "sweeps/commands/commands.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/doctor.h"
#include "sweeps/machine_report.h"

namespace minichilla {
namespace {

void report_machine(const std::string& json_file) {
  const MachineReport report = machine_report();
  if (json_file != "-") std::fputs(machine_text(report).c_str(), stdout);
  write_json(json_file, machine_json(report));
}

}  // namespace

void add_doctor_command(CLI::App& app, CommandContext& context) {
  CLI::App* command = app.add_subcommand("doctor",
                                         "Tell what this machine can train on, or what is the matter with a "
                                         "run: state, attempts, checkpoints, the "
                                         "last norms before it diverged");
  auto run = std::make_shared<std::string>();
  auto json_file = std::make_shared<std::string>();
  command->add_option(
      "RUN", *run,
      "Folder of a run; of a sweep, SWEEP/runs/RUN-ID. Without it: cores, GPUs, driver, and what "
      "would prevent a run on a GPU");
  command->add_option("--json", *json_file, "Write all of it there as JSON ('-': stdout)")->type_name("FILE");
  command->footer(
      "Examples:\n  minichilla doctor\n  minichilla doctor runs/shakespeare\n"
      "Changes nothing. Exit status: 0 nothing is broken, 1 a file is broken or missing, 2 no run, 3 the run "
      "diverged.");
  command->callback([run, json_file, &context] {
    if (run->empty()) return report_machine(*json_file);
    const Diagnosis diagnosis = diagnose(*run);
    if (*json_file != "-") std::fputs(diagnosis_text(diagnosis).c_str(), stdout);
    write_json(*json_file, diagnosis_json(diagnosis));
    if (!diagnosis.faults.empty()) {
      context.status = kPartialFailure;
    } else if (diagnosis.state == "diverged") {
      context.status = kDiverged;
    }
  });
}

}  // namespace minichilla
