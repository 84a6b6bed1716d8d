// Which device trains: what the user asks for, against what there is.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "kernels/device.h"

namespace minichilla {

/// What --device takes, for its help.
inline constexpr const char* kDeviceChoices = "auto, cpu, cuda or cuda:N";

struct ChosenDevice {
  std::unique_ptr<Device> device;
  std::string note;  ///< one line that the user should know: why `auto` is the CPU (nothing where CUDA is not
                     ///< built in), that bf16 is slow on it; else empty
};

/// What --products takes, and its help.
inline constexpr const char* kLibraryProducts = "library";
inline constexpr const char* kOwnProducts = "own";
inline constexpr const char* kProductsHelp =
    "Whose matrix products a GPU uses: library (cuBLASLt) or own (train.precision bf16 alone)";

/// Why a precision costs more than fp32 on this machine's CPU, in one line; empty where it does not.
std::string slow_on_this_cpu(const std::string& precision);

/// `choice` is one of kDeviceChoices; `auto` is the first GPU that can train, or else the CPU with `threads`
/// lanes. `precision` is train.precision, `products` one of the above. InputError: another choice; a GPU that
/// is not there or cannot train, with the reason; a precision or products that the device does not have.
ChosenDevice choose_device(const std::string& choice, const std::string& precision, int threads,
                           const std::string& products = kLibraryProducts);

/// Makes a device on which a plan counts and measures its runs of one precision.
using DeviceMaker = std::function<std::unique_ptr<Device>(const std::string& precision)>;

/// A CPU device with one lane; tf32 is fp32 there: a plan may be for GPUs that are elsewhere.
std::unique_ptr<Device> make_planning_cpu(const std::string& precision);

/// make_planning_cpu for "cpu", else what choose_device() gives.
DeviceMaker device_maker(const std::string& choice);

}  // namespace minichilla
