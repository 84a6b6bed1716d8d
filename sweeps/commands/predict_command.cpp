// minichilla predict: what a fit, or a law fitted elsewhere, says about budgets, model sizes and token
// counts.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/config_fields.h"
#include "model/quote.h"
#include "sweeps/analysis/predict.h"
#include "sweeps/analysis/published_laws.h"
#include "sweeps/analysis/serving.h"
#include "sweeps/commands/commands.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/commands/predict_curve.h"
#include "sweeps/fit_table.h"
#include "sweeps/text_table.h"
#include "trainer/files.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

struct PredictOptions {
  std::string fit, law, json;
  std::vector<std::string> flops, params, tokens, loss_at, allocation;
  bool table = false;
  std::string inference_tokens, peak, mfu = "0.4", watts, price_hour, price_kwh;
  PredictCurveOptions curve;

  bool asks_a_fit() const {
    return table ||
           !(flops.empty() && params.empty() && tokens.empty() && loss_at.empty() && allocation.empty());
  }
};

/// Where the answers come from: a fit, or a law in the shape of one.
struct Source {
  Fit fit;
  std::optional<Law> law;
  std::string name;  ///< for messages
};

Fit read_fit_file(const fs::path& given) {
  const fs::path file = fs::is_directory(given) ? given / "fit.json" : given;
  if (!fs::exists(file)) {
    throw InputError(file.string() + ": not there, expected a file that 'minichilla fit' wrote");
  }
  return parse_fit(read_file(file), file.string());
}

Source read_source(const PredictOptions& options) {
  if (options.fit.empty() && options.law.empty()) {
    throw InputError(
        "predict: found neither a fit nor a law, expected fit.json (before the options) or --law");
  }
  if (!options.fit.empty() && !options.law.empty()) {
    throw InputError("predict: found the fit " + quote(options.fit) + " and --law " + quote(options.law) +
                     ", expected one of them");
  }
  if (options.law.empty()) return {read_fit_file(options.fit), std::nullopt, options.fit};
  const Law law = parse_law(options.law);
  return {fit_of_law(law), law, "--law " + law.name};
}

std::string law_line(const Law& law) {
  if (law.optimum) {
    const auto power = [](double coefficient, double exponent) {
      return format_short(coefficient) + "*C^" + format_number(exponent);
    };
    return law.name + ": N_opt = " + power(law.optimum->coefficient_params, law.optimum->a) +
           ", D_opt = " + power(law.optimum->coefficient_tokens, law.optimum->b) + " (" + law.source + ")\n";
  }
  const ParametricFit::Surface& s = law.surface;
  const auto term = [](double factor, const char* of, double exponent) {
    return " + " + format_number(factor) + "/" + of + "^" + format_number(exponent);
  };
  return law.name + ": L(N, D) = " + format_number(s.E) + term(s.A, "N", s.alpha) + term(s.B, "D", s.beta) +
         " (" + law.source + ")\n";
}

