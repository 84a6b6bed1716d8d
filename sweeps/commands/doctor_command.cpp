// minichilla doctor: what is the matter with a run?
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "sweeps/commands/commands.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/doctor.h"

namespace minichilla {

void add_doctor_command(CLI::App& app, CommandContext& context) {
  CLI::App* command = app.add_subcommand(
      "doctor",
      "Tell what is the matter with a run: state, attempts, checkpoints, the last norms before it diverged");
  auto run = std::make_shared<std::string>();
  auto json_file = std::make_shared<std::string>();
  command->add_option("RUN", *run, "Folder of a run; of a sweep, SWEEP/runs/RUN-ID")->required();
  command->add_option("--json", *json_file, "Write all of it there as JSON ('-': stdout)")->type_name("FILE");
  command->footer(
      "Example:\n  minichilla doctor runs/shakespeare\n"
      "Changes nothing. Exit status: 0 nothing is broken, 1 a file is broken or missing, 2 no run, 3 the run "
      "diverged.");
  command->callback([run, json_file, &context] {
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
