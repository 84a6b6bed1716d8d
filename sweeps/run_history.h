// What the attempts at a run say of its failures, and whether to try once more.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string>

namespace minichilla {

/// How often a run may fail of one cause without getting any further, and how long to wait after that.
struct RetryPolicy {
  int crash = 3, out_of_memory = 3, bad_input = 1, input_output = 5, killed = 20;
  /// After the first failure; doubled with each further one of the same cause, up to `longest`. A killed
  /// worker is replaced at once.
  std::chrono::milliseconds wait{2'000}, longest{300'000};

  int limit(const std::string& cause) const;
};

/// The ended attempts of a run since it last got further (a newer checkpoint) or a user asked to try again.
struct RunHistory {
  std::map<std::string, int> failures;  ///< by cause
  std::string cause, reason;            ///< of the newest attempt, when it failed
};

/// From the outcomes of its attempts alone, so everybody counts the same. InputError names a file that is not
/// what an attempt wrote.
RunHistory read_history(const std::filesystem::path& run);

/// Whether a run has failed as often as it may, of the cause of its newest failure.
bool is_given_up(const RunHistory& history, const RetryPolicy& policy);
/// How long to wait after the newest attempt before the next one.
std::chrono::milliseconds time_to_wait(const RunHistory& history, const RetryPolicy& policy);

/// "crash, 2 of 3 times"
std::string describe_failures(const RunHistory& history, const RetryPolicy& policy);

/// Lets a run that was given up be tried again: an attempt that says so and ends. Nothing when somebody works
/// on it. IoError.
void forget_failures(const std::filesystem::path& run);

}  // namespace minichilla
