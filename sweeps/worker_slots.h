// Places for workers on this machine: cores, or GPUs.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace minichilla {

/// `cores` in the order in which workers should get them: one hardware thread of each physical core before
/// the others, and memory nodes in turn, so that few workers have all of the machine's caches and memory.
/// `system` is Linux's description of the machine; of what it does not say, cores are physical, of one node.
std::vector<int> spread_over_machine(const std::vector<int>& cores,
                                     const std::filesystem::path& system = "/sys/devices/system");

/// The cores that this process may use, so spread. Memory that a worker touches comes from its core's node.
std::vector<int> allowed_cores();

/// A core for the sole use of one worker among all minichilla processes of this machine, while it exists.
class CoreClaim {
 public:
  CoreClaim() = default;
  /// The first of `cores` that nobody has claimed; none when all are.
  explicit CoreClaim(const std::vector<int>& cores);
  ~CoreClaim();
  CoreClaim(CoreClaim&& other) noexcept;
  CoreClaim& operator=(CoreClaim&& other) noexcept;
  std::optional<int> core() const { return core_; }

 private:
  std::optional<int> core_;
  int socket_ = -1;
};

/// The numbers in "0,1,3" or "0-3,5"; InputError begins with `option` when it is nothing of the kind or a
/// number comes twice.
std::vector<int> parse_numbers(const std::string& text, const std::string& option);

/// How often the kernel has killed a process of this container for want of memory; 0 where it does not say.
long oom_kills();

}  // namespace minichilla
