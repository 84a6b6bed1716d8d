// minichilla sweep verify: a sample of a sweep's runs once more.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/cuda_device.h"
#include "sweeps/commands/device_options.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/commands/sweep_commands.h"
#include "sweeps/machine.h"
#include "sweeps/verify.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

struct VerifyRequest {
  std::string sweep, json;
  VerifyOptions options;
  int workers = 0;
};

void verify_command(VerifyRequest& request, CommandContext& context) {
  ExecutorOptions& executor = request.options.executor;
  executor.sweep = request.sweep;
  if (executor.device == "auto") executor.device = cuda_support().problem.empty() ? "cuda" : "cpu";
  executor.workers = request.workers > 0 ? request.workers : executor.device == "cpu" ? usable_cores() : 1;
  executor.pin = true;
  executor.stop = context.stop;
  ProgressLine line;
  ExecutorEvents events;
  events.on_message = [&](const std::string& message) { line.print(message); };
  const Verification verification = verify_sweep(request.options, events);
  if (verification.interrupted) {
    std::cerr << "minichilla: interrupted; the same command goes on\n";
    context.status = kInterrupted;
    return;
  }
  write_json(request.json, verification_json(verification));
  if (request.json != "-") std::cout << verification_text(verification) << std::flush;
  if (!verification.agrees()) context.status = kPartialFailure;
}

}  // namespace

void add_sweep_verify(CLI::App& sweep, CommandContext& context) {
  auto request = std::make_shared<VerifyRequest>();
  request->options.executor.device = "auto";
  CLI::App* command =
      sweep.add_subcommand("verify", "Train a sample of a sweep's finished runs again and compare");
  command->add_option("SWEEP", request->sweep, "Folder of a sweep")->required();
  command->add_option("--runs", request->options.runs, "How many runs to train again")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--seed", request->options.seed, "Which runs are drawn")->capture_default_str();
  command
      ->add_option("--tolerance", request->options.tolerance,
                   "Allowed difference of validation losses, nats per token, where numerics_id differs")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--workers", request->workers, "Worker processes; default: one per core, or one on a GPU")
      ->check(CLI::Range(1, 4096));
  add_device_options(*command, "Where to train", request->options.executor.device,
                     request->options.executor.products);
  command->add_option("--json", request->json, "Write what came of it as JSON to this file; - is stdout")
      ->type_name("FILE");
  command->footer(
      "Under the same numerics_id losses and weights have to agree to the bit, under another one the losses\n"
      "within the tolerance. Exit status: 0 all agree, 1 something differs, 75 interrupted.\nExample:\n"
      "  minichilla sweep verify sweeps/mine --runs 3");
  command->callback([request, &context] { verify_command(*request, context); });
}

}  // namespace minichilla
