#include "trainer/environment.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "trainer/numerics_id.h"

namespace minichilla {
namespace {

constexpr std::array<std::string_view, 4> kPrefixes = {"CUDA_", "NVIDIA_", "NCCL_", "SLURM"};

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
  }
  return "";
}

}  // namespace

nlohmann::ordered_json environment_json() {
  utsname system{};
  uname(&system);
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    for (const std::string_view prefix : kPrefixes) {
      if (equals != std::string_view::npos && text.starts_with(prefix))
        variables[std::string(text.substr(0, equals))] = text.substr(equals + 1);
    }
  }
  return {{"program", build_identity()},
          {"source", source_hash()},
          {"host", system.nodename},
          {"system", std::string(system.sysname) + " " + system.release + " " + system.machine},
          {"cpu", cpu_model()},
          {"variables", variables}};
}

}  // namespace minichilla
