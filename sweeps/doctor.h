// What a look at one run's folder tells: how it stands, whether its files are whole, and why it went wrong.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "trainer/run_directory.h"

namespace minichilla {

struct AttemptReport {
  std::int64_t number = 0;
  std::string owner;    ///< "pid 123 on host"
  std::string outcome;  ///< "done", "diverged", …; "none" while its process lives or when it was killed
  std::string reason;
};

struct CheckpointReport {
  std::int64_t step = 0;
  std::string fault;  ///< empty: whole
};

/// Size of one tensor's values in a checkpoint.
struct TensorNorm {
  std::string name;
  double root_mean_square = 0, largest = 0;  ///< of the absolute values
};

struct Diagnosis {
  std::filesystem::path run;
  std::string state;   ///< "planned", "running", "done", …
  std::string reason;  ///< of a run that diverged, failed or was interrupted
  std::int64_t steps = 0;
  std::vector<AttemptReport> attempts;
  std::vector<CheckpointReport> checkpoints;  ///< ascending
  std::vector<MetricsRow> last_steps;         ///< training rows, at most ten
  double median_gradient_norm = 0;            ///< of all steps before those; not-a-number when there are none
  std::vector<TensorNorm> weights;            ///< of the newest whole checkpoint, largest values first
  std::int64_t weights_step = 0;              ///< that checkpoint's step; 0: none
  std::vector<std::string> faults;            ///< one line each: what is broken or missing
};

/// Reads the run and changes nothing. What cannot be read becomes a fault. InputError when `run` is no run
/// folder.
Diagnosis diagnose(const std::filesystem::path& run);

std::string diagnosis_text(const Diagnosis& diagnosis);
nlohmann::ordered_json diagnosis_json(const Diagnosis& diagnosis);

}  // namespace minichilla
