#include "sweeps/memory_watch.h"

#include <unistd.h>

#include <fstream>
#include <optional>
#include <stdexcept>
#include <utility>

#include "trainer/corpus.h"
#include "trainer/run_directory.h"
#include "trainer/run_memory.h"

namespace minichilla {
namespace {

/// What CUDA and its libraries keep on a GPU for each process: more than on those of today.
constexpr std::uint64_t kContextBytes = 640ull << 20;

std::uint64_t resident_bytes(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/statm");
  std::uint64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

MemoryWatch::MemoryWatch(GpuMaker make_gpu)
    : make_gpu_(std::move(make_gpu)), cpu_(make_planning_cpu("fp32")) {
  if (make_gpu_) return;
  make_gpu_ = [](const std::string& device, const std::string& precision, const std::string& products) {
    return std::move(choose_device(device, precision, 1, products).device);
  };
}

MemoryWatch::~MemoryWatch() = default;

WorkerMemory MemoryWatch::count(const std::filesystem::path& run, const std::string& device,
                                const std::string& products) {
  WorkerMemory memory;
  const RunConfig config = read_run_config(run);
  std::shared_ptr<const Corpus>& corpus = corpora_[config.data.corpus];
  if (!corpus) corpus = open_corpus(config.data.corpus);
  memory.host = run_memory(config, corpus->vocabulary(), *cpu_).total();
  if (device == "cpu") return memory;
  std::unique_ptr<Device>& gpu = gpus_[device][config.train.precision];
  if (!gpu) gpu = make_gpu_(device, config.train.precision, products);
  memory.gpu = kContextBytes + run_memory(config, corpus->vocabulary(), *gpu).total();
  return memory;
}

WorkerMemory MemoryWatch::needed(const std::filesystem::path& run, const std::string& device,
                                 const std::string& products) {
  std::map<std::filesystem::path, WorkerMemory>& known = known_[device];
  if (const auto found = known.find(run); found != known.end()) return found->second;
  try {
    return known[run] = count(run, device, products);
  } catch (const std::runtime_error&) {
    return {};
  }
}

void MemoryWatch::started(pid_t worker, const std::string& device, const WorkerMemory& memory) {
  workers_[worker] = {device, memory};
}

void MemoryWatch::has_gpu_memory(pid_t worker) {
  if (const auto found = workers_.find(worker); found != workers_.end()) found->second.memory.gpu = 0;
}

std::optional<std::uint64_t> MemoryWatch::free_on(const std::string& device) const {
  const auto gpu = gpus_.find(device);
  if (gpu == gpus_.end()) return std::nullopt;
  for (const auto& [precision, made] : gpu->second) {
    if (made) return made->free_memory();
  }
  return std::nullopt;
}

bool MemoryWatch::fits(const std::string& device, const WorkerMemory& memory) const {
  WorkerMemory wanted = memory;
  for (const auto& [pid, worker] : workers_) {
    const std::uint64_t has = resident_bytes(pid);
    wanted.host += worker.memory.host > has ? worker.memory.host - has : 0;
    if (worker.device == device) wanted.gpu += worker.memory.gpu;
  }
  const std::optional<std::uint64_t> host = cpu_->free_memory();
  const std::optional<std::uint64_t> gpu = memory.gpu > 0 ? free_on(device) : std::nullopt;
  return (!host || wanted.host <= *host) && (!gpu || wanted.gpu <= *gpu);
}

}  // namespace minichilla
