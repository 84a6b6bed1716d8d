// Running a subcommand inside a test.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "sweeps/commands/commands.h"

namespace minichilla {

using AddCommand = void (*)(CLI::App&, CommandContext&);

struct CommandResult {
  int status = kDone;
  std::string output, errors;  ///< stdout, stderr
};

/// What CLI11 refused: the program prints its message and exits with 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Runs `minichilla ARGUMENTS…`; `add` adds the subcommand that the first argument names. Its errors are thrown on.
CommandResult run_command(AddCommand add, std::vector<std::string> arguments, StopToken stop = {});

/// What `minichilla ARGUMENTS… --help` prints.
std::string command_help(AddCommand add, std::vector<std::string> arguments);

}  // namespace minichilla
