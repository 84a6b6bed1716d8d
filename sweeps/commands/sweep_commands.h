// The subcommands of `minichilla sweep` that have a file of their own.
#pragma once

#include <filesystem>
#include <string>

#include "sweeps/commands/commands.h"
#include "sweeps/local_executor.h"

namespace minichilla {

/// --order and --retry-failed, for commands that take runs.
void add_taking_options(CLI::App& command, std::string& order, bool& retry_failed);
/// The order of one of the words that --order takes.
RunOrder order_of(const std::string& word);
/// Lets every run of the sweep that was given up be tried again.
void forget_all_failures(const std::filesystem::path& sweep);

void add_sweep_work(CLI::App& sweep, CommandContext& context);
void add_sweep_status(CLI::App& sweep, CommandContext& context);
void add_sweep_submit(CLI::App& sweep, CommandContext& context);  ///< and cancel
void add_sweep_verify(CLI::App& sweep, CommandContext& context);

}  // namespace minichilla
