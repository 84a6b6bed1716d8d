#include "sweeps/slurm_client.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <sstream>

#include "kernels/error.h"
#include "model/quote.h"
#include "sweeps/external_tool.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kPatience{
    60};  // a busy controller answers late, and the tools try again themselves
constexpr const char* kSqueueFormat = "%i|%A|%F|%T|%r|%M|%L|%N|%j";
constexpr std::size_t kSqueueFields = 9;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  if (!text.empty() && text.back() == separator) parts.emplace_back();
  return parts;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

/// The last line that says something, without "sbatch: error: " before it.
std::string complaint(const std::string& tool, const ToolResult& result) {
  std::string best;
  for (const std::string& line : split(result.errors, '\n')) {
    if (!line.empty()) best = line;
  }
  for (const std::string& prefix : {tool + ": ", std::string("fatal: "), std::string("error: "),
                                    std::string("slurm_load_jobs error: ")}) {
    if (best.starts_with(prefix)) best.erase(0, prefix.size());
  }
  return best.empty() ? "it said nothing" : printable(best);
}

bool out_of_reach(const std::string& said) {
  static constexpr const char* kSigns[] = {"Unable to contact", "onnection refused", "timed out",
                                           "connect failure",   "not responding",    "in standby mode"};
  return std::any_of(std::begin(kSigns), std::end(kSigns),
                     [&](const char* sign) { return said.find(sign) != std::string::npos; });
}

[[noreturn]] void refuse(const std::string& tool, const ToolResult& result) {
  const std::string said = complaint(tool, result);
  const std::string message = tool + ": failed with status " + std::to_string(result.status) + ": " + said;
  if (out_of_reach(said)) throw SlurmUnreachable(message + "; try again when SLURM's controller answers");
  throw InputError(message);
}

fs::path find_tool(const std::string& tool) {
  const fs::path program = find_program(tool);
  if (!program.empty()) return program;
  throw InputError(tool + ": found no such program in PATH, expected SLURM's commands on this machine");
}

ToolResult ask(const std::string& tool, const std::vector<std::string>& arguments,
               const std::vector<std::string>& hidden = {}) {
  const fs::path program = find_tool(tool);
  ToolResult result = run_tool(program, arguments, kPatience, hidden);
  if (result.timed_out) {
    throw SlurmUnreachable(tool + ": gave no answer for " + std::to_string(kPatience.count()) +
                           " s; try again when SLURM's controller answers");
  }
  return result;
}

/// The value behind "key=" in a line of scontrol; empty when it is not there.
std::string field(const std::string& line, const std::string& key) {
  const std::string sought = " " + key + "=";
  const std::size_t at = (" " + line).find(sought);
  if (at == std::string::npos) return {};
  const std::size_t begin = at + sought.size() - 1;
  return line.substr(begin, line.find(' ', begin) - begin);
}

}  // namespace

bool SlurmJob::living() const {
  static const std::set<std::string> kEnded = {"BOOT_FAIL",     "CANCELLED", "COMPLETED", "DEADLINE",
                                               "FAILED",        "NODE_FAIL", "PREEMPTED", "REVOKED",
                                               "OUT_OF_MEMORY", "TIMEOUT"};
  return !kEnded.contains(state);
}

bool SlurmJob::launch_failed() const {
  // Later versions write "launch_failed_requeued_held".
  return pending() && (reason.starts_with("launch failed") || reason.starts_with("launch_failed"));
}

double parse_slurm_time(const std::string& text) {
  double days = 0, seconds = 0;
  std::string rest = text;
  if (const std::size_t dash = rest.find('-'); dash != std::string::npos) {
    days = std::atof(rest.substr(0, dash).c_str());
    rest = rest.substr(dash + 1);
  }
  if (rest.empty() || rest.find_first_not_of("0123456789:") != std::string::npos) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const std::vector<std::string> parts = split(rest, ':');
  for (const std::string& part : parts) seconds = 60 * seconds + std::atof(part.c_str());
  if (rest != text) seconds *= std::pow(60, 3 - static_cast<int>(parts.size()));  // hours come after days
  return 86400 * days + seconds;
}

std::vector<SlurmJob> parse_squeue(const std::string& text) {
  std::vector<SlurmJob> jobs;
  for (const std::string& line : split(text, '\n')) {
    if (line.empty()) continue;
    const std::vector<std::string> fields = split(line, '|');
    if (fields.size() != kSqueueFields) {
      throw InputError("squeue: found the line " + quote(line) + ", expected " +
                       std::to_string(kSqueueFields) + " fields as in " + kSqueueFormat);
    }
    SlurmJob job{fields[0], fields[1], fields[2], fields[8], fields[3], fields[4], fields[7]};
    job.elapsed_s = parse_slurm_time(fields[5]);
    job.left_s = parse_slurm_time(fields[6]);
    jobs.push_back(std::move(job));
  }
  return jobs;
}

