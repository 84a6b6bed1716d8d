// Whether another run fits in this machine's memory beside those that train.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

namespace minichilla {

class Corpus;
class Device;

class MemoryWatch {
 public:
  MemoryWatch();
  ~MemoryWatch();

  /// Bytes that a process takes which trains this run on one core, by its config; 0 when that cannot be read:
  /// whoever trains it will say why.
  std::uint64_t needed(const std::filesystem::path& run);

  void started(pid_t worker, std::uint64_t bytes) { workers_[worker] = bytes; }
  void ended(pid_t worker) { workers_.erase(worker); }

  /// Whether `bytes` are free besides what the workers have not taken yet of theirs.
  bool fits(std::uint64_t bytes) const;

 private:
  std::unique_ptr<Device> device_;
  std::map<std::string, std::shared_ptr<const Corpus>> corpora_;
  std::map<pid_t, std::uint64_t> workers_;
};

}  // namespace minichilla
