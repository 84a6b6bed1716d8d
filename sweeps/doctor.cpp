#include "sweeps/doctor.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "model/safetensors.h"
#include "sweeps/text_table.h"
#include "trainer/attempt.h"
#include "trainer/checkpoint.h"
#include "trainer/corpus.h"
#include "trainer/files.h"
#include "trainer/json_fields.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t kLastSteps = 10, kShownTensors = 8;

/// Notes what `look` cannot read as a fault.
void examine(Diagnosis& diagnosis, const std::function<void()>& look) {
  try {
    look();
  } catch (const InputError& error) {
    diagnosis.faults.emplace_back(error.what());
  } catch (const IoError& error) {
    diagnosis.faults.emplace_back(error.what());
  }
}

void examine_attempts(const fs::path& run, Diagnosis& diagnosis) {
  for (const std::int64_t number : numbered_folders(run / "attempts")) {
    const fs::path folder = run / "attempts" / std::to_string(number);
    AttemptReport report{number, "", "none", ""};
    examine(diagnosis, [&] {
      report.owner = describe_owner(folder);
      if (const auto outcome = read_outcome(folder)) {
        report.outcome = outcome->status;
        report.reason = outcome->reason;
      }
    });
    diagnosis.attempts.push_back(std::move(report));
  }
}

std::vector<TensorNorm> norms_of(const fs::path& file) {
  const MappedFile bytes(file);
  std::vector<TensorNorm> norms;
  for (const NamedTensor& tensor : parse_safetensors(bytes.bytes(), file.string()).tensors) {
    double squares = 0, largest = 0;
    for (const float value : tensor.values) {
      squares += double{value} * value;
      largest = std::max(largest, std::abs(double{value}));
    }
    const auto count = static_cast<double>(std::max<std::size_t>(tensor.values.size(), 1));
    norms.push_back({tensor.name, std::sqrt(squares / count), largest});
  }
  std::ranges::stable_sort(norms, std::greater(), &TensorNorm::largest);
  return norms;
}

void examine_checkpoints(const fs::path& run, Diagnosis& diagnosis) {
  for (const std::int64_t step : numbered_folders(run / "checkpoints")) {
    const fs::path folder = run / "checkpoints" / std::to_string(step);
    const std::string fault = checkpoint_fault(folder);
    diagnosis.checkpoints.push_back({step, fault});
    if (fault.empty()) {
      diagnosis.weights_step = step;
    } else {
      diagnosis.faults.push_back(fault);
    }
  }
  if (diagnosis.weights_step == 0) return;
  examine(diagnosis, [&] {
    diagnosis.weights =
        norms_of(run / "checkpoints" / std::to_string(diagnosis.weights_step) / "model.safetensors");
  });
}

void examine_metrics(const fs::path& run, Diagnosis& diagnosis) {
  std::vector<MetricsRow> steps;
  for (MetricsRow& row : read_metrics(run)) {
    if (row.split.empty()) steps.push_back(std::move(row));
  }
  const auto last = steps.end() - static_cast<std::ptrdiff_t>(std::min(kLastSteps, steps.size()));
  diagnosis.last_steps.assign(last, steps.end());
  std::vector<double> norms;
  for (auto row = steps.begin(); row != last; ++row) norms.push_back(row->grad_norm);
  diagnosis.median_gradient_norm = std::numeric_limits<double>::quiet_NaN();
  if (norms.empty()) return;
  const auto middle = norms.begin() + static_cast<std::ptrdiff_t>(norms.size() / 2);
  std::nth_element(norms.begin(), middle, norms.end());
  diagnosis.median_gradient_norm = *middle;
}

/// The state that the files tell, with a dead owner's "running" corrected.
void examine_state(const fs::path& run, Diagnosis& diagnosis) {
  const RunRecord record = read_run(run);
  RunState state = record.state;
  if (state == RunState::running && !owner_is_alive(newest_attempt(run))) {
    state = RunState::interrupted;
    diagnosis.reason = "its process is gone without a word: killed, or the machine went down";
  }
  diagnosis.state = name_of(state);
  diagnosis.steps = record.config.train.steps();
  if (record.result) diagnosis.reason = record.result->reason;
  if (!record.result && !diagnosis.attempts.empty() && diagnosis.reason.empty()) {
    diagnosis.reason = diagnosis.attempts.back().reason;
  }
  open_corpus(record.config.data.corpus);  // is it there, and is it whole at first sight?
}

std::string attempts_text(const Diagnosis& diagnosis) {
  if (diagnosis.attempts.empty()) return "";
  TextTable table({{"attempt"},
                   {"owner", TextTable::Align::left},
                   {"outcome", TextTable::Align::left},
                   {"reason", TextTable::Align::left}});
  for (const AttemptReport& attempt : diagnosis.attempts) {
    table.add({std::to_string(attempt.number), attempt.owner, attempt.outcome,
               attempt.reason == diagnosis.reason ? "as above" : attempt.reason});
  }
  return "\n" + table.text();
}

std::string checkpoints_text(const Diagnosis& diagnosis) {
  std::string text;
  for (const CheckpointReport& checkpoint : diagnosis.checkpoints) {
    text += "checkpoint   after step " + std::to_string(checkpoint.step) + ": " +
            (checkpoint.fault.empty() ? "whole" : "broken") + "\n";
  }
  return text;
}

