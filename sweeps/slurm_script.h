// The scripts that sbatch is given.
#pragma once

#include <filesystem>
#include <string>

#include "sweeps/slurm_folder.h"

namespace minichilla {

/// `text` as one word of a shell.
std::string shell_quoted(const std::string& text);

/// The worker's script: options.worker_template, or scripts/slurm/worker.sbatch as it was built in. `sweep`
/// and the program become absolute. InputError names file and line of a placeholder that does not exist.
std::string worker_script(const std::filesystem::path& sweep, const std::string& name,
                          const SlurmOptions& options);

/// The script of the job that follows the workers up: scripts/slurm/report.sbatch.
std::string report_script(const std::filesystem::path& sweep, const std::string& name,
                          const SlurmOptions& options);

}  // namespace minichilla
