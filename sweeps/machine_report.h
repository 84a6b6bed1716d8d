// What this machine and this build can train on, in plain words.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "kernels/cuda_device.h"

namespace minichilla {

struct MachineReport {
  std::string version;
  int cores;
  std::uint64_t memory_available;  ///< bytes; 0 when the system does not say
  std::string cpu_numerics;        ///< Device::numerics() of the CPU device
  bool cpu_bf16 = false;           ///< cpu_has_bf16_instruction()
  CudaSupport cuda;
};

MachineReport machine_report();
std::string machine_text(const MachineReport& report);
nlohmann::ordered_json machine_json(const MachineReport& report);

}  // namespace minichilla
