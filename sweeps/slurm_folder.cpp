#include "sweeps/slurm_folder.h"

#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "kernels/error.h"
#include "trainer/files.h"
#include "trainer/json_fields.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

fs::path options_file(const fs::path& sweep) {
  return slurm_folder(sweep) / "submit.yaml";
}
fs::path name_file(const fs::path& sweep) {
  return slurm_folder(sweep) / "name";
}
fs::path records_file(const fs::path& sweep) {
  return slurm_folder(sweep) / "jobs.jsonl";
}

/// SLURM's commands separate names by commas and squeue's answer by bars.
std::string plain_name(const std::string& text) {
  std::string plain;
  for (const char c : text) {
    const bool word = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '-';
    plain += word ? c : '_';
  }
  return plain.substr(0, 40);
}

int count(const nlohmann::json& json, const char* key, const std::string& where) {
  const std::int64_t value = json_whole(json, key, where);
  if (value <= 1'000'000) return static_cast<int>(value);
  throw InputError(where + ": " + key + ": found " + std::to_string(value) + ", expected at most 1000000");
}

}  // namespace

fs::path slurm_folder(const fs::path& sweep) {
  return sweep / "slurm";
}

SlurmOptions read_slurm_options(const fs::path& sweep) {
  SlurmOptions options;
  const fs::path file = options_file(sweep);
  if (path_exists(file)) read_config(load_yaml(file.string()), file.string(), options);
  return options;
}

void write_slurm_options(const fs::path& sweep, const SlurmOptions& options) {
  replace_file(options_file(sweep), yaml_text(write_config(options)));
}

std::string existing_slurm_job_name(const fs::path& sweep) {
  if (!path_exists(name_file(sweep))) return {};
  const std::string text = read_file(name_file(sweep));
  return plain_name(text.substr(0, text.find('\n')));
}

std::string slurm_job_name(const fs::path& sweep) {
  if (!path_exists(name_file(sweep))) {
    std::random_device random;
    std::ostringstream name;
    name << plain_name(fs::absolute(sweep).lexically_normal().filename().string().substr(0, 24)) << "-"
         << std::hex << random();
    publish_file(name_file(sweep), name.str() + "\n");
  }
  return existing_slurm_job_name(sweep);
}

std::vector<SlurmRecord> parse_slurm_records(const std::string& text, const std::string& file) {
  std::vector<SlurmRecord> records;
  std::size_t number = 1;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string where = file + ":" + std::to_string(number++);
    const nlohmann::json json = parse_json_object(text.substr(begin, end - begin), where);
    SlurmRecord record{json_text(json, "kind", where), json_text(json, "job_id", where)};
    record.tasks = count(json, "tasks", where);
    record.throttle = count(json, "throttle", where);
    record.progress = json_number(json, "progress", where);
    records.push_back(std::move(record));
  }
  return records;
}

std::vector<SlurmRecord> read_slurm_records(const fs::path& sweep) {
  const fs::path file = records_file(sweep);
  if (!path_exists(file)) return {};
  return parse_slurm_records(read_file(file), file.string());
}

void append_slurm_record(const fs::path& sweep, const SlurmRecord& record) {
  const nlohmann::ordered_json json = {{"kind", record.kind},
                                       {"job_id", record.job_id},
                                       {"tasks", record.tasks},
                                       {"throttle", record.throttle},
                                       {"progress", record.progress}};
  AppendedFile file(records_file(sweep));
  file.append(json.dump() + "\n");
  file.sync();
}

}  // namespace minichilla
