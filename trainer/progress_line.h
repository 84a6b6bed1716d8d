// Progress on stderr: one line that rewrites itself on a terminal, plain lines at intervals elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace minichilla {

class ProgressLine {
 public:
  /// Plain lines come at most every `plain_interval`, a terminal is refreshed ten times a second.
  explicit ProgressLine(std::chrono::milliseconds plain_interval = std::chrono::seconds(10));
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// Shows `text` unless the last one was shown too recently.
  void update(const std::string& text);
  /// Shows `text` now and ends the line.
  void finish(const std::string& text);
  /// Prints a whole line above the progress.
  void print(const std::string& text);

 private:
  void erase();
  bool terminal_;
  std::chrono::milliseconds interval_;
  std::chrono::steady_clock::time_point last_{};
  bool shown_ = false;
};

/// "3m12s", "2h05m", "0.8s": for ETAs and durations; "unknown" when negative or not finite.
std::string format_duration(double seconds);

/// Three significant digits with a suffix: 1360000 is "1.36M", 42 is "42", 3e11 is "300G", 3e15 is "3e15".
std::string format_count(double value);

/// "1.5 GiB", "312 KiB".
std::string format_bytes(std::uint64_t bytes);

}  // namespace minichilla
