// metrics.jsonl of one attempt: writing rows, and reading one back.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "trainer/files.h"
#include "trainer/run_directory.h"

namespace minichilla {

/// The line of a row, without its newline.
std::string metrics_line(const MetricsRow& row);
/// The row of a line. InputError begins with `where` ("FILE:LINE").
MetricsRow parse_metrics_line(const std::string& line, const std::string& where);

/// Appends rows to a file of its own. Rows are kept back for up to a second, then written together; what is
/// written is whole lines. IoError names the path; a write that failed half way is taken back.
class MetricsLog {
 public:
  explicit MetricsLog(std::filesystem::path file);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void append(const MetricsRow& row);
  /// Writes what was kept back.
  void flush();
  /// flush(), and waits until it is on disk.
  void sync();

 private:
  AppendedFile file_;
  std::string pending_;
  std::chrono::steady_clock::time_point last_flush_;
};

}  // namespace minichilla
