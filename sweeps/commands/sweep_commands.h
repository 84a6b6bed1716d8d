// The subcommands of `minichilla sweep` that have a file of their own.
#pragma once

#include "sweeps/commands/commands.h"

namespace minichilla {

void add_sweep_work(CLI::App& sweep, CommandContext& context);
void add_sweep_status(CLI::App& sweep, CommandContext& context);
void add_sweep_submit(CLI::App& sweep, CommandContext& context);  ///< and cancel

}  // namespace minichilla
