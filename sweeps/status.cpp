#include "sweeps/status.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "sweeps/run_history.h"
#include "sweeps/slurm_folder.h"
#include "sweeps/text_table.h"
#include "trainer/json_fields.h"
#include "trainer/metrics_log.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kTailBytes = 64 * 1024;

/// The whole lines among the last kTailBytes of a file, oldest first.
std::vector<std::string> last_lines(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary | std::ios::ate);
  if (!stream) return {};
  const std::int64_t size = stream.tellg(), begin = std::max<std::int64_t>(0, size - kTailBytes);
  std::string text(static_cast<std::size_t>(size - begin), '\0');
  stream.seekg(begin);
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  std::size_t position = begin == 0 ? 0 : text.find('\n') + 1;
  if (begin > 0 && position == 0) return {};  // one line longer than the tail
  std::vector<std::string> lines;
  for (std::size_t end; (end = text.find('\n', position)) != std::string::npos; position = end + 1) {
    lines.push_back(text.substr(position, end - position));
  }
  return lines;
}

/// Newest line first, until both a step and an evaluation were seen.
bool read_tail(const fs::path& file, NewestMetrics& metrics) {
  const std::vector<std::string> lines = last_lines(file);
  bool step = false, evaluation = false;
  for (auto line = lines.rbegin(); line != lines.rend() && !(step && evaluation); ++line) {
    MetricsRow row;
    try {
      row = parse_metrics_line(*line, file.string());
    } catch (const InputError&) {
      continue;  // a torn line; whoever reads the whole file says so
    }
    metrics.tokens = std::max(metrics.tokens, static_cast<double>(row.tokens));
    if (row.split.empty() && !step) {
      step = true;
      metrics.loss = row.loss;
      metrics.tokens_per_s = row.tokens_per_s;
      metrics.wall_s = row.wall_s;
    } else if (!row.split.empty() && !evaluation) {
      evaluation = true;
      metrics.val_loss = row.loss;
    }
  }
  return step || evaluation;
}

void fill_from(const RunResult& result, RunStatus& status) {
  status.state = result.status == "done" ? RunState::done : RunState::diverged;
  status.progress =
      std::min(1.0, static_cast<double>(result.tokens) / static_cast<double>(status.planned.tokens));
  status.loss = result.train_loss;
  status.val_loss = result.val_loss;
  status.tokens_per_s = result.tokens_per_s;
  status.wall_s = result.wall_s;
  status.reason = result.reason;
}

std::string number_or_dash(double value, int digits) {
  return std::isnan(value) ? "-" : format_fixed(value, digits);
}
std::string count_or_dash(double value) {
  return std::isnan(value) ? "-" : format_count(value);
}

/// What the user wants to see first.
int urgency(RunState state) {
  switch (state) {
    case RunState::failed:
      return 0;
    case RunState::running:
      return 1;
    case RunState::interrupted:
      return 2;
    case RunState::diverged:
      return 3;
    case RunState::planned:
      return 4;
    case RunState::done:
      return 5;
  }
  return 6;
}

std::string progress_text(double progress, bool with_bar) {
  const std::string percent = format_fixed(100 * progress, 0) + " %";
  return with_bar
             ? bar(progress, 12) + std::string(percent.size() < 6 ? 6 - percent.size() : 1, ' ') + percent
             : percent;
}

std::string table_text(const std::vector<RunStatus>& runs, std::size_t most_rows, bool bars) {
  using Align = TextTable::Align;
  TextTable table({{"run", Align::left},
                   {"state", Align::left},
                   {"progress", Align::right},
                   {"train loss", Align::right},
                   {"val loss", Align::right},
                   {"attempts", Align::right},
                   {"tokens/s", Align::right},
                   {"time", Align::right},
                   {"", Align::left}});
  std::vector<const RunStatus*> shown;
  for (const RunStatus& run : runs) shown.push_back(&run);
  if (shown.size() > most_rows) {
    std::stable_sort(shown.begin(), shown.end(), [](const RunStatus* a, const RunStatus* b) {
      return urgency(a->state) < urgency(b->state);
    });
  }
  for (std::size_t i = 0; i < std::min(most_rows, shown.size()); ++i) {
    const RunStatus& run = *shown[i];
    const bool explain = run.state == RunState::failed || run.state == RunState::diverged;
    table.add({run.planned.run_id, name_of(run.state), progress_text(run.progress, bars),
               number_or_dash(run.loss, 3), number_or_dash(run.val_loss, 4), std::to_string(run.attempts),
               count_or_dash(run.tokens_per_s), std::isnan(run.wall_s) ? "-" : format_duration(run.wall_s),
               explain ? run.reason : ""});
  }
  if (shown.size() > most_rows) {
    table.add_line("... and " + std::to_string(shown.size() - most_rows) +
                   " more runs: --json FILE has them all");
  }
  return table.text();
}

/// "12 done, 2 running, 10 planned" without the states that no run has.
std::string counts_text(const StatusCounts& counts) {
  std::string text;
  const auto add = [&](int count, const char* what) {
    if (count > 0) text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  };
  add(counts.done, "done");
  add(counts.diverged, "diverged");
  add(counts.failed, "failed");
  add(counts.running, "running");
  add(counts.interrupted, "interrupted");
  add(counts.planned, "planned");
  return text;
}

}  // namespace

