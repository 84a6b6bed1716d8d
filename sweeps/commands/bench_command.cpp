// minichilla bench: how fast this machine is, at most and in training.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/config_fields.h"
#include "model/quote.h"
#include "sweeps/bench_report.h"
#include "sweeps/commands/commands.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/device_choice.h"
#include "sweeps/machine.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

struct BenchCommandOptions {
  std::string device = "auto", precision = "fp32", products = kLibraryProducts, json_file;
  std::vector<std::string> only = {"peak", "operations", "steps"}, shapes = {"S", "M", "L"};
  int threads = 0;  ///< 0: all cores
  double seconds = BenchOptions{}.seconds;
};

void check_choice(const char* option, const std::string& found, const std::vector<std::string>& names) {
  if (std::ranges::find(names, found) != names.end()) return;
  std::string expected;
  for (const std::string& name : names) expected += (expected.empty() ? "" : ", ") + name;
  const std::string near = nearest_name(found, names);
  throw InputError(std::string(option) + ": found " + quote(found) + ", expected one of " + expected +
                   (near.empty() ? "" : "; did you mean " + near + "?"));
}

BenchOptions bench_options(const BenchCommandOptions& options) {
  const std::vector<std::string> parts = {"peak", "operations", "steps"};
  for (const std::string& part : options.only) check_choice("--only", part, parts);
  std::vector<std::string> names;
  for (const BenchShape& shape : bench_shapes()) names.push_back(shape.name);
  for (const std::string& name : options.shapes) check_choice("--shapes", name, names);

  const auto among = [](const std::vector<std::string>& words, const std::string& word) {
    return std::ranges::find(words, word) != words.end();
  };
  BenchOptions result;
  for (const BenchShape& shape : bench_shapes()) {
    if (among(options.shapes, shape.name)) result.shapes.push_back(shape);
  }
  result.peak = among(options.only, "peak");
  result.operations = among(options.only, "operations");
  result.steps = among(options.only, "steps");
  result.precision = precision_of(options.precision);
  result.seconds = options.seconds;
  return result;
}

ChosenDevice chosen_device(const BenchCommandOptions& options, int threads) {
  check_choice("--precision", options.precision, {"fp32", "tf32", "bf16"});
  try {
    return choose_device(options.device, options.precision, threads, options.products);
  } catch (const InputError& error) {
    // There is no config here: the key that it names is an option.
    const std::string key = "train.precision", message = error.what();
    throw InputError(message.starts_with(key) ? "--precision" + message.substr(key.size()) : message);
  }
}

void run_bench(const BenchCommandOptions& options, CommandContext& context) {
  BenchOptions what = bench_options(options);
  const int threads = options.threads > 0 ? options.threads : usable_cores();
  const ChosenDevice chosen = chosen_device(options, threads);
  BenchReport report{options.precision, options.seconds, {}};
  try {
    ProgressLine progress;
    if (!chosen.note.empty()) progress.print(chosen.note + "; measuring the CPU");
    what.on_progress = [&](const std::string& now) {
      if (context.stop.requested()) throw Interrupted();
      progress.update(now);
    };
    if (chosen.device->name() == "cpu" && threads > 1) {
      report.figures.push_back(bench(*make_cpu_device(1, precision_of(options.precision)), what));
    }
    report.figures.push_back(bench(*chosen.device, what));
  } catch (const Interrupted&) {
    std::fputs("minichilla: interrupted, nothing was written\n", stderr);
    context.status = kInterrupted;
    return;
  }
  if (options.json_file != "-") std::fputs(bench_text(report).c_str(), stdout);
  write_json(options.json_file, bench_json(report));
}

}  // namespace

void add_bench_command(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<BenchCommandOptions>();
  CLI::App* command = app.add_subcommand(
      "bench", "Measure this machine: its peak, each operation, whole training steps of three models");
  command->add_option("--device", options->device, std::string("What to measure: ") + kDeviceChoices)
      ->capture_default_str()
      ->type_name("DEVICE");
  command->add_option("--precision", options->precision, "fp32 or bf16, or on a GPU tf32")
      ->capture_default_str()
      ->type_name("NAME");
  command->add_option("--products", options->products, kProductsHelp)
      ->capture_default_str()
      ->type_name("PRODUCTS");
  command
      ->add_option("--threads", options->threads,
                   "Of the CPU: measured with one thread and with so many; default: all cores")
      ->check(CLI::PositiveNumber);
  command->add_option("--only", options->only, "Some of peak, operations, steps, with commas between")
      ->delimiter(',')
      ->type_name("PARTS");
  command
      ->add_option("--shapes", options->shapes,
                   "Some of S, M, L (these by default) and 124M, with commas between")
      ->delimiter(',')
      ->type_name("NAMES");
  command->add_option("--seconds", options->seconds, "Of each measurement")
      ->check(CLI::Range(1e-6, 3600.0))
      ->capture_default_str();
  command->add_option("--json", options->json_file, "Write all of it there as JSON ('-': stdout, no table)")
      ->type_name("FILE");
  command->footer(
      "Examples:\n"
      "  minichilla bench\n"
      "  minichilla bench --only peak,steps --shapes L --json bench.json\n"
      "  minichilla bench --device cuda --precision bf16\n"
      "Shares are of the peak that was measured in the same run, so they need peak among the parts; "
      "'paired'\n"
      "are those of the CPU's peak measured around each sample, their median.\n"
      "Exit status: 0 done, 2 bad input, 74 input/output, 75 interrupted.");
  command->callback([options, &context] { run_bench(*options, context); });
}

}  // namespace minichilla
