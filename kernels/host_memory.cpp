#include "kernels/host_memory.h"

#include <fstream>
#include <string>

namespace minichilla {

std::optional<std::uint64_t> host_memory_available() {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  for (std::uint64_t kibibytes = 0; file >> name >> kibibytes && std::getline(file, unit);) {
    if (name == "MemAvailable:") return kibibytes * 1024;
  }
  return std::nullopt;
}

}  // namespace minichilla
