// The options of every command that trains.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace minichilla {

/// --device, with what it is for in front of its choices ("Where to train"), and --products; both keep what
/// the strings hold as their defaults and fill them, so the strings have to outlive the command.
void add_device_options(CLI::App& command, const std::string& purpose, std::string& device,
                        std::string& products);

}  // namespace minichilla
