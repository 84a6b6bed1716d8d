#include "sweeps/device_choice.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "kernels/cpu_bf16.h"
#include "kernels/cuda_device.h"
#include "kernels/error.h"
#include "model/quote.h"

namespace minichilla {
namespace {

ChosenDevice cpu_device(const std::string& precision, int threads, const std::string& products,
                        const std::string& note) {
  if (products != kLibraryProducts) {
    throw InputError("--products: found " + products + ", expected library on the CPU" +
                     (note.empty() ? "" : " (" + note + ")"));
  }
  if (precision == name_of(Precision::tf32)) {
    throw InputError("train.precision: found " + precision + ", expected fp32 or bf16 on the CPU" +
                     (note.empty() ? "" : " (" + note + ")"));
  }
  const std::string slow = slow_on_this_cpu(precision);
  return {make_cpu_device(threads, precision_of(precision)),
          note + (note.empty() || slow.empty() ? "" : "; ") + slow};
}

/// N of "cuda:N", 0 of "cuda".
int ordinal_of(const std::string& choice) {
  if (choice == "cuda") return 0;
  int ordinal = -1;
  if (choice.starts_with("cuda:")) {
    const char* const end = choice.data() + choice.size();
    const auto [stop, error] = std::from_chars(choice.data() + 5, end, ordinal);
    if (error != std::errc() || stop != end) ordinal = -1;
  }
  if (ordinal < 0) throw InputError("--device: found " + quote(choice) + ", expected " + kDeviceChoices);
  return ordinal;
}

}  // namespace

std::string slow_on_this_cpu(const std::string& precision) {
  if (precision != name_of(Precision::bf16) || cpu_bf16_products() != Bf16Products::fp32_arithmetic) {
    return {};
  }
  return "this CPU multiplies no bf16 (AVX512_BF16 or AMX): bf16 is slower than fp32 on it";
}

ChosenDevice choose_device(const std::string& choice, const std::string& precision, int threads,
                           const std::string& products) {
  if (products != kLibraryProducts && products != kOwnProducts) {
    throw InputError("--products: found " + quote(products) + ", expected library or own");
  }
  if (choice == "cpu") return cpu_device(precision, threads, products, "");
  CudaOptions options;
  if (products == kOwnProducts) {
    if (precision != "bf16") {
      throw InputError("train.precision: found " + precision + ", expected bf16 with --products own");
    }
    options.products = MatrixProducts::own;
  }
  if (choice == "auto") {
    const CudaSupport support = cuda_support();
    if (!support.problem.empty()) {
      return cpu_device(precision, threads, products,
                        support.compiled_in ? "no GPU: " + support.problem : "");
    }
    const auto usable =
        std::ranges::find_if(support.gpus, [](const GpuInfo& gpu) { return gpu.problem.empty(); });
    const auto ordinal = static_cast<int>(usable - support.gpus.begin());
    return {make_cuda_device(ordinal, precision_of(precision), options), ""};
  }
  const int ordinal = ordinal_of(choice);
  try {
    return {make_cuda_device(ordinal, precision_of(precision), options), ""};
  } catch (const InputError& error) {
    throw InputError("--device " + choice + ": " + error.what() + "; --device cpu trains on the CPU");
  }
}

std::unique_ptr<Device> make_planning_cpu(const std::string& precision) {
  return make_cpu_device(1, precision_of(precision));
}

DeviceMaker device_maker(const std::string& choice) {
  if (choice == "cpu") return make_planning_cpu;
  return [choice](const std::string& precision) {
    return std::move(choose_device(choice, precision, 1).device);
  };
}

}  // namespace minichilla
