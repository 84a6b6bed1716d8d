// minichilla train: one run.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "kernels/error.h"
#include "model/flops.h"
#include "model/parameters.h"
#include "sweeps/commands/commands.h"
#include "sweeps/commands/device_options.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/device_choice.h"
#include "sweeps/machine.h"
#include "sweeps/speeds.h"
#include "sweeps/text_table.h"
#include "trainer/calibration.h"
#include "trainer/corpus.h"
#include "trainer/files.h"
#include "trainer/progress_line.h"
#include "trainer/run_memory.h"
#include "trainer/schedule.h"

namespace minichilla {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kCalibrationSeconds = 2;

struct TrainOptions {
  std::string config_file, output, json_file, resume_from;
  std::string device = "auto", products = kLibraryProducts;
  std::vector<std::string> assignments;
  int threads = 0;  ///< 0: as many as help
  bool dry_run = false, quiet = false;
};

/// A run as the command line asks for it.
struct Request {
  std::shared_ptr<const Corpus> corpus;
  RunConfig config;  ///< resolved
  int threads;
};

Request read_request(const TrainOptions& options) {
  const YAML::Node map = load_yaml(options.config_file);
  if (map.IsMap() && map["sweep"]) {
    throw InputError(options.config_file +
                     ": sweep: found a sweep, expected the config of one run; use minichilla "
                     "sweep plan " +
                     options.config_file + " --output SWEEP");
  }
  for (const std::string& assignment : options.assignments) set_path(map, assignment);
  Request request;
  read_config(map, options.config_file, request.config);
  if (request.config.data.corpus.empty()) {
    throw InputError(options.config_file +
                     ": data.corpus: missing, expected the folder of a corpus from minichilla "
                     "data prepare");
  }
  request.corpus = open_corpus(request.config.data.corpus);
  try {
    request.config = resolved(request.config, *request.corpus);
  } catch (const InputError& error) {
    throw InputError(options.config_file + ": " + error.what());
  }
  const int useful = std::min(usable_cores(), request.config.train.gradient_slots);
  request.threads = options.threads > 0 ? options.threads : useful;
  return request;
}

ChosenDevice chosen_device(const TrainOptions& options, const Request& request) {
  try {
    return choose_device(options.device, request.config.train.precision, request.threads, options.products);
  } catch (const InputError& error) {
    const bool of_config = std::string_view(error.what()).starts_with("train.");
    throw InputError((of_config ? options.config_file + ": " : "") + error.what());
  }
}

Json memory_json(const RunMemory& memory) {
  Json json;
  for (const MemoryPart& part : memory.parts) json[part.key] = part.bytes;
  json["total"] = memory.total();
  return json;
}

template <class Value>
Json or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

/// What a run will be and cost, as the --dry-run shows it; without a speed where none was measured.
Json plan_json(const Request& request, const Device& device, const RunMemory& memory,
               std::optional<double> tokens_per_s) {
  const RunConfig& config = request.config;
  const TrainConfig& train = config.train;
  const int vocabulary = request.corpus->vocabulary();
  const ParameterTable table(config.model, vocabulary);
  const FlopsPerToken per_token = flops_per_token(config.model, vocabulary);
  const LearningRateSchedule schedule(train.schedule, train.optimizer.learning_rate, train.steps());
  const std::int64_t whole_tokens = train.steps() * train.batch_tokens;
  const auto tokens = static_cast<double>(whole_tokens);
  std::optional<double> estimated_s;
  if (tokens_per_s) {
    const double training_s = tokens / *tokens_per_s;
    // An evaluation is a forward pass, a third of a training step.
    estimated_s = training_s + evaluated_tokens(train, training_s) / 3 / *tokens_per_s;
  }
  return {{"run_id", run_id(config, request.corpus->hash())},
          {"params", table.params()},
          {"params_non_embedding", table.params_non_embedding()},
          {"tokens", whole_tokens},
          {"tokens_per_param", tokens / static_cast<double>(table.params())},
          {"epochs", tokens / static_cast<double>(request.corpus->split("train").tokens())},
          {"steps", train.steps()},
          {"warmup_steps", schedule.warmup_steps()},
          {"batch_sequences", train.batch_tokens / config.model.context_length},
          {"flops", tokens * per_token.flops},
          {"flops_hoffmann", tokens * per_token.flops_hoffmann},
          {"flops_6nd", tokens * per_token.flops_6nd},
          {"memory_bytes", memory_json(memory)},
          {"memory_available", or_null(memory_for_run(device))},
          {"device", device.name()},
          {"lanes", device.lanes()},
          {"tokens_per_s", or_null(tokens_per_s)},
          {"estimated_s", or_null(estimated_s)}};
}

/// The total, then a line for each part that there is, to the byte.
void print_memory(const RunMemory& memory, const Device& device) {
  const std::optional<std::uint64_t> available = memory_for_run(device);
  const std::string of = available ? " of " + format_bytes(*available) + " free" : "";
  std::printf("memory       %zu bytes (%s)%s on %s\n", memory.total(), format_bytes(memory.total()).c_str(),
              of.c_str(), device.name().c_str());
  for (const MemoryPart& part : memory.parts) {
    if (part.bytes > 0) std::printf("  %14zu %s\n", part.bytes, part.words);
  }
}

void print_plan(const Json& plan, const RunMemory& memory, const Device& device) {
  const auto count = [&](const char* key) { return format_count(plan[key].get<double>()); };
  std::printf("run          %s\n", plan["run_id"].get<std::string>().c_str());
  std::printf("parameters   %s, %s without embeddings\n", count("params").c_str(),
              count("params_non_embedding").c_str());
  std::printf("tokens       %s: %.3g per parameter, %.3g epochs\n", count("tokens").c_str(),
              plan["tokens_per_param"].get<double>(), plan["epochs"].get<double>());
  std::printf("steps        %lld of %lld sequences, the first %lld warm up\n",
              static_cast<long long>(plan["steps"].get<std::int64_t>()),
              static_cast<long long>(plan["batch_sequences"].get<std::int64_t>()),
              static_cast<long long>(plan["warmup_steps"].get<std::int64_t>()));
  std::printf("FLOPs        %.3g asked for, %.3g as Hoffmann et al. count, %.3g as 6ND\n",
              plan["flops"].get<double>(), plan["flops_hoffmann"].get<double>(),
              plan["flops_6nd"].get<double>());
  print_memory(memory, device);
  if (plan["estimated_s"].is_null()) return;
  const int lanes = device.lanes();
  const std::string where =
      device.name() == "cpu" ? std::to_string(lanes) + (lanes == 1 ? " thread" : " threads") : device.name();
  std::printf("time         %s at %s tokens/s, measured on %s\n",
              format_duration(plan["estimated_s"].get<double>()).c_str(), count("tokens_per_s").c_str(),
              where.c_str());
}

void dry_run(const TrainOptions& options, const Request& request) {
  const ChosenDevice chosen = chosen_device(options, request);
  Device& device = *chosen.device;
  const int vocabulary = request.corpus->vocabulary();
  const std::string refusal = memory_refusal(request.config, vocabulary, device);
  std::optional<double> tokens_per_s;
  if (refusal.empty())
    tokens_per_s = measure_tokens_per_s(request.config, vocabulary, device, kCalibrationSeconds);
  const RunMemory memory = run_memory(request.config, vocabulary, device);
  const Json plan = plan_json(request, device, memory, tokens_per_s);
  if (options.json_file != "-") print_plan(plan, memory, device);
  write_json(options.json_file, plan);
  if (!refusal.empty()) throw InputError(refusal);
}

std::string progress_text(const Progress& progress) {
  char text[200];
  const int length =
      std::snprintf(text, sizeof text, "step %lld/%lld  loss %.4f", static_cast<long long>(progress.step),
                    static_cast<long long>(progress.steps), progress.loss);
  std::string line(text, static_cast<std::size_t>(length));
  if (std::isfinite(progress.val_loss)) {
    std::snprintf(text, sizeof text, "  val %.4f", progress.val_loss);
    line += text;
  }
  return line + "  " + format_count(progress.tokens_per_s) + " tokens/s  ETA " +
         format_duration(progress.eta_s);
}

void print_summary(const RunResult& result) {
  std::printf(
      "done: %s  validation loss %.4f nats per token, %.4f bits per byte  train loss %.4f  %s parameters  "
      "%s tokens  %.3g FLOPs  %s, %s tokens/s\n",
      result.run_id.c_str(), result.val_loss, result.val_bits_per_byte, result.train_loss,
      format_count(static_cast<double>(result.params)).c_str(),
      format_count(static_cast<double>(result.tokens)).c_str(), result.flops,
      format_duration(result.wall_s).c_str(), format_count(result.tokens_per_s).c_str());
}

/// `word` as a shell takes it for one word.
std::string shell_word(const std::string& word) {
  static constexpr char kPlain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./=:,+@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char letter : word) quoted += letter == '\'' ? "'\\''" : std::string(1, letter);
  return quoted + "'";
}

