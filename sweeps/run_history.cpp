#include "sweeps/run_history.h"

#include <algorithm>

#include "trainer/attempt.h"

namespace minichilla {

int RetryPolicy::limit(const std::string& cause) const {
  if (cause == cause::kOutOfMemory) return out_of_memory;
  if (cause == cause::kBadInput) return bad_input;
  if (cause == cause::kInputOutput) return input_output;
  if (cause == cause::kKilled) return killed;
  return crash;
}

RunHistory read_history(const std::filesystem::path& run) {
  RunHistory history;
  std::int64_t furthest = 0;
  for (const std::int64_t number : numbered_folders(run / "attempts")) {
    const auto outcome = read_outcome(run / "attempts" / std::to_string(number));
    if (!outcome) continue;
    const bool further = outcome->step > furthest;
    furthest = std::max(furthest, outcome->step);
    if (further || outcome->cause == cause::kRetry) history = {};
    const bool failed = outcome->status == "failed" || outcome->status == "lost";
    // A full disk is nobody's failure, and a lower learning rate is another attempt, not the same again.
    const bool counts = failed && outcome->cause != cause::kDiskFull && outcome->cause != cause::kDiverged;
    history.cause = !counts ? "" : outcome->cause.empty() ? cause::kCrash : outcome->cause;
    history.reason = counts ? outcome->reason : "";
    if (counts) ++history.failures[history.cause];
  }
  return history;
}

bool is_given_up(const RunHistory& history, const RetryPolicy& policy) {
  const auto count = history.failures.find(history.cause);
  return count != history.failures.end() && count->second >= policy.limit(history.cause);
}

std::chrono::milliseconds time_to_wait(const RunHistory& history, const RetryPolicy& policy) {
  const auto count = history.failures.find(history.cause);
  if (count == history.failures.end() || history.cause == cause::kKilled) return std::chrono::milliseconds(0);
  return std::min(policy.longest, policy.wait * (1 << std::min(count->second - 1, 20)));
}

std::string describe_failures(const RunHistory& history, const RetryPolicy& policy) {
  const auto count = history.failures.find(history.cause);
  if (count == history.failures.end()) return "";
  return history.cause + ", " + std::to_string(count->second) + " of " +
         std::to_string(policy.limit(history.cause)) + " times";
}

void forget_failures(const std::filesystem::path& run) {
  try {
    Attempt attempt(run, std::chrono::milliseconds(0));
    attempt.finish("interrupted", "asked to try again", cause::kRetry);
  } catch (const RunBusyError&) {
  } catch (const RunEndedError&) {
  }
}

}  // namespace minichilla
