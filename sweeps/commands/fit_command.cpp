// minichilla fit: the three estimates of Hoffmann et al. from a sweep or a table.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/quote.h"
#include "sweeps/analysis/compare.h"
#include "sweeps/analysis/published_laws.h"
#include "sweeps/commands/commands.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/fit_table.h"
#include "sweeps/text_table.h"
#include "trainer/files.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

struct FitCommandOptions {
  std::vector<std::string> inputs;
  std::string input, output, json;
  bool compare = false;
  std::string params = "all", flops = "given";
  std::vector<std::string> approaches, where, columns;
  std::string interpolation = "windowed", base_law;
  bool every_row = false;
  int drop_highest_loss = 0;
  FitOptions fit;
};

/// "column=value" of an option.
std::pair<std::string, std::string> parse_pair(const std::string& option, const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    throw InputError(
        "--" + option + ": found " + quote(text) + ", expected " +
        (option == "where" ? "COLUMN=VALUE, such as config=tuned" : "NAME=COLUMN, such as params=N_noembed"));
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

TableOptions table_options(const FitCommandOptions& options) {
  TableOptions table;
  for (const std::string& text : options.where) table.where.push_back(parse_pair("where", text));
  for (const std::string& text : options.columns) table.columns.push_back(parse_pair("columns", text));
  table.every_row = options.every_row;
  return table;
}

Law parse_base_law(const std::string& text) {
  Law law;
  try {
    law = parse_law(text);
  } catch (const InputError& error) {
    throw InputError("--base-" + std::string(error.what()).substr(2));  // its messages begin with --law
  }
  if (law.optimum)
    throw InputError("--base-law: found " + quote(text) + ", expected a law with a surface L(N, D)");
  return law;
}

FitOptions fit_options(const FitCommandOptions& options) {
  FitOptions fit = options.fit;
  for (const std::string& name : options.approaches) {
    if (name != "all") fit.approaches.push_back(name);
  }
  if (std::find(options.approaches.begin(), options.approaches.end(), "all") != options.approaches.end()) {
    fit.approaches.clear();
  }
  fit.interpolation = options.interpolation == "akima"      ? Interpolation::akima
                      : options.interpolation == "parabola" ? Interpolation::parabola
                                                            : Interpolation::windowed;
  // Of runs on any text only their own surface of fresh text is a fair start; the published one is for those
  // who ask for this law.
  const bool asked = !fit.approaches.empty() && fit.wants("repeated_data");
  const std::string base_law =
      options.base_law.empty() ? (asked ? "muennighoff_c4" : "own") : options.base_law;
  if (base_law != "own") {
    const Law law = parse_base_law(base_law);
    fit.base_law = law.surface;
    fit.base_law_source = law.name + " (" + law.source + ")";
  }
  return fit;
}

RunTable read_input(const FitCommandOptions& options) {
  const fs::path input = options.input;
  const TableOptions table = table_options(options);
  if (fs::is_directory(input)) {
    if (!table.where.empty() || !table.columns.empty() || table.every_row) {
      throw InputError(options.input +
                       ": found a sweep folder, expected a CSV table with --where, --columns or --every-row");
    }
    return read_sweep_table(input,
                            options.params == "all" ? ParameterCount::all : ParameterCount::non_embedding);
  }
  if (!fs::exists(input)) {
    throw InputError(options.input + ": not there, expected a sweep folder or a CSV table of runs");
  }
  if (options.params != "all") {
    throw InputError(
        "--params " + options.params +
        ": found a CSV table, expected a sweep folder; of a table --columns params=COLUMN names the column");
  }
  return read_csv_table(input, table);
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

/// The runs that the options select; InputError when there is none.
RunTable read_runs(const FitCommandOptions& options) {
  RunTable table = read_input(options);
  if (table.runs.empty() && table.batch_runs.empty()) {
    std::string message = options.input + ": no finished run, expected at least one";
    if (!table.notes.empty()) {
      message +=
          " (" + std::to_string(table.notes.size()) + " left out; the first: " + table.notes.front() + ")";
    }
    throw InputError(message);
  }
  drop_highest_losses(table, options.drop_highest_loss);
  count_flops(table, options.flops);
  return table;
}

void run_compare(const FitCommandOptions& options, const StopToken& stop) {
  std::vector<Fit> fits;
  for (const std::string& input : options.inputs) {
    FitCommandOptions one = options;
    one.input = input;
    one.fit.seed += fits.size();  // independent resamples
    fits.push_back(fit_with_progress(read_runs(one), fit_options(one), stop));
  }
  const std::vector<Difference> differences = compare_fits(fits[0], fits[1]);
  if (!options.json.empty()) {
    write_json(options.json, nlohmann::json{{"first", to_json(fits[0])},
                                            {"second", to_json(fits[1])},
                                            {"differences", to_json(differences)}});
  }
  if (options.json == "-") return;
  for (const Fit& fit : fits) std::cout << fit.source << ": " << fit.answer << "\n";
  std::cout << "\nChange from the first to the second:\n" << difference_table(differences) << std::flush;
}

void run_fit(const FitCommandOptions& options, CommandContext& context) {
  Fit fit;
  try {
    if (options.compare) return run_compare(options, context.stop);
    fit = fit_with_progress(read_runs(options), fit_options(options), context.stop);
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
      ->add_option(
          "input", options->inputs,
          "Sweep folder, or CSV table: params|N, tokens|D, loss, [flops|C, budget, run, seed]; two with "
          "--compare")
      ->required();
  command->add_flag("--compare", options->compare, "Do two inputs have different laws?");
  std::vector<std::string> approaches = approach_names();
  approaches.emplace_back("all");
  command
      ->add_option("--approach", options->approaches,
                   "What to fit, one or several: envelope is approach 1, isoflop 2, parametric 3 [all]")
      ->check(CLI::IsMember(approaches));
  command->add_option(
      "--where", options->where,
      "Rows of a CSV table to take, COLUMN=VALUE; several values of a column are alternatives");
  command->add_option("--columns", options->columns,
                      "Columns of a CSV table by other names, e.g. params=N_noembed");
  command->add_flag("--every-row", options->every_row,
                    "Every row of a CSV table is a run's end, also where rows share a run's name");
  command
      ->add_option("--drop-highest-loss", options->drop_highest_loss,
                   "Leave so many runs of highest loss out")
      ->check(CLI::Range(0, 1000000));
  command
      ->add_option(
          "--interpolation", options->interpolation,
          "Approach 2: a parabola over the sizes near the minimum (windowed) or all, or an Akima spline")
      ->check(CLI::IsMember({"windowed", "parabola", "akima"}))
      ->capture_default_str();
  command->add_flag("--log-loss", options->fit.log_loss, "Approach 2: fit ln loss");
  command->add_flag("--tied", options->fit.tied_exponents, "Surfaces: alpha = beta");
  command->add_option("--fixed-E", options->fit.fixed_E, "Surfaces: the irreducible loss, not fitted")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--mse", options->fit.mean_squares, "Approach 3: squares of log-loss residuals");
  command->add_option(
      "--base-law", options->base_law,
      "Repeated data: the surface of fresh text, a law as in predict --law, or own: from runs of "
      "one epoch [muennighoff_c4 with --approach repeated_data, else own]");
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
  command
      ->add_option(
          "--flops", options->flops,
          "How C is counted: as the table or the budgets do (given), 6ND, multiply-adds (exact), or with "
          "full attention and embeddings (hoffmann)")
      ->check(CLI::IsMember(flop_count_names()))
      ->capture_default_str();
  command->add_option("--json", options->json,
                      "Write the fit as JSON to a file too; - is stdout, instead of the table");
  command->footer(
      "Examples: minichilla fit sweeps/english\n"
      "          minichilla fit runs.csv --bootstrap 1000 --output fit.json\n"
      "          minichilla fit runs.csv --where config=tuned --columns params=N_noembed --approach isoflop\n"
      "a and b are exponents of the optimum, N_opt = k C^a and D_opt = k' C^b, with bootstrap intervals.");
  command->callback([options, &context] {
    const std::size_t expected = options->compare ? 2 : 1;
    if (options->inputs.size() != expected) {
      throw InputError("fit: found " + counted(static_cast<std::int64_t>(options->inputs.size()), "input") +
                       ", expected " +
                       (options->compare ? "two with --compare" : "one, or two with --compare"));
    }
    options->input = options->inputs.front();
    run_fit(*options, context);
  });
}

}  // namespace minichilla
