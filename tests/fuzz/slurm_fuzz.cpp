// What SLURM's commands print, and SWEEP/slurm/jobs.jsonl.
#include "sweeps/slurm_client.h"
#include "sweeps/slurm_folder.h"
#include "tests/fuzz/fuzz.h"

namespace minichilla {

void fuzz_one(std::string_view input) {
  const std::string text(input);
  std::vector<SlurmJob> jobs;
  fuzz::accepts([&] { jobs = parse_squeue(text); });
  for (const SlurmJob& job : jobs) {
    fuzz::expect(!(job.elapsed_s < 0) && !(job.left_s < 0), "times are not negative", text);
    fuzz::expect(!job.pending() || job.living(), "what waits lives", job.state);
  }
  for (const auto& [id, detail] : parse_scontrol_jobs(text))
    fuzz::expect(!id.empty(), "a job has an id", text);
  std::vector<SlurmRecord> records;
  fuzz::accepts([&] { records = parse_slurm_records(text, "jobs.jsonl"); });
  for (const SlurmRecord& record : records) {
    fuzz::expect(record.tasks >= 0 && record.throttle >= 0, "counts are not negative", text);
  }
}

}  // namespace minichilla
