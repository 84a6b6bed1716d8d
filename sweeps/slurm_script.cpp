#include "sweeps/slurm_script.h"

#include <map>

#include "kernels/error.h"
#include "model/quote.h"
#include "sweeps/slurm_templates.h"
#include "trainer/files.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

using Values = std::map<std::string, std::string>;

std::string list_of_names(const Values& values) {
  std::string names;
  for (const auto& [name, value] : values) names += (names.empty() ? "" : ", ") + name;
  return names;
}

/// Replaces each {{name}}. `file` is for messages.
std::string fill(const std::string& text, const Values& values, const std::string& file) {
  std::string filled;
  std::size_t position = 0;
  for (std::size_t begin; (begin = text.find("{{", position)) != std::string::npos;) {
    const std::size_t end = text.find("}}", begin);
    const std::string name =
        end == std::string::npos ? text.substr(begin + 2, 20) : text.substr(begin + 2, end - begin - 2);
    const auto value = values.find(name);
    if (end == std::string::npos || value == values.end()) {
      const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(begin), '\n');
      throw InputError(file + ":" + std::to_string(line) + ": found the placeholder " + quote(name) +
                       ", expected one of " + list_of_names(values));
    }
    filled += text.substr(position, begin - position) + value->second;
    position = end + 2;
  }
  return filled + text.substr(position);
}

/// For a line of #SBATCH, which knows double quotes and backslashes.
std::string directive_quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string directives(const SlurmOptions& options, bool worker) {
  std::string lines;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) lines += "#SBATCH --" + std::string(name) + "=" + directive_quoted(value) + "\n";
  };
  add("partition", options.partition);
  add("account", options.account);
  add("qos", options.qos);
  if (worker) {
    add("time", options.time);
    add("gres", options.gres);
    add("constraint", options.constraint);
    add("mem", options.mem);
    for (const std::string& extra : options.extra) lines += "#SBATCH " + extra + "\n";
  }
  if (!lines.empty()) lines.pop_back();
  return lines;
}

std::string setup(const SlurmOptions& options) {
  std::string lines;
  for (const std::string& module : options.modules) lines += "module load " + shell_quoted(module) + "\n";
  if (!lines.empty()) lines.pop_back();
  return lines;
}

Values values_of(const fs::path& sweep, const std::string& name, const SlurmOptions& options, bool worker) {
  const fs::path folder = fs::canonical(sweep);
  const fs::path program =
      options.program.empty() ? fs::read_symlink("/proc/self/exe") : fs::path(options.program);
  const std::string minichilla =
      (options.container.empty() ? "" : options.container + " ") + shell_quoted(program.string());
  const std::string quoted_folder = shell_quoted(folder.string());
  return {
      {"name", name},
      {"folder", directive_quoted(folder.string())},
      {"grace", std::to_string(options.grace_s)},
      {"cpus", std::to_string(options.cpus)},
      {"directives", directives(options, worker)},
      {"setup", setup(options)},
      {"sweep", quoted_folder},
      {"minichilla", minichilla},
      {"worker", minichilla + " sweep work " + quoted_folder + " --device " + shell_quoted(options.device)}};
}

}  // namespace

std::string shell_quoted(const std::string& text) {
  const bool plain = !text.empty() && text.find_first_not_of(
                                          "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                          "0123456789_./:=,+-@%") == std::string::npos;
  if (plain) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

std::string worker_script(const fs::path& sweep, const std::string& name, const SlurmOptions& options) {
  const std::string& file = options.worker_template;
  const std::string text = file.empty() ? std::string(kWorkerTemplate) : read_file(file);
  return fill(text, values_of(sweep, name, options, true), file.empty() ? "worker.sbatch" : file);
}

std::string report_script(const fs::path& sweep, const std::string& name, const SlurmOptions& options) {
  return fill(kReportTemplate, values_of(sweep, name, options, false), "report.sbatch");
}

}  // namespace minichilla
