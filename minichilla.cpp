// The command line: one subcommand, one line. Signals and exit statuses are known here and nowhere else.
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <new>

#include "kernels/error.h"
#include "sweeps/commands/commands.h"

namespace {

using namespace minichilla;

std::atomic<int> stop_requested{0};

void request_stop(int signal) { stop_requested.store(signal, std::memory_order_relaxed); }

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = request_stop;
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is a failed write, not a death
}

int fail(int status, const char* message) {
  std::fprintf(stderr, "minichilla: %s\n", message);
  return status;
}

int run(int argc, char** argv) {
  CommandContext context;
  context.stop = StopToken(&stop_requested);

  CLI::App app("minichilla measures scaling laws: it trains a grid of small transformers under FLOP budgets and turns\n"
               "their losses into the compute-optimal model size and token count, with intervals.\n"
               "Start here: scripts/quickstart.sh, or minichilla sweep plan configs/quickstart.yaml --output SWEEP\n");
  app.set_version_flag("--version", MINICHILLA_VERSION);
  app.require_subcommand(1);
  add_data_command(app, context);
  add_train_command(app, context);
  add_model_command(app, context);
  add_sweep_command(app, context);
  add_fit_command(app, context);
  add_predict_command(app, context);
  add_report_command(app, context);
  add_doctor_command(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::Error& error) {
    app.exit(error);
    return kBadInput;
  }
  return context.status;
}

}  // namespace

int main(int argc, char** argv) {
  install_signal_handlers();
  try {
    return run(argc, argv);
  } catch (const InputError& error) {
    return fail(kBadInput, error.what());
  } catch (const IoError& error) {
    return fail(kInputOutput, error.what());
  } catch (const std::bad_alloc&) {
    return fail(kPartialFailure, "out of memory: lower micro_batch, context_length or the number of threads");
  } catch (const std::exception& error) {
    return fail(kPartialFailure, error.what());
  }
}
