// minichilla predict: what a fit says about a budget, a model size or a token count.
#include <CLI/CLI.hpp>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/config_fields.h"
#include "model/quote.h"
#include "sweeps/commands/commands.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/fit_table.h"
#include "trainer/files.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

struct PredictOptions {
  std::string fit, json;
  std::vector<std::string> flops, params, tokens;
};

Fit read_fit_file(const fs::path& given) {
  const fs::path file = fs::is_directory(given) ? given / "fit.json" : given;
  if (!fs::exists(file)) {
    throw InputError(file.string() + ": not there, expected a file that 'minichilla fit' wrote");
  }
  return parse_fit(read_file(file), file.string());
}

double parse_positive(const std::string& option, const std::string& text) {
  const std::string expected = "--" + option + ": found " + quote(text) + ", expected ";
  double value = 0;
  try {
    value = parse_quantity(text);
  } catch (const std::invalid_argument& error) {
    throw InputError(expected + error.what());
  }
  if (!(value > 0) || !std::isfinite(value)) throw InputError(expected + "a number above zero");
  return value;
}

/// What lies outside the runs by how much: an honest reader wants to know.
std::string extrapolation_note(const Fit& fit, const std::vector<Optimum>& optima) {
  double largest = 0, smallest = fit.largest_C;
  for (const Optimum& optimum : optima) {
    largest = std::max(largest, optimum.C);
    smallest = std::min(smallest, optimum.C);
  }
  if (fit.largest_C > 0 && largest > 1.5 * fit.largest_C) {
    return "extrapolated up to " + format_count(largest / fit.largest_C) + " times beyond the largest run, " +
           format_count(fit.largest_C) + " FLOPs: the intervals hold if the laws do\n";
  }
  if (fit.smallest_C > 0 && smallest < fit.smallest_C / 1.5) {
    return "extrapolated down to " + format_count(fit.smallest_C / smallest) +
           " times below the smallest run, " + format_count(fit.smallest_C) +
           " FLOPs: the intervals hold if the laws do\n";
  }
  return "";
}

void run_predict(const PredictOptions& options) {
  if (options.flops.empty() && options.params.empty() && options.tokens.empty()) {
    throw InputError("predict: nothing asked for, expected --flops, --params or --tokens");
  }
  const Fit fit = read_fit_file(options.fit);
  std::vector<Optimum> optima;
  const auto add = [&](const std::string& option, const std::vector<std::string>& values,
                       std::vector<Optimum> (*answer)(const Fit&, double)) {
    for (const std::string& text : values) {
      const std::vector<Optimum> more = answer(fit, parse_positive(option, text));
      optima.insert(optima.end(), more.begin(), more.end());
    }
  };
  add("flops", options.flops, predict);
  add("params", options.params, predict_for_params);
  add("tokens", options.tokens, predict_for_tokens);
  if (optima.empty())
    throw InputError(options.fit + ": no approach of this fit can answer; 'minichilla fit' says why");
  write_json(options.json, to_json(optima));
  if (options.json == "-") return;
  std::cout << optimum_table(optima) << extrapolation_note(fit, optima) << std::flush;
}

}  // namespace

void add_predict_command(CLI::App& app, CommandContext&) {
  auto options = std::make_shared<PredictOptions>();
  CLI::App* command = app.add_subcommand(
      "predict",
      "The compute-optimal model size and token count for a budget, or the budget that suits a size");
  command->add_option("fit", options->fit, "fit.json, or the sweep folder that has one")->required();
  command->add_option("--flops", options->flops, "Training FLOPs, e.g. 1e15 3e15");
  command->add_option("--params", options->params,
                      "Model sizes: the budget and tokens for which each is optimal, e.g. 10M");
  command->add_option("--tokens", options->tokens,
                      "Token counts: the budget and size for which each is optimal, e.g. 2G");
  command->add_option("--json", options->json,
                      "Write the predictions as JSON to a file; - is stdout, instead of the table");
  command->footer(
      "Examples: minichilla predict sweeps/english --flops 1e14 1e15\n"
      "          minichilla predict fit.json --params 10M\n"
      "N counts the parameters that the fit counted (minichilla fit --params).");
  command->callback([options] { run_predict(*options); });
}

}  // namespace minichilla
