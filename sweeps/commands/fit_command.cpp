// minichilla fit: the three estimates of Hoffmann et al. from a sweep or a table.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "sweeps/commands/commands.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/fit_table.h"
#include "trainer/files.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

struct FitCommandOptions {
  std::string input, output, json;
  std::string params = "all";
  FitOptions fit;
};

RunTable read_input(const FitCommandOptions& options) {
  const fs::path input = options.input;
  if (fs::is_directory(input)) {
    return read_sweep_table(input,
                            options.params == "all" ? ParameterCount::all : ParameterCount::non_embedding);
  }
  if (!fs::exists(input)) {
    throw InputError(options.input + ": not there, expected a sweep folder or a CSV table of runs");
  }
  if (options.params != "all") {
    throw InputError("--params " + options.params +
                     ": a CSV table has one column of parameters, expected a sweep folder");
  }
  return read_csv_table(input);
}

Fit fit_with_progress(const RunTable& table, FitOptions options, const StopToken& stop) {
  ProgressLine progress;
  options.on_progress = [&](double fraction) {
    if (stop.requested()) throw Interrupted();
    progress.update("bootstrap " + std::to_string(static_cast<int>(100 * fraction)) + " %");
  };
  return fit_all(table, options);
}

/// One digit: "3e14".
std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0e", value);
  std::string result = text;
  if (const auto plus = result.find('+'); plus != std::string::npos) result.erase(plus, 1);
  return result;
}

void run_fit(const FitCommandOptions& options, CommandContext& context) {
  const RunTable table = read_input(options);
  if (table.runs.empty()) {
    std::string message = options.input + ": no finished run, expected at least one";
    if (!table.notes.empty()) {
      message +=
          " (" + std::to_string(table.notes.size()) + " left out; the first: " + table.notes.front() + ")";
    }
    throw InputError(message);
  }
  Fit fit;
  try {
    fit = fit_with_progress(table, options.fit, context.stop);
  } catch (const Interrupted&) {
    std::cerr << "minichilla: interrupted, nothing was written\n";
    context.status = kInterrupted;
    return;
  }
  fs::path output = options.output;
  if (output.empty() && fs::is_directory(options.input)) output = fs::path(options.input) / "fit.json";
  const nlohmann::json json = to_json(fit);
  if (!output.empty()) replace_file(output, json.dump(1) + "\n");
  write_json(options.json, json);
  if (options.json == "-") return;
  std::cout << fit_table(fit);
  if (output.empty()) {
    std::cout << "\nnot kept: give --output FILE to write fit.json for `minichilla predict` and `report`\n";
  } else {
    std::cout << "\nwritten: " << output.string() << "\n";
  }
  if (!output.empty() && !fit.predictions.empty()) {
    std::cout << "next:    minichilla predict " << output.string() << " --flops "
              << rounded(100 * fit.largest_C) << "\n";
  }
  std::cout << std::flush;
}

}  // namespace

void add_fit_command(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<FitCommandOptions>();
  CLI::App* command = app.add_subcommand(
      "fit", "Estimate how the compute-optimal model size and token count grow with compute, three ways");
  command
      ->add_option("input", options->input,
                   "Sweep folder, or CSV table: params|N, tokens|D, loss, [flops|C, budget, run, seed]")
      ->required();
  command->add_option("--output", options->output,
                      "Where fit.json goes [fit.json in the sweep folder; a CSV: nowhere]");
  command->add_option("--bootstrap", options->fit.bootstrap, "Resamples for the intervals; 0: none")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command->add_option("--seed", options->fit.seed, "Seed of the resamples")->capture_default_str();
  command
      ->add_option("--huber-delta", options->fit.huber_delta,
                   "Approach 3: log-loss residuals beyond it count linearly")
      ->check(CLI::Range(1e-12, 1e3))
      ->capture_default_str();
  command->add_option("--params", options->params, "Which parameters N counts")
      ->check(CLI::IsMember({"all", "non_embedding"}))
      ->capture_default_str();
  command->add_option("--json", options->json,
                      "Write the fit as JSON to a file too; - is stdout, instead of the table");
  command->footer(
      "Examples: minichilla fit sweeps/english\n"
      "          minichilla fit runs.csv --bootstrap 1000 --output fit.json\n"
      "a and b are exponents of the optimum, N_opt = k C^a and D_opt = k' C^b, with bootstrap intervals.");
  command->callback([options, &context] { run_fit(*options, context); });
}

}  // namespace minichilla
