#include "sweeps/analysis/sweep_folder.h"

#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "trainer/files.h"

namespace minichilla {
namespace {

constexpr int kFormat = 1;

}  // namespace

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PlannedRun, run_id, kind, budget, flops_column, size, params,
                                   params_non_embedding, tokens, flops, seed, estimated_s)

std::vector<PlannedRun> read_plan(const std::filesystem::path& sweep) {
  const std::filesystem::path file = sweep / "plan.json";
  if (!std::filesystem::exists(file)) {
    throw InputError(file.string() + ": not there, expected a folder that `minichilla sweep plan` wrote");
  }
  return parse_plan(read_file(file), file.string());
}

std::vector<PlannedRun> parse_plan(const std::string& text, const std::string& file) {
  try {
    const nlohmann::json plan = nlohmann::json::parse(text);
    if (plan.at("format") != kFormat) {
      throw InputError(file + ": found format " + plan.at("format").dump() + ", expected " +
                       std::to_string(kFormat));
    }
    return plan.at("runs").get<std::vector<PlannedRun>>();
  } catch (const nlohmann::json::exception& error) {
    throw InputError(file + ": not a sweep's plan: " + error.what());
  }
}

void write_plan(const std::filesystem::path& sweep, const std::vector<PlannedRun>& runs) {
  // One run a line: people read this file too.
  std::string text = "{\"format\": " + std::to_string(kFormat) + ", \"runs\": [";
  const char* separator = "\n";
  for (const PlannedRun& run : runs) {
    text += separator + nlohmann::json(run).dump();
    separator = ",\n";
  }
  replace_file(sweep / "plan.json", text + "\n]}\n");
}

std::filesystem::path run_folder(const std::filesystem::path& sweep, const std::string& run_id) {
  return sweep / "runs" / run_id;
}

}  // namespace minichilla
