// What this machine and this build can train on, in plain words.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "kernels/cpu_bf16.h"
#include "kernels/cuda_device.h"

namespace minichilla {

struct MachineReport {
  std::string version;
  int cores;
  std::uint64_t memory_available;                         ///< bytes; 0 when the system does not say
  std::string cpu_numerics;                               ///< Device::numerics() of the CPU device
  Bf16Products cpu_bf16 = Bf16Products::fp32_arithmetic;  ///< cpu_bf16_products()
  CudaSupport cuda;
};

MachineReport machine_report();
std::string machine_text(const MachineReport& report);
nlohmann::ordered_json machine_json(const MachineReport& report);

}  // namespace minichilla
