#include "sweeps/memory_watch.h"

#include <unistd.h>

#include <fstream>
#include <limits>
#include <optional>

#include "kernels/error.h"
#include "sweeps/device_choice.h"
#include "trainer/corpus.h"
#include "trainer/run_directory.h"
#include "trainer/run_memory.h"

namespace minichilla {
namespace {

std::uint64_t resident_bytes(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/statm");
  std::uint64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

MemoryWatch::MemoryWatch() : device_(make_planning_cpu("fp32")) {}
MemoryWatch::~MemoryWatch() = default;

std::uint64_t MemoryWatch::needed(const std::filesystem::path& run) {
  try {
    const RunConfig config = read_run_config(run);
    std::shared_ptr<const Corpus>& corpus = corpora_[config.data.corpus];
    if (!corpus) corpus = open_corpus(config.data.corpus);
    return run_memory(config, corpus->vocabulary(), *device_).total();
  } catch (const InputError&) {
    return 0;
  } catch (const IoError&) {
    return 0;
  }
}

bool MemoryWatch::fits(std::uint64_t bytes) const {
  std::uint64_t wanted = bytes;
  for (const auto& [worker, needs] : workers_) {
    const std::uint64_t has = resident_bytes(worker);
    wanted += needs > has ? needs - has : 0;
  }
  const std::optional<std::uint64_t> available = device_->free_memory();
  return !available || wanted <= *available;
}

}  // namespace minichilla
