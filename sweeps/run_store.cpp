#include "sweeps/run_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "kernels/error.h"
#include "trainer/environment.h"
#include "trainer/files.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

/// Nothing for a file that cannot be read.
std::string content_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

void create_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw IoError(folder.string() + ": cannot be made: " + error.message());
}

void write_unsynced(const fs::path& file, const std::string& content) {
  std::ofstream stream(file, std::ios::binary);
  stream << content;
  stream.close();
  if (!stream) throw IoError(file.string() + ": cannot be written");
}

/// As replace_file, but without waiting for the disk: thousands of configs are flushed by one
/// sync_file_system().
void replace_unsynced(const fs::path& file, const std::string& content) {
  if (content_of(file) == content) return;
  const fs::path temporary = file.string() + ".new-" + std::to_string(getpid());
  std::ofstream stream(temporary, std::ios::binary);
  stream << content;
  stream.close();
  std::error_code error;
  if (stream) fs::rename(temporary, file, error);
  if (!stream || error) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw IoError(file.string() + ": cannot be written" + (error ? ": " + error.message() : ""));
  }
}

void sync_file_system(const fs::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0 || syncfs(descriptor) != 0) {
    if (descriptor >= 0) close(descriptor);
    throw IoError(folder.string() + ": cannot be flushed to disk");
  }
  close(descriptor);
}

/// Program, machine and text that a plan was made with.
std::string provenance_json(const SweepPlan& plan) {
  nlohmann::ordered_json json = environment_json();
  json["version"] = MINICHILLA_VERSION;
  const fs::path manifest = fs::path(plan.config.data.corpus) / "manifest.json";
  if (path_exists(manifest)) json["corpus"] = nlohmann::ordered_json::parse(read_file(manifest));
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

/// A folder that we may plan into: new, empty, a sweep, or a plan that was cut short.
void check_folder(const fs::path& sweep) {
  if (!fs::exists(sweep) || is_sweep(sweep)) return;
  if (!fs::is_directory(sweep))
    throw InputError(sweep.string() + ": is a file, expected a folder for the sweep");
  for (const fs::directory_entry& entry : fs::directory_iterator(sweep)) {
    const std::string name = entry.path().filename().string();
    if (name == "runs" || name == "calibration.json" || name.starts_with("provenance.json") ||
        name.starts_with("sweep.yaml") || name.starts_with("plan.json")) {
      continue;
    }
    throw InputError(sweep.string() + ": holds " + name +
                     " and is no sweep, expected a new folder or one that "
                     "`minichilla sweep plan` made");
  }
}

struct Merged {
  std::vector<PlannedRun> runs;
  StoreChanges changes;
};

/// The stored runs in their order, brought up to date by the plan, then the plan's new ones.
Merged merge(const fs::path& sweep, const SweepPlan& plan) {
  std::map<std::string, const PlannedRun*> ours;
  for (const PlanRow& row : plan.rows) ours[row.planned.run_id] = &row.planned;
  Merged merged;
  std::set<std::string> stored;
  for (const PlannedRun& run : is_sweep(sweep) ? read_plan(sweep) : std::vector<PlannedRun>{}) {
    stored.insert(run.run_id);
    const auto same = ours.find(run.run_id);
    if (same == ours.end()) {
      ++merged.changes.others;
      merged.runs.push_back(run);
      continue;
    }
    ++merged.changes.present;
    merged.runs.push_back(*same->second);
    // A plan without calibration keeps the times of an earlier one.
    if (merged.runs.back().estimated_s == 0) merged.runs.back().estimated_s = run.estimated_s;
  }
  for (const PlanRow& row : plan.rows) {
    if (stored.contains(row.planned.run_id)) continue;
    ++merged.changes.added;
    merged.runs.push_back(row.planned);
  }
  return merged;
}

/// Throws for what store_plan() refuses.
void check_changes(const fs::path& sweep, const SweepPlan& plan, const StoreChanges& changes, bool extend) {
  check_folder(sweep);
  if (extend || changes.added == 0 || !is_sweep(sweep)) return;
  throw InputError(sweep.string() + ": holds another plan (it lacks " + std::to_string(changes.added) +
                   " of these " + std::to_string(plan.rows.size()) + " runs and has " +
                   std::to_string(changes.others) +
                   " others); `sweep plan --extend` adds them, another --output keeps the two apart");
}

}  // namespace

bool is_sweep(const fs::path& sweep) {
  return fs::exists(sweep / "plan.json");
}

StoreChanges check_plan(const fs::path& sweep, const SweepPlan& plan, bool extend) {
  const StoreChanges changes = merge(sweep, plan).changes;
  check_changes(sweep, plan, changes, extend);
  return changes;
}

StoreChanges store_plan(const fs::path& sweep, const SweepPlan& plan, bool extend) {
  const auto [runs, changes] = merge(sweep, plan);
  check_changes(sweep, plan, changes, extend);
  create_folder(sweep / "runs");
  for (const PlanRow& row : plan.rows) {
    const fs::path folder = run_folder(sweep, row.planned.run_id);
    std::error_code error;
    const bool fresh = fs::create_directory(folder, error);
    if (error) throw IoError(folder.string() + ": cannot be made: " + error.message());
    // Nobody looks into a new folder before plan.json names it.
    const std::string config = yaml_text(write_config(row.config));
    fresh ? write_unsynced(folder / "config.yaml", config) : replace_unsynced(folder / "config.yaml", config);
  }
  // A plan that is part of a larger one leaves that one's description alone.
  if (changes.added > 0 || changes.others == 0) {
    replace_unsynced(sweep / "sweep.yaml", yaml_text(write_config(plan.config)));
    replace_unsynced(sweep / "provenance.json", provenance_json(plan));
  }
  sync_file_system(sweep);
  write_plan(sweep, runs);
  return changes;
}

}  // namespace minichilla
