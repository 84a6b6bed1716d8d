#include "sweeps/analysis/sweep_folder.h"

#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/quote.h"
#include "trainer/files.h"
#include "trainer/json_fields.h"

namespace minichilla {
namespace {

constexpr int kFormat = 1;

nlohmann::json json_of(const PlannedRun& run) {
  return {{"run_id", run.run_id},
          {"kind", run.kind},
          {"budget", run.budget},
          {"flops_column", run.flops_column},
          {"size", run.size},
          {"params", run.params},
          {"params_non_embedding", run.params_non_embedding},
          {"tokens", run.tokens},
          {"flops", run.flops},
          {"seed", run.seed},
          {"estimated_s", run.estimated_s}};
}

PlannedRun run_of(const nlohmann::json& json, const std::string& where) {
  if (!json.is_object()) throw InputError(where + ": found " + found_json(json) + ", expected an object");
  PlannedRun run;
  run.run_id = json_text(json, "run_id", where);
  if (run.run_id.empty() || run.run_id.starts_with('.') || run.run_id.find('/') != std::string::npos) {
    throw InputError(where + ": run_id: found " + quote(run.run_id) +
                     ", expected the plain name of a folder");
  }
  run.kind = json_text(json, "kind", where);
  run.budget = json_finite(json, "budget", where);
  run.flops_column = json_text(json, "flops_column", where);
  run.size = json_text(json, "size", where);
  run.params = json_whole(json, "params", where);
  run.params_non_embedding = json_whole(json, "params_non_embedding", where);
  run.tokens = json_whole(json, "tokens", where);
  run.flops = json_finite(json, "flops", where);
  run.seed = static_cast<std::uint64_t>(json_whole(json, "seed", where));
  run.estimated_s = json_finite(json, "estimated_s", where);
  return run;
}

}  // namespace

std::vector<PlannedRun> read_plan(const std::filesystem::path& sweep) {
  const std::filesystem::path file = sweep / "plan.json";
  if (!std::filesystem::exists(file)) {
    throw InputError(file.string() + ": not there, expected a folder that `minichilla sweep plan` wrote");
  }
  return parse_plan(read_file(file), file.string());
}

std::vector<PlannedRun> parse_plan(const std::string& text, const std::string& file) {
  const nlohmann::json plan = parse_json_object(text, file);
  if (const std::int64_t format = json_whole(plan, "format", file); format != kFormat) {
    throw InputError(file + ": found format " + std::to_string(format) + ", expected " +
                     std::to_string(kFormat));
  }
  const auto runs = plan.find("runs");
  if (runs == plan.end() || !runs->is_array())
    throw InputError(file + ": runs: missing, expected a list of runs");
  std::vector<PlannedRun> planned;
  for (const nlohmann::json& run : *runs) {
    planned.push_back(run_of(run, file + ": runs[" + std::to_string(planned.size()) + "]"));
  }
  return planned;
}

void write_plan(const std::filesystem::path& sweep, const std::vector<PlannedRun>& runs) {
  // One run a line: people read this file too.
  std::string text = "{\"format\": " + std::to_string(kFormat) + ", \"runs\": [";
  const char* separator = "\n";
  for (const PlannedRun& run : runs) {
    text += separator + json_of(run).dump();
    separator = ",\n";
  }
  replace_file(sweep / "plan.json", text + "\n]}\n");
}

std::filesystem::path run_folder(const std::filesystem::path& sweep, const std::string& run_id) {
  return sweep / "runs" / run_id;
}

}  // namespace minichilla
