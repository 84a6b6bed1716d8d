#include "sweeps/machine_report.h"

#include <nlohmann/json.hpp>

#include "kernels/host_memory.h"
#include "sweeps/machine.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

std::string cuda_version(int version) {
  return version == 0 ? "none" : std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

MachineReport machine_report() {
  return {.version = MINICHILLA_VERSION,
          .cores = usable_cores(),
          .memory_available = host_memory_available().value_or(0),
          .cpu_numerics = make_cpu_device(1)->numerics(),
          .cpu_bf16 = cpu_bf16_products(),
          .cuda = cuda_support()};
}

std::string machine_text(const MachineReport& report) {
  const CudaSupport& cuda = report.cuda;
  std::string text = "minichilla   " + report.version + "\n";
  text += "cpu          " + std::to_string(report.cores) + (report.cores == 1 ? " core, " : " cores, ") +
          (report.memory_available == 0 ? "" : format_bytes(report.memory_available) + " of memory free, ") +
          report.cpu_numerics + ", " + name_of(report.cpu_bf16) + "\n";
  text +=
      "cuda         " +
      (cuda.compiled_in ? "built with " + cuda_version(cuda.toolkit_version) + " for compute capabilities " +
                              cuda.architectures + "; the driver serves " + cuda_version(cuda.driver_version)
                        : "not built in") +
      "\n";
  for (std::size_t i = 0; i < cuda.gpus.size(); ++i) {
    const GpuInfo& gpu = cuda.gpus[i];
    text += "gpu " + std::to_string(i) + "        " + gpu.name + ", sm_" + std::to_string(gpu.major) +
            std::to_string(gpu.minor) + ", " + format_bytes(gpu.free_bytes) + " of " +
            format_bytes(gpu.memory_bytes) + " free" +
            (gpu.problem.empty() ? "" : ": cannot train: " + gpu.problem) + "\n";
  }
  text += "trains on    " +
          (cuda.problem.empty() ? std::string("a GPU (--device cuda), or the CPU (--device cpu)")
                                : "the CPU; no GPU: " + cuda.problem) +
          "\n";
  return text;
}

nlohmann::ordered_json machine_json(const MachineReport& report) {
  const CudaSupport& cuda = report.cuda;
  nlohmann::ordered_json gpus = nlohmann::ordered_json::array();
  for (const GpuInfo& gpu : cuda.gpus) {
    gpus.push_back({{"name", gpu.name},
                    {"compute_capability", std::to_string(gpu.major) + "." + std::to_string(gpu.minor)},
                    {"memory_bytes", gpu.memory_bytes},
                    {"free_bytes", gpu.free_bytes},
                    {"problem", gpu.problem}});
  }
  return {{"version", report.version},
          {"cores", report.cores},
          {"memory_available", report.memory_available},
          {"cpu_numerics", report.cpu_numerics},
          {"cpu_bf16", name_of(report.cpu_bf16)},
          {"cuda",
           {{"compiled_in", cuda.compiled_in},
            {"architectures", cuda.architectures},
            {"toolkit", cuda_version(cuda.toolkit_version)},
            {"driver", cuda_version(cuda.driver_version)},
            {"gpus", gpus},
            {"problem", cuda.problem}}}};
}

}  // namespace minichilla
