// The subcommands: each adds itself to the command line and, when chosen, does its work in CLI11's callback.
#pragma once

#include "trainer/train.h"

namespace CLI {
class App;
}

namespace minichilla {

/// The program's exit statuses, for scripts and schedulers.
enum ExitStatus {
  kDone = 0,
  kPartialFailure = 1,  ///< also: internal error
  kBadInput = 2,        ///< wrong usage or bad input: InputError
  kDiverged = 3,
  kInputOutput = 74,  ///< disk full, unwritable: IoError
  kInterrupted = 75,  ///< can be resumed
};

/// Thrown inside a command to leave a long computation after a signal; the command turns it into kInterrupted.
struct Interrupted {};

/// What a command is handed and what it gives back.
struct CommandContext {
  StopToken stop;  ///< set by SIGINT, SIGTERM, SIGUSR1
  int status = kDone;
};

void add_data_command(CLI::App& app, CommandContext& context);
void add_train_command(CLI::App& app, CommandContext& context);
void add_model_command(CLI::App& app, CommandContext& context);
void add_sweep_command(CLI::App& app, CommandContext& context);
void add_fit_command(CLI::App& app, CommandContext& context);
void add_predict_command(CLI::App& app, CommandContext& context);
void add_report_command(CLI::App& app, CommandContext& context);
void add_doctor_command(CLI::App& app, CommandContext& context);
void add_bench_command(CLI::App& app, CommandContext& context);

}  // namespace minichilla
