#include "trainer/run_directory.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "kernels/error.h"
#include "model/quote.h"
#include "trainer/attempt.h"
#include "trainer/files.h"
#include "trainer/json_fields.h"
#include "trainer/metrics_log.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

std::optional<std::int64_t> whole_number(const std::string& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

/// The attempt that gave the run its result; else the newest.
std::int64_t last_attempt(const fs::path& folder) {
  const std::vector<std::int64_t> numbers = numbered_folders(folder / "attempts");
  for (auto number = numbers.rbegin(); number != numbers.rend(); ++number) {
    const auto outcome = read_outcome(folder / "attempts" / std::to_string(*number));
    if (outcome && outcome->final) return *number;
  }
  return numbers.empty() ? 0 : numbers.back();
}

RunState state_of(const RunRecord& record) {
  if (record.result) return record.result->status == "done" ? RunState::done : RunState::diverged;
  const fs::path attempt = newest_attempt(record.folder);
  if (attempt.empty()) return RunState::planned;
  const std::optional<AttemptOutcome> outcome = read_outcome(attempt);
  if (!outcome) return RunState::running;
  return outcome->status == "failed" ? RunState::failed : RunState::interrupted;
}

}  // namespace

const char* name_of(RunState state) {
  switch (state) {
    case RunState::planned:
      return "planned";
    case RunState::running:
      return "running";
    case RunState::interrupted:
      return "interrupted";
    case RunState::done:
      return "done";
    case RunState::diverged:
      return "diverged";
    case RunState::failed:
      return "failed";
  }
  return "unknown";
}

std::vector<std::int64_t> numbered_folders(const fs::path& parent) {
  std::vector<std::int64_t> numbers;
  std::error_code error;
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error)) {
    const std::optional<std::int64_t> number = whole_number(entry->path().filename().string());
    std::error_code ignored;
    if (number && entry->is_directory(ignored)) numbers.push_back(*number);
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw IoError(parent.string() + ": cannot list: " + error.message());
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

RunConfig read_run_config(const fs::path& folder) {
  const fs::path file = folder / "config.yaml";
  if (!path_exists(file)) throw InputError(file.string() + ": missing, expected the config of a run");
  RunConfig config;
  read_config(load_yaml(file.string()), file.string(), config);
  return config;
}

RunResult parse_result(const std::string& text, const std::string& where) {
  const nlohmann::json json = parse_json_object(text, where);
  RunResult result;
  result.run_id = json_text(json, "run_id", where);
  result.status = json_text(json, "status", where);
  if (result.status != "done" && result.status != "diverged") {
    throw InputError(where + ": status: found " + quote(result.status) + ", expected done or diverged");
  }
  result.reason = json_text(json, "reason", where);
  result.params = json_whole(json, "params", where);
  result.params_non_embedding = json_whole(json, "params_non_embedding", where);
  result.tokens = json_whole(json, "tokens", where);
  result.steps = json_whole(json, "steps", where);
  result.flops = json_number(json, "flops", where);
  result.flops_6nd = json_number(json, "flops_6nd", where);
  result.flops_hoffmann = json_number(json, "flops_hoffmann", where);
  result.train_loss = json_number(json, "train_loss", where);
  result.val_loss = json_number(json, "val_loss", where);
  result.val_bits_per_byte = json_number(json, "val_bits_per_byte", where);
  result.wall_s = json_number(json, "wall_s", where);
  result.tokens_per_s = json_number(json, "tokens_per_s", where);
  result.epochs = json_number(json, "epochs", where);
  result.device = json_text(json, "device", where);
  result.numerics_id = json_text(json, "numerics_id", where);
  result.seed = static_cast<std::uint64_t>(json_whole(json, "seed", where));
  result.version = json_text(json, "version", where);
  if (json.contains("source")) result.source = json_text(json, "source", where);
  if (json.contains("learning_rate_halved"))
    result.learning_rate_halved = static_cast<int>(json_whole(json, "learning_rate_halved", where));
  return result;
}

std::optional<RunResult> read_result(const fs::path& folder) {
  const fs::path file = folder / "result.json";
  if (!path_exists(file)) return std::nullopt;
  return parse_result(read_file(file), file.string());
}

std::string result_json(const RunResult& result) {
  nlohmann::ordered_json json = {{"run_id", result.run_id},
                                 {"status", result.status},
                                 {"reason", result.reason},
                                 {"params", result.params},
                                 {"params_non_embedding", result.params_non_embedding},
                                 {"tokens", result.tokens},
                                 {"steps", result.steps},
                                 {"flops", result.flops},
                                 {"flops_6nd", result.flops_6nd},
                                 {"flops_hoffmann", result.flops_hoffmann},
                                 {"train_loss", finite_or_null(result.train_loss)},
                                 {"val_loss", finite_or_null(result.val_loss)},
                                 {"val_bits_per_byte", finite_or_null(result.val_bits_per_byte)},
                                 {"wall_s", result.wall_s},
                                 {"tokens_per_s", result.tokens_per_s},
                                 {"epochs", result.epochs},
                                 {"device", result.device},
                                 {"numerics_id", result.numerics_id},
                                 {"seed", result.seed},
                                 {"version", result.version},
                                 {"source", result.source}};
  if (result.learning_rate_halved > 0) json["learning_rate_halved"] = result.learning_rate_halved;
  return json.dump(2) + "\n";
}

RunRecord read_run(const fs::path& folder) {
  RunRecord record;
  record.folder = folder;
  record.config = read_run_config(folder);
  record.result = read_result(folder);
  record.attempts = static_cast<int>(numbered_folders(folder / "attempts").size());
  record.state = state_of(record);
  return record;
}

std::vector<MetricsRow> parse_metrics(const std::string& text, const std::string& file) {
  std::vector<MetricsRow> rows;
  std::int64_t line_number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    ++line_number;
    try {
      rows.push_back(
          parse_metrics_line(text.substr(begin, end - begin), file + ":" + std::to_string(line_number)));
    } catch (const InputError&) {
      if (end + 1 >= text.size()) break;  // the writer was killed inside its last line
      throw;
    }
    begin = end + 1;
  }
  return rows;
}

std::vector<MetricsRow> read_metrics(const fs::path& folder) {
  std::vector<std::vector<MetricsRow>> parts;  // newest first
  std::int64_t last = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t number = last_attempt(folder); number > 0;) {
    const fs::path attempt = folder / "attempts" / std::to_string(number), file = attempt / "metrics.jsonl";
    std::vector<MetricsRow> rows;
    if (path_exists(file)) rows = parse_metrics(read_file(file), file.string());
    std::erase_if(rows, [&](const MetricsRow& row) { return row.step > last; });
    const std::optional<AttemptOrigin> origin = read_origin(attempt);
    if (origin) last = std::min(last, origin->step);
    if (!origin && !rows.empty()) last = rows.front().step - 1;  // of a version before 0.2
    number = origin ? std::min(origin->attempt, number - 1) : number - 1;
    parts.push_back(std::move(rows));
  }
  std::vector<MetricsRow> all;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part)
    all.insert(all.end(), part->begin(), part->end());
  return all;
}

}  // namespace minichilla
