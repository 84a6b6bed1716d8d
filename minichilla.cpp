// The command line: one subcommand, one line. Signals and exit statuses are known here and nowhere else.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <new>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "model/config_fields.h"
#include "model/quote.h"
#include "sweeps/commands/commands.h"
#include "trainer/numerics_id.h"

namespace {

using namespace minichilla;

std::atomic<int> stop_requested{0};

void request_stop(int signal) {
  stop_requested.store(signal, std::memory_order_relaxed);
}

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = request_stop;
  action.sa_flags = SA_RESTART;  // a signal asks for a stop; it must not look like a failed write or sync
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
  // A closed pipe and a file that grows beyond the limit of the process are failed writes, not deaths.
  for (const int signal : {SIGPIPE, SIGXFSZ}) std::signal(signal, SIG_IGN);
}

int fail(int status, const char* message) {
  std::fprintf(stderr, "minichilla: %s\n", message);
  return status;
}

/// The command that was reached: `app` itself, or the innermost subcommand on the command line.
const CLI::App& innermost(const CLI::App& app) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  return chosen.empty() ? app : innermost(*chosen.front());
}

/// One line for a command line that CLI11 refused, with the nearest name for a word that it does not know.
std::string usage_message(const CLI::App& app, const CLI::Error& error) {
  const CLI::App& command = innermost(app);
  const CLI::App* parent = command.get_parent();
  const std::string name = (parent && parent != &app ? parent->get_name() + " " : "") + command.get_name();
  const std::string full_name = parent ? app.get_name() + " " + name : name;
  const std::vector<std::string> unknown = app.remaining(true);
  if (unknown.empty()) return printable(error.what()) + "; see " + full_name + " --help";

  // Of an unknown option and its value the option is the one to name.
  const auto option =
      std::ranges::find_if(unknown, [](const std::string& word) { return word.starts_with('-'); });
  const std::string& word = option != unknown.end() ? *option : unknown.front();
  std::vector<std::string> names;
  for (const CLI::Option* known : command.get_options()) names.push_back(known->get_name());
  for (const CLI::App* known : command.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(known->get_name());
  }
  const std::string near = nearest_name(word, names);
  return (parent ? full_name + ": " : "") + "found " + quote(word) + ", which it does not know" +
         (near.empty() ? "" : "; did you mean " + near + "?") + "; see " + full_name + " --help";
}

int run(int argc, char** argv) {
  CommandContext context;
  context.stop = StopToken(&stop_requested);

  CLI::App app(
      "minichilla measures scaling laws: it trains a grid of small transformers under FLOP budgets and "
      "turns\n"
      "their losses into the compute-optimal model size and token count, with intervals.\n"
      "Start here: scripts/quickstart.sh, or minichilla sweep plan configs/quickstart.yaml --output SWEEP\n",
      "minichilla");
  app.set_version_flag("--version", MINICHILLA_VERSION " (source " + source_hash() + ")");
  app.require_subcommand(1);
  add_data_command(app, context);
  add_train_command(app, context);
  add_model_command(app, context);
  add_sweep_command(app, context);
  add_fit_command(app, context);
  add_predict_command(app, context);
  add_report_command(app, context);
  add_doctor_command(app, context);
  add_bench_command(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::Error& error) {
    return fail(kBadInput, usage_message(app, error).c_str());
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
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(kInputOutput, error.what());
  } catch (const std::bad_alloc&) {
    return fail(kPartialFailure, "out of memory: lower micro_batch, context_length or the number of threads");
  } catch (const std::exception& error) {
    return fail(kPartialFailure, error.what());
  }
}