/// How far outside the runs the answers lie: an honest reader wants to know. Nothing for a law, which has no
/// runs.
std::string extrapolation_note(const Fit& fit, const std::vector<double>& budgets) {
  double largest = 0, smallest = fit.largest_C;
  for (const double C : budgets) {
    largest = std::max(largest, C);
    smallest = std::min(smallest, C);
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

std::vector<Optimum> optima_of(const Source& source, const PredictOptions& options) {
  std::vector<Optimum> optima;
  const auto add = [&](double value, std::vector<Optimum> (*answer)(const Fit&, double)) {
    for (Optimum& optimum : answer(source.fit, value)) {
      if (source.law) optimum.approach = source.law->name;
      optima.push_back(std::move(optimum));
    }
  };
  for (const std::string& text : options.flops) add(parse_positive("flops", text), predict);
  for (const std::string& text : options.params) add(parse_positive("params", text), predict_for_params);
  for (const std::string& text : options.tokens) add(parse_positive("tokens", text), predict_for_tokens);
  if (options.table) {
    for (const double N : kHoffmannTable3Params) add(N, predict_for_params);
  }
  const bool asked =
      options.table || !options.flops.empty() || !options.params.empty() || !options.tokens.empty();
  if (!asked || !optima.empty()) return optima;
  if (source.law) throw InputError(source.name + ": the law reaches no such optimum, expected a nearer one");
  throw InputError(source.name + ": no approach of this fit can answer; 'minichilla fit' says why");
}

/// What --loss-at asks for, then what --allocation does.
std::vector<Allocation> allocations_of(const Source& source, const PredictOptions& options) {
  std::vector<Allocation> allocations;
  const auto add = [&](const std::string& option, double N, double value, const auto& answer) {
    const std::optional<Allocation> one = answer(source.fit, N, value);
    if (!one) {
      throw InputError(source.name + ": approach 3 was refused, --" + option +
                       " needs its surface: " + source.fit.parametric.refused);
    }
    if (!(one->N >= 1 && one->D >= 1 && std::isfinite(one->C))) {
      throw InputError("--" + option + ": found " + format_short(one->N) + " parameters and " +
                       format_short(one->D) +
                       " tokens, expected at least one of each and fewer than 1e308 FLOPs");
    }
    allocations.push_back(*one);
  };
  if (options.loss_at.size() % 2 != 0) {
    throw InputError("--loss-at: found " +
                     counted(static_cast<std::int64_t>(options.loss_at.size()), "number") +
                     ", expected pairs of parameters and tokens such as 7G 140G");
  }
  for (std::size_t i = 0; i < options.loss_at.size(); i += 2) {
    const double N = parse_positive("loss-at", options.loss_at[i]);
    add("loss-at", N, parse_positive("loss-at", options.loss_at[i + 1]), allocation);
  }
  if (!options.allocation.empty() && options.flops.empty()) {
    throw InputError("--allocation: found no --flops, expected the budgets that the models are trained with");
  }
  for (const std::string& budget : options.flops) {
    for (const std::string& params : options.allocation) {
      const double N = parse_positive("allocation", params);
      add("allocation", N, parse_positive("flops", budget), allocation_of_budget);
    }
  }
  return allocations;
}

/// For each optimum that has a loss: the model of that loss whose training and use cost least.
std::vector<ServedOptimum> served_of(const Source& source, const PredictOptions& options,
                                     const std::vector<Optimum>& optima) {
  std::vector<ServedOptimum> served;
  if (options.inference_tokens.empty()) return served;
  const double tokens = parse_positive("inference-tokens", options.inference_tokens);
  const ParametricFit* surface = best_surface(source.fit);
  for (const Optimum& optimum : optima) {
    if (!surface || !optimum.loss) continue;
    const auto one = inference_adjusted(surface->surface(), source.fit.flops_trend, optimum.N.value,
                                        optimum.D.value, tokens);
    if (one) served.push_back(*one);
  }
  if (served.empty()) {
    throw InputError(
        "--inference-tokens: found no optimum with a loss, expected --flops, --params, --tokens or --table, "
        "and a "
        "fit with a surface");
  }
  return served;
}

std::string served_table(const std::vector<ServedOptimum>& served) {
  TextTable table(
      {{"loss"}, {"N"}, {"D"}, {"D/N"}, {"training C"}, {"with inference"}, {"of the optimum's"}});
  for (const ServedOptimum& one : served) {
    table.add({format_number(std::round(one.loss * 1e4) / 1e4), format_count(one.N), format_count(one.D),
               format_count(one.D / one.N), format_count(one.C), format_count(one.total),
               format_fixed(100 * one.total / one.total_of_optimum, 1) + " %"});
  }
  return "The same losses at the least cost of training and " +
         format_count(served.front().inference_tokens) + " tokens of inference:\n" + table.text();
}

Hardware hardware_of(const PredictOptions& options) {
  Hardware hardware;
  const auto read = [](const char* option, const std::string& text) -> std::optional<double> {
    if (text.empty()) return std::nullopt;
    return parse_positive(option, text);
  };
  hardware.peak = read("gpu-flops", options.peak);
  hardware.mfu = parse_positive("mfu", options.mfu);
  if (hardware.mfu > 1)
    throw InputError("--mfu: found " + quote(options.mfu) + ", expected a share such as 0.4");
  hardware.watts = read("watts", options.watts);
  hardware.price_hour = read("price-per-hour", options.price_hour);
  hardware.price_kwh = read("price-per-kwh", options.price_kwh);
  if (!hardware.peak && (hardware.watts || hardware.price_hour || hardware.price_kwh)) {
    throw InputError("predict: found watts or prices, expected --gpu-flops, the peak of one GPU, with them");
  }
  if (hardware.price_kwh && !hardware.watts)
    throw InputError("--price-per-kwh: found no --watts, expected the power of one GPU with its machine");
  return hardware;
}

std::string cost_table(const Hardware& hardware, std::vector<double> budgets) {
  TextTable table({{"C"}, {"PF-days"}, {"GPU-hours"}, {"kWh"}, {"price"}});
  std::sort(budgets.begin(), budgets.end());
  budgets.erase(std::unique(budgets.begin(), budgets.end()), budgets.end());
  for (const double C : budgets) {
    const TrainingCost cost = *training_cost(hardware, C);
    const auto cell = [](const std::optional<double>& value) { return value ? format_count(*value) : "-"; };
    table.add({format_count(C), format_short(C / kFlopsPerPfDay), format_count(cost.hours), cell(cost.energy),
               cell(cost.price)});
  }
  return "Training at " + format_count(*hardware.peak) + " FLOP/s and an MFU of " +
         format_number(hardware.mfu) + ":\n" + table.text();
}

/// One list; "kind" tells an optimum from the loss that given N and D reach.
nlohmann::json json_of(const Source& source, const std::vector<Optimum>& optima,
                       const std::vector<Allocation>& allocations, const std::vector<ServedOptimum>& served,
                       const Hardware& hardware) {
  nlohmann::json out = to_json(optima);
  for (nlohmann::json& one : out) one["kind"] = "optimum";
  const nlohmann::json given =
      to_json(allocations, source.law ? source.law->name : std::string("parametric"));
  for (const nlohmann::json& one : given) {
    out.push_back(one);
    out.back()["kind"] = "allocation";
  }
  for (const ServedOptimum& one : served) {
    out.push_back({{"kind", "inference_adjusted"},
                   {"inference_tokens", one.inference_tokens},
                   {"params", {{"value", one.N}}},
                   {"tokens", {{"value", one.D}}},
                   {"loss", {{"value", one.loss}}},
                   {"flops", {{"value", one.C}}},
                   {"total_flops", one.total},
                   {"total_flops_of_optimum", one.total_of_optimum}});
  }
  for (nlohmann::json& one : out) {
    const double C = one["flops"]["value"].get<double>();
    one["pf_days"] = C / kFlopsPerPfDay;
    const auto cost = training_cost(hardware, C);
    if (!cost) continue;
    one["gpu_hours"] = cost->hours;
    if (cost->energy) one["energy_kwh"] = *cost->energy;
    if (cost->price) one["price"] = *cost->price;
  }
  return out;
}

void run_predict(const PredictOptions& options) {
  if (!options.curve.curve.empty()) {
    if (options.asks_a_fit() || !options.law.empty()) {
      throw InputError("predict: found --curve and a question to a fit or law, expected one of them");
    }
    return predict_curve(options.curve, options.fit, options.json);
  }
  const Source source = read_source(options);
  if (!options.asks_a_fit()) {
    throw InputError(
        "predict: nothing asked for, expected --flops, --params, --tokens, --loss-at, --table or --curve");
  }
  const std::vector<Optimum> optima = optima_of(source, options);
  const std::vector<Allocation> allocations = allocations_of(source, options);
  const std::vector<ServedOptimum> served = served_of(source, options, optima);
  const Hardware hardware = hardware_of(options);
  write_json(options.json, json_of(source, optima, allocations, served, hardware));
  if (options.json == "-") return;
  std::vector<double> budgets;
  for (const Optimum& optimum : optima) budgets.push_back(optimum.C);
  for (const Allocation& one : allocations) budgets.push_back(one.C);
  if (source.law) std::cout << law_line(*source.law);
  if (!optima.empty()) std::cout << optimum_table(optima);
  if (!allocations.empty()) {
    std::cout << "Loss at N and D, and the fewest FLOPs with that loss:\n" << allocation_table(allocations);
  }
  for (const ServedOptimum& one : served) budgets.push_back(one.C);
  if (!served.empty()) std::cout << served_table(served);
  if (hardware.peak) std::cout << cost_table(hardware, budgets);
  std::cout << extrapolation_note(source.fit, budgets) << std::flush;
}

}  // namespace

void add_predict_command(CLI::App& app, CommandContext&) {
  auto options = std::make_shared<PredictOptions>();
  CLI::App* command = app.add_subcommand(
      "predict",
      "The compute-optimal model size and token count for a budget, or the budget that suits a size");
  command->add_option(
      "fit", options->fit,
      "fit.json, or the sweep folder that has one; or give --law. With --curve: the sweep folder or CSV "
      "table of finished runs [those of the run's own sweep or table]");
  command->add_option(
      "--law", options->law,
      "Instead of a fit: hoffmann, hoffmann_unrounded, besiroglu, muennighoff_c4, kaplan, or constants "
      "such as E=2,A=1000,alpha=1/3,B=1000,beta=1/4");
  command->add_option("--flops", options->flops, "Training FLOPs, e.g. 1e15 3e15");
  command->add_option("--params", options->params,
                      "Model sizes: the budget and tokens for which each is optimal, e.g. 10M");
  command->add_option("--tokens", options->tokens,
                      "Token counts: the budget and size for which each is optimal, e.g. 2G");
  command->add_flag("--table", options->table,
                    "As --params with the sizes of Hoffmann et al.'s table 3, 400M to 10T");
  command->add_option("--loss-at", options->loss_at,
                      "Pairs of parameters and tokens: the loss of each, and the fewest FLOPs that reach it, "
                      "e.g. 7G 2T 13G 1T");
  command->add_option("--allocation", options->allocation,
                      "Model sizes to spend each of --flops on: as --loss-at, with the tokens that are left");
  command->add_option(
      "--inference-tokens", options->inference_tokens,
      "Tokens of inference over the model's life: the size and tokens of least total cost, e.g. 2T");
  command->add_option("--gpu-flops", options->peak, "Peak of one GPU in FLOP/s, e.g. 989T: adds GPU-hours");
  command->add_option("--mfu", options->mfu, "Share of the peak that training reaches")
      ->capture_default_str();
  command->add_option("--watts", options->watts, "Power of one GPU with its share of the machine: adds kWh");
  command->add_option("--price-per-hour", options->price_hour, "Price of a GPU-hour");
  command->add_option("--price-per-kwh", options->price_kwh, "Price of a kWh");
  add_predict_curve_options(*command, options->curve);
  command->add_option("--json", options->json,
                      "Write the predictions as JSON to a file; - is stdout, instead of the table");
  command->footer(
      "Examples: minichilla predict sweeps/english --flops 1e14 1e15\n"
      "          minichilla predict fit.json --params 10M\n"
      "          minichilla predict --curve sweeps/english/runs/2x32-1.36M-s1-9f86d081 --longer 5M\n"
      "          minichilla predict --law besiroglu --flops 5.76e23 --allocation 280G\n"
      "          minichilla predict --law hoffmann --params 7G --inference-tokens 2T --gpu-flops 989T "
      "--watts 1000\n"
      "N counts the parameters that the fit counted (minichilla fit --params).");
  command->callback([options] { run_predict(*options); });
}

}  // namespace minichilla