NewestMetrics newest_metrics(const fs::path& run) {
  const std::vector<std::int64_t> attempts = numbered_folders(run / "attempts");
  NewestMetrics metrics;
  for (auto attempt = attempts.rbegin(); attempt != attempts.rend(); ++attempt) {
    if (read_tail(run / "attempts" / std::to_string(*attempt) / "metrics.jsonl", metrics)) break;
  }
  return metrics;
}

OwnerState StatusReader::owner(const fs::path& run) {
  const fs::path attempt = newest_attempt(run);
  return attempt.empty() ? OwnerState::ended : watch_.judge(attempt);
}

RunStatus StatusReader::read(const fs::path& sweep, const PlannedRun& planned) {
  RunStatus status;
  status.planned = planned;
  const fs::path run = run_folder(sweep, planned.run_id);
  status.attempts = static_cast<int>(numbered_folders(run / "attempts").size());
  if (const auto result = read_result(run)) {
    fill_from(*result, status);
    return status;
  }
  if (status.attempts == 0) return status;
  const NewestMetrics metrics = newest_metrics(run);
  status.progress = std::min(1.0, metrics.tokens / static_cast<double>(planned.tokens));
  status.loss = metrics.loss;
  status.val_loss = metrics.val_loss;
  status.tokens_per_s = metrics.tokens_per_s;
  status.wall_s = metrics.wall_s;
  const auto outcome = read_outcome(newest_attempt(run));
  if (outcome) {
    const RunHistory history = read_history(run);
    status.given_up = is_given_up(history, {});
    status.state = outcome->status == "failed" || status.given_up ? RunState::failed : RunState::interrupted;
    const std::string count = describe_failures(history, {});
    status.reason = (count.empty() ? "" : count + ": ") + outcome->reason;
  } else if (owner(run) == OwnerState::dead) {
    status.state = RunState::interrupted;
    status.reason = "its process is gone";
  } else {
    status.state = RunState::running;
  }
  return status;
}

std::vector<RunStatus> sweep_status(const fs::path& sweep) {
  StatusReader reader;
  return sweep_status(sweep, reader);
}

std::vector<RunStatus> sweep_status(const fs::path& sweep, StatusReader& reader) {
  std::vector<RunStatus> runs;
  for (const PlannedRun& planned : read_plan(sweep)) {
    try {
      runs.push_back(reader.read(sweep, planned));
    } catch (const InputError& error) {
      RunStatus unreadable;
      unreadable.planned = planned;
      unreadable.state = RunState::failed;
      unreadable.reason = error.what();
      runs.push_back(unreadable);
    }
  }
  return runs;
}

StatusCounts count_states(const std::vector<RunStatus>& runs) {
  StatusCounts counts;
  double flops = 0, spent = 0;
  for (const RunStatus& run : runs) {
    // In the order of RunState.
    int* const of_state[] = {&counts.planned, &counts.running,  &counts.interrupted,
                             &counts.done,    &counts.diverged, &counts.failed};
    ++*of_state[static_cast<int>(run.state)];
    flops += run.planned.flops;
    spent += run.planned.flops * (run.state == RunState::diverged ? 1.0 : run.progress);
  }
  counts.progress = flops > 0 ? spent / flops : 0;
  return counts;
}

std::string status_text(const fs::path& sweep, const std::vector<RunStatus>& runs, std::size_t most_rows,
                        bool bars) {
  const StatusCounts counts = count_states(runs);
  std::string text = table_text(runs, most_rows, bars);
  text += "\n" + bar(counts.progress, 40) + " " + format_fixed(std::floor(100 * counts.progress), 0) +
          " % of the FLOPs, " + std::to_string(counts.ended()) + "/" + std::to_string(runs.size()) +
          " runs: " + counts_text(counts) + "\n";
  const int all = static_cast<int>(runs.size());
  if (counts.ended() == all) return text + "complete: minichilla fit " + sweep.string() + "\n";
  if (counts.ended() + counts.running == all) return text + "running: all that is left is at work\n";
  const bool given_up =
      std::any_of(runs.begin(), runs.end(), [](const RunStatus& run) { return run.given_up; });
  if (given_up) return text + "to finish it: minichilla sweep run " + sweep.string() + " --retry-failed\n";
  const char* const executor = existing_slurm_job_name(sweep).empty() ? "run" : "submit";
  return text + "to finish it: minichilla sweep " + executor + " " + sweep.string() + "\n";
}

nlohmann::ordered_json status_json(const std::vector<RunStatus>& runs) {
  const StatusCounts counts = count_states(runs);
  nlohmann::ordered_json json;
  json["counts"] = {{"planned", counts.planned},         {"running", counts.running},
                    {"interrupted", counts.interrupted}, {"done", counts.done},
                    {"diverged", counts.diverged},       {"failed", counts.failed}};
  json["progress"] = counts.progress;
  json["runs"] = nlohmann::ordered_json::array();
  for (const RunStatus& run : runs) {
    json["runs"].push_back({{"run_id", run.planned.run_id},
                            {"budget", run.planned.budget},
                            {"state", name_of(run.state)},
                            {"progress", run.progress},
                            {"loss", finite_or_null(run.loss)},
                            {"val_loss", finite_or_null(run.val_loss)},
                            {"attempts", run.attempts},
                            {"tokens_per_s", finite_or_null(run.tokens_per_s)},
                            {"wall_s", finite_or_null(run.wall_s)},
                            {"reason", run.reason},
                            {"given_up", run.given_up}});
  }
  return json;
}

}  // namespace minichilla