/// The command line that asks for the same once more.
std::string same_command(const TrainOptions& options) {
  std::string command =
      "minichilla train " + shell_word(options.config_file) + " --output " + shell_word(options.output);
  for (const std::string& assignment : options.assignments) command += " --set " + shell_word(assignment);
  if (!options.resume_from.empty()) command += " --resume-from " + shell_word(options.resume_from);
  if (options.threads > 0) command += " --threads " + std::to_string(options.threads);
  if (options.quiet) command += " --quiet";
  if (!options.json_file.empty()) command += " --json " + shell_word(options.json_file);
  return command;
}

int report(const TrainOptions& options, const Outcome& outcome) {
  if (outcome.kind == Outcome::Kind::interrupted) {
    std::fprintf(stderr, "minichilla: %s:\n  %s\n", outcome.message.c_str(), same_command(options).c_str());
    return kInterrupted;
  }
  write_json(options.json_file, Json::parse(result_json(outcome.result)));
  if (outcome.kind == Outcome::Kind::diverged) {
    std::fprintf(
        stderr,
        "minichilla: diverged: %s; a lower train.optimizer.learning_rate or a longer warmup may help\n",
        outcome.message.c_str());
    return kDiverged;
  }
  if (options.json_file != "-") print_summary(outcome.result);
  return 0;
}