std::string steps_text(const Diagnosis& diagnosis) {
  if (diagnosis.last_steps.empty()) return "";
  TextTable table({{"step"}, {"loss"}, {"gradient norm"}, {"learning rate"}});
  for (const MetricsRow& row : diagnosis.last_steps) {
    table.add({std::to_string(row.step),
               (row.loss < 1000 ? format_fixed(row.loss, 4) : format_short(row.loss)),
               format_short(row.grad_norm), format_short(row.lr)});
  }
  std::string text = "\nthe last steps";
  if (std::isfinite(diagnosis.median_gradient_norm)) {
    text +=
        " (median gradient norm of all steps before: " + format_short(diagnosis.median_gradient_norm) + ")";
  }
  return text + "\n" + table.text();
}

std::string weights_text(const Diagnosis& diagnosis) {
  if (diagnosis.weights.empty()) return "";
  TextTable table({{"tensor", TextTable::Align::left}, {"root mean square"}, {"largest |value|"}});
  for (std::size_t i = 0; i < std::min(kShownTensors, diagnosis.weights.size()); ++i) {
    const TensorNorm& norm = diagnosis.weights[i];
    table.add({norm.name, format_short(norm.root_mean_square), format_short(norm.largest)});
  }
  return "\nweights after step " + std::to_string(diagnosis.weights_step) + ", largest first\n" +
         table.text();
}

/// What to do about it, in one sentence.
std::string advice(const Diagnosis& diagnosis) {
  if (diagnosis.state == "diverged") {
    return "try a lower train.optimizer.learning_rate, a longer train.schedule.warmup or a smaller "
           "train.optimizer.clip in a new run folder; this config would do the same again";
  }
  if (diagnosis.state == "interrupted" || diagnosis.state == "failed") {
    return "the command that trained this run goes on from " +
           (diagnosis.weights_step > 0 ? "step " + std::to_string(diagnosis.weights_step) : "its beginning");
  }
  return "";
}

}  // namespace

Diagnosis diagnose(const fs::path& run) {
  std::error_code error;
  if (!fs::exists(run / "config.yaml", error)) {
    throw InputError(run.string() +
                     ": found no config.yaml, expected the folder of a run (of a sweep: "
                     "SWEEP/runs/RUN-ID)");
  }
  Diagnosis diagnosis;
  diagnosis.run = run;
  diagnosis.state = "unreadable";
  examine(diagnosis, [&] { examine_attempts(run, diagnosis); });
  examine(diagnosis, [&] { examine_checkpoints(run, diagnosis); });
  examine(diagnosis, [&] { examine_metrics(run, diagnosis); });
  examine(diagnosis, [&] { examine_state(run, diagnosis); });
  return diagnosis;
}

std::string diagnosis_text(const Diagnosis& diagnosis) {
  std::string text = "run          " + diagnosis.run.string() + "\nstate        " + diagnosis.state;
  if (!diagnosis.last_steps.empty()) {
    text += ", " + std::to_string(diagnosis.last_steps.back().step) + " of " +
            std::to_string(diagnosis.steps) + " steps logged";
  }
  text += "\n" + (diagnosis.reason.empty() ? "" : "reason       " + diagnosis.reason + "\n");
  text += checkpoints_text(diagnosis) + attempts_text(diagnosis);
  if (diagnosis.state == "diverged") text += steps_text(diagnosis) + weights_text(diagnosis);
  for (const std::string& fault : diagnosis.faults) text += "\nfault: " + fault;
  if (!diagnosis.faults.empty()) text += "\n";
  const std::string what_next = advice(diagnosis);
  return text + (what_next.empty() ? "" : "\n" + what_next + "\n");
}

Json diagnosis_json(const Diagnosis& diagnosis) {
  Json json = {{"run", diagnosis.run.string()},
               {"state", diagnosis.state},
               {"reason", diagnosis.reason},
               {"steps", diagnosis.steps},
               {"attempts", Json::array()},
               {"checkpoints", Json::array()},
               {"last_steps", Json::array()},
               {"median_gradient_norm", finite_or_null(diagnosis.median_gradient_norm)},
               {"weights_step", diagnosis.weights_step},
               {"weights", Json::array()},
               {"faults", diagnosis.faults}};
  for (const AttemptReport& attempt : diagnosis.attempts) {
    json["attempts"].push_back({{"number", attempt.number},
                                {"owner", attempt.owner},
                                {"outcome", attempt.outcome},
                                {"reason", attempt.reason}});
  }
  for (const CheckpointReport& checkpoint : diagnosis.checkpoints) {
    json["checkpoints"].push_back({{"step", checkpoint.step}, {"fault", checkpoint.fault}});
  }
  for (const MetricsRow& row : diagnosis.last_steps) {
    json["last_steps"].push_back({{"step", row.step},
                                  {"loss", finite_or_null(row.loss)},
                                  {"grad_norm", finite_or_null(row.grad_norm)},
                                  {"lr", row.lr}});
  }
  for (const TensorNorm& norm : diagnosis.weights) {
    json["weights"].push_back({{"tensor", norm.name},
                               {"root_mean_square", finite_or_null(norm.root_mean_square)},
                               {"largest", finite_or_null(norm.largest)}});
  }
  return json;
}

}  // namespace minichilla
