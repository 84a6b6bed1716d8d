// minichilla sweep status: runs and workers, once or again and again.
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "kernels/error.h"
#include "sweeps/commands/json_output.h"
#include "sweeps/commands/sweep_commands.h"
#include "sweeps/status.h"
#include "sweeps/sweep_workers.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kLookAtJobs{15};  // a cluster's controller has others to answer
constexpr std::chrono::milliseconds kPoll{50};
constexpr std::size_t kMostRuns = 200, kMostWorkers = 60;

struct StatusOptions {
  std::string sweep, json;
  bool watch = false;
  double interval_s = 2;
};

/// Runs and workers as they are now.
struct Look {
  std::vector<RunStatus> runs;
  std::vector<SweepWorker> workers;
};

Look look(const std::string& sweep, StatusReader& reader, const JobsView& view) {
  Look look;
  look.runs = sweep_status(sweep, reader);
  look.workers = join_workers(sweep, view, look.runs);
  return look;
}

void write_status_json(const StatusOptions& options, const JobsView& view, const Look& look) {
  if (options.json.empty()) return;
  nlohmann::ordered_json json = status_json(look.runs);
  const double eta_s = measured_eta_s(look.runs);
  json["eta_s"] = eta_s < 0 ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(eta_s);
  json["workers"] = workers_json(view, look.workers);
  write_json(options.json, json);
}

/// What the terminal holds; large where there is none.
struct Screen {
  std::size_t rows = 10'000, columns = 10'000;
};
Screen screen() {
  struct winsize size {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 12 || size.ws_col < 20) return {};
  return {size.ws_row, size.ws_col};
}

/// Cuts every line to the screen: one that wraps would push the frame's head out of sight.
std::string fitted(const std::string& text, const Screen& screen) {
  std::string fitted;
  std::size_t column = 0;
  for (const char c : text) {
    const bool begins_character = (c & 0xC0) != 0x80;
    if (c == '\n') {
      column = 0;
    } else if (begins_character) {
      ++column;
    }
    if (column <= screen.columns) fitted += c;
  }
  return fitted;
}

std::string eta_line(const std::vector<RunStatus>& runs) {
  const double eta_s = measured_eta_s(runs);
  return eta_s < 0
             ? ""
             : "ETA " + format_duration(eta_s) + " by the speed so far, with the workers that run now\n";
}

std::string frame_text(const std::string& sweep, const JobsView& view, const Look& look,
                       const Screen& screen) {
  const std::size_t for_workers = std::min(kMostWorkers, std::max<std::size_t>(3, screen.rows / 3));
  const std::string workers = workers_text(view, look.workers, for_workers);
  const std::size_t around = 8 + static_cast<std::size_t>(std::count(workers.begin(), workers.end(), '\n'));
  const std::size_t for_runs = screen.rows > around + 3 ? screen.rows - around : 3;
  return status_text(sweep, look.runs, std::min(kMostRuns, for_runs), /*bars=*/true) + eta_line(look.runs) +
         (workers.empty() ? "" : "\n" + workers);
}

bool ended(const Look& look) {
  return count_states(look.runs).ended() == static_cast<int>(look.runs.size());
}

/// Until all runs have ended or somebody stops it; redraws a terminal, appends elsewhere.
void watch(const StatusOptions& options, const StopToken& stop) {
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  StatusReader reader;
  JobsView view;
  Clock::time_point asked{};
  while (stop.requested() == 0) {
    const Clock::time_point begin = Clock::now();
    if (asked.time_since_epoch().count() == 0 || begin - asked > kLookAtJobs) {
      view = look_at_jobs(options.sweep);
      asked = begin;
    }
    const Look now = look(options.sweep, reader, view);
    write_status_json(options, view, now);
    if (options.json != "-") {
      const Screen size = screen();
      const std::string text = frame_text(options.sweep, view, now, size);
      std::cout << (terminal ? "\033[H\033[J" + fitted(text, size) : text + "\n") << std::flush;
    }
    if (ended(now)) return;
    while (stop.requested() == 0 &&
           std::chrono::duration<double>(Clock::now() - begin).count() < options.interval_s) {
      std::this_thread::sleep_for(kPoll);
    }
  }
}

void show_once(const StatusOptions& options) {
  StatusReader reader;
  const JobsView view = look_at_jobs(options.sweep);
  const Look now = look(options.sweep, reader, view);
  write_status_json(options, view, now);
  if (options.json == "-") return;
  const std::string workers = workers_text(view, now.workers, kMostWorkers);
  std::cout << status_text(options.sweep, now.runs, kMostRuns) << eta_line(now.runs)
            << (workers.empty() ? "" : "\n" + workers) << std::flush;
}

}  // namespace

void add_sweep_status(CLI::App& sweep, CommandContext& context) {
  auto options = std::make_shared<StatusOptions>();
  CLI::App* command =
      sweep.add_subcommand("status", "Show where every run and every worker of a sweep stands");
  command->add_option("SWEEP", options->sweep, "Folder of a planned sweep")->required();
  command->add_flag("--watch", options->watch, "Show it again and again until every run has ended");
  command->add_option("--interval", options->interval_s, "Seconds between two looks of --watch (default 2)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 3600.0));
  command->add_option("--json", options->json, "Write it all as JSON to this file; - is stdout")
      ->type_name("FILE");
  command->footer("Example:\n  minichilla sweep status sweeps/mine --watch");
  command->callback(
      [options, &context] { options->watch ? watch(*options, context.stop) : show_once(*options); });
}

}  // namespace minichilla