Outcome train_with_progress(const TrainOptions& options, const Request& request, StopToken stop) {
  const ChosenDevice chosen = chosen_device(options, request);
  ProgressLine progress;
  if (!chosen.note.empty() && !options.quiet) progress.print(chosen.note + "; training on the CPU");
  TrainContext context{*chosen.device, *request.corpus};
  context.resume_from = options.resume_from;
  context.on_warning = [&](const std::string& message) { progress.print("minichilla: warning: " + message); };
  if (!options.quiet) {
    context.on_progress = [&](const Progress& now) { progress.update(progress_text(now)); };
  }
  try {
    return train(request.config, context, options.output, stop);
  } catch (const IoError& error) {
    throw IoError(
        std::string(error.what()) +
        "; nothing that was checkpointed is lost: once there is room, or what failed is mended, the "
        "same command goes on");
  }
}

}  // namespace

void add_train_command(CLI::App& app, CommandContext& context) {
  CLI::App* command =
      app.add_subcommand("train", "Train one run; goes on by itself when RUN has a checkpoint");
  auto options = std::make_shared<TrainOptions>();
  command->add_option("CONFIG", options->config_file, "YAML file with model, data and train")->required();
  CLI::Option* output =
      command->add_option("--output", options->output, "Folder of the run")->type_name("RUN");
  command->add_option("--set", options->assignments, "Change a key of the config; may be repeated")
      ->type_name("path=value")
      ->allow_extra_args(false);
  command
      ->add_option("--threads", options->threads, "Threads; default: all cores, at most train.gradient_slots")
      ->check(CLI::PositiveNumber);
  add_device_options(*command, "Where to train", options->device, options->products);
  command->add_flag("--dry-run", options->dry_run,
                    "Show size, cost, memory and time of the run; train nothing");
  command
      ->add_option("--json", options->json_file,
                   "Write the result (with --dry-run: the plan) there as JSON ('-': stdout)")
      ->type_name("FILE");
  command
      ->add_option(
          "--resume-from", options->resume_from,
          "Begin at this checkpoint of another run of the same config and corpus, when RUN has none of its "
          "own yet")
      ->type_name("CHECKPOINT");
  command->add_flag("--quiet", options->quiet, "No progress on stderr");
  command->footer(
      "Examples:\n"
      "  minichilla train configs/shakespeare_char.yaml --dry-run\n"
      "  minichilla train configs/shakespeare_char.yaml --output runs/shakespeare "
      "--set train.optimizer.learning_rate=0.002\n"
      "  minichilla train configs/shakespeare_char.yaml --output runs/again "
      "--resume-from runs/shakespeare/checkpoints/1000\n"
      "metrics.jsonl has a row per step, of longer runs 4000; --set 'train.log.every=1 step' writes all.\n"
      "Exit status: 0 done, 2 bad input, 3 diverged, 74 input/output, 75 interrupted (the same command goes "
      "on).");
  command->callback([options, output, &context] {
    const Request request = read_request(*options);
    if (options->dry_run) return dry_run(*options, request);
    if (output->count() == 0)
      throw InputError("--output: missing, expected the folder of the run (or --dry-run)");
    check_output_folder(options->output);
    context.status = report(*options, train_with_progress(*options, request, context.stop));
  });
}

}  // namespace minichilla
