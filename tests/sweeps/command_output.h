// Running a subcommand inside a test.
#pragma once

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <string>
#include <vector>

#include "sweeps/commands/commands.h"

namespace minichilla {

/// What `minichilla ARGUMENTS…` prints on stdout; `add` adds the subcommand that the first argument names.
/// Its errors are thrown on.
inline std::string command_output(void (*add)(CLI::App&, CommandContext&),
                                  std::vector<std::string> arguments) {
  CLI::App app("minichilla");
  CommandContext context;
  add(app, context);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  testing::internal::CaptureStdout();
  std::exception_ptr failure;
  try {
    app.parse(arguments);
  } catch (...) {
    failure = std::current_exception();
  }
  const std::string output = testing::internal::GetCapturedStdout();
  if (failure) std::rethrow_exception(failure);
  return output;
}

}  // namespace minichilla
