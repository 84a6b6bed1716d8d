// Whether another run fits in this machine's memory, and a GPU's, beside those that train.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "sweeps/device_choice.h"

namespace minichilla {

class Corpus;

/// Bytes that a process takes which trains a run.
struct WorkerMemory {
  std::uint64_t host = 0;
  std::uint64_t gpu = 0;  ///< with its context; 0 on the CPU
};

class MemoryWatch {
 public:
  /// Makes the GPU of a --device and --products on which runs of a precision are counted.
  using GpuMaker = std::function<std::unique_ptr<Device>(
      const std::string& device, const std::string& precision, const std::string& products)>;

  /// Without a maker: what choose_device() gives.
  explicit MemoryWatch(GpuMaker make_gpu = {});
  ~MemoryWatch();

  /// What training this run on one core or on this GPU takes, by its config; 0 where that cannot be told:
  /// whoever trains it will say why.
  WorkerMemory needed(const std::filesystem::path& run, const std::string& device,
                      const std::string& products);

  void started(pid_t worker, const std::string& device, const WorkerMemory& memory);
  /// From now on its GPU's memory is part of what is not free.
  void has_gpu_memory(pid_t worker);
  void ended(pid_t worker) { workers_.erase(worker); }

  /// Whether that much is free besides what the workers have not taken yet of theirs.
  bool fits(const std::string& device, const WorkerMemory& memory) const;

 private:
  struct Worker {
    std::string device;
    WorkerMemory memory;  ///< `gpu` is 0 once it has it
  };
  WorkerMemory count(const std::filesystem::path& run, const std::string& device,
                     const std::string& products);
  std::optional<std::uint64_t> free_on(const std::string& device) const;

  GpuMaker make_gpu_;
  std::unique_ptr<Device> cpu_;
  std::map<std::string, std::map<std::string, std::unique_ptr<Device>>> gpus_;  ///< by name, by precision
  std::map<std::string, std::shared_ptr<const Corpus>> corpora_;
  std::map<std::string, std::map<std::filesystem::path, WorkerMemory>> known_;  ///< by device, by run
  std::map<pid_t, Worker> workers_;
};

}  // namespace minichilla