std::map<std::string, SlurmDetail> parse_scontrol_jobs(const std::string& text) {
  std::map<std::string, SlurmDetail> details;
  for (const std::string& line : split(text, '\n')) {
    const std::string id = field(line, "JobId");
    if (id.empty()) continue;
    SlurmDetail detail;
    detail.restarts = static_cast<int>(std::strtol(field(line, "Restarts").c_str(), nullptr, 10));
    const std::string preempted = field(line, "PreemptTime");
    detail.preempted = !preempted.empty() && preempted != "None";
    const double ran = parse_slurm_time(field(line, "RunTime"));
    detail.timed_out = ran > 0 && ran >= parse_slurm_time(field(line, "TimeLimit"));
    details[id] = detail;
  }
  return details;
}

void require_slurm() {
  for (const char* tool : {"squeue", "scontrol", "sbatch"}) find_tool(tool);
}

std::vector<SlurmJob> slurm_jobs(const std::vector<std::string>& names) {
  const ToolResult result =
      ask("squeue", {"-h", "-r", "-t", "all", "-n", joined(names), "-o", kSqueueFormat});
  if (result.status != 0) refuse("squeue", result);
  return parse_squeue(result.output);
}

std::map<std::string, SlurmDetail> slurm_details(const std::string& job) {
  const ToolResult result = ask("scontrol", {"-o", "show", "job", job});
  if (result.status != 0 && result.errors.find("Invalid job id") == std::string::npos) {
    refuse("scontrol", result);
  }
  return parse_scontrol_jobs(result.output);
}

std::map<std::string, std::string> slurm_accounted_states(const std::vector<std::string>& jobs) {
  std::map<std::string, std::string> states;
  if (jobs.empty() || find_program("sacct").empty()) return states;
  const ToolResult result = run_tool(
      find_program("sacct"), {"-n", "-P", "-X", "-j", joined(jobs), "-o", "JobIDRaw,State"}, kPatience);
  if (result.status != 0) return states;  // accounting is off on many clusters
  for (const std::string& line : split(result.output, '\n')) {
    const std::vector<std::string> fields = split(line, '|');
    // "CANCELLED by 1000"
    if (fields.size() == 2) states[fields[0]] = fields[1].substr(0, fields[1].find(' '));
  }
  return states;
}

double slurm_time_left(const std::string& job) {
  const fs::path squeue = find_program("squeue");
  if (squeue.empty()) return std::numeric_limits<double>::quiet_NaN();
  const ToolResult result = run_tool(squeue, {"-h", "-j", job, "-o", "%L"}, kPatience);
  return parse_slurm_time(result.output.substr(0, result.output.find_first_of(" \n")));
}

int slurm_max_array_size() {
  const ToolResult result = ask("scontrol", {"show", "config"});
  if (result.status != 0) refuse("scontrol", result);
  for (const std::string& line : split(result.output, '\n')) {
    if (!line.starts_with("MaxArraySize")) continue;
    const long size = std::strtol(line.substr(line.find('=') + 1).c_str(), nullptr, 10);
    if (size > 1) return static_cast<int>(std::min(size, 1'000'000L));
  }
  return 1001;  // SLURM's default
}

std::string slurm_submit(const std::vector<std::string>& options, const fs::path& script) {
  std::vector<std::string> arguments{"--parsable"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.push_back(script.string());
  // Inside a job, that job's own sizes would be taken for what is asked for.
  const ToolResult result = ask("sbatch", arguments,
                                {"SLURM_JOB", "SLURM_MEM", "SLURM_CPUS", "SLURM_NTASKS", "SLURM_NNODES",
                                 "SLURM_ARRAY", "SLURM_TRES", "SLURM_GPUS"});
  if (result.status != 0) refuse("sbatch", result);
  std::string id = result.output.substr(0, result.output.find_first_of(";\n"));  // "12;cluster"
  if (id.empty() || id.find_first_not_of("0123456789") != std::string::npos) {
    throw InputError("sbatch: found " + quote(result.output) + ", expected a job id");
  }
  return id;
}

void slurm_release(const std::vector<std::string>& jobs) {
  if (jobs.empty()) return;
  const ToolResult result = ask("scontrol", {"release", joined(jobs)});
  if (result.status != 0 && result.errors.find("Invalid job id") == std::string::npos &&
      result.errors.find("no longer pending") == std::string::npos) {
    refuse("scontrol", result);
  }
}

void slurm_cancel(const std::vector<std::string>& jobs) {
  if (jobs.empty()) return;
  const ToolResult result = ask("scancel", jobs);
  // One that ended in the meantime needs no cancelling.
  if (result.status != 0 && result.errors.find("Invalid job id") == std::string::npos &&
      result.errors.find("already completing") == std::string::npos) {
    refuse("scancel", result);
  }
}

}  // namespace minichilla
