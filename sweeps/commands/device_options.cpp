#include "sweeps/commands/device_options.h"

#include <CLI/CLI.hpp>

#include "sweeps/device_choice.h"

namespace minichilla {

void add_device_options(CLI::App& command, const std::string& purpose, std::string& device,
                        std::string& products) {
  command.add_option("--device", device, purpose + ": " + kDeviceChoices)
      ->capture_default_str()
      ->type_name("DEVICE");
  command.add_option("--products", products, kProductsHelp)->capture_default_str()->type_name("PRODUCTS");
}

}  // namespace minichilla
