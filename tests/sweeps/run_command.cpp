#include "tests/sweeps/run_command.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <sstream>

namespace minichilla {
namespace {

std::vector<std::string> as_cli11_wants_them(std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());
  return arguments;
}

}  // namespace

CommandResult run_command(AddCommand add, std::vector<std::string> arguments, StopToken stop) {
  CLI::App app("minichilla");
  CommandContext context;
  context.stop = stop;
  add(app, context);
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  std::exception_ptr failure;
  try {
    app.parse(as_cli11_wants_them(std::move(arguments)));
  } catch (const CLI::Error& error) {
    failure = std::make_exception_ptr(UsageError(error.what()));
  } catch (...) {
    failure = std::current_exception();
  }
  CommandResult result;
  result.output = testing::internal::GetCapturedStdout();
  result.errors = testing::internal::GetCapturedStderr();
  if (failure) std::rethrow_exception(failure);
  result.status = context.status;
  return result;
}

std::string command_help(AddCommand add, std::vector<std::string> arguments) {
  CLI::App app("minichilla");
  CommandContext context;
  add(app, context);
  arguments.emplace_back("--help");
  std::ostringstream help;
  try {
    app.parse(as_cli11_wants_them(std::move(arguments)));
  } catch (const CLI::Success& success) {
    app.exit(success, help);
  }
  return help.str();
}

}  // namespace minichilla
