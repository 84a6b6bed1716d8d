// One child process, its output appended to a file.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace minichilla {

/// How a process ended.
struct ProcessEnd {
  int status = 0;  ///< exit status; meaningless when `signal` is not 0
  int signal = 0;  ///< that killed it, or 0
};

/// Starts in the constructor. The child gets SIGTERM when this process dies, however it dies; the destructor
/// kills a child that still runs.
class WorkerProcess {
 public:
  /// `command[0]` is the program's path. With a `core` it runs there alone. IoError when the process cannot
  /// be made or the log not be opened; a program that cannot be run ends with status 127 and a line in the
  /// log.
  WorkerProcess(const std::vector<std::string>& command, const std::filesystem::path& log,
                std::optional<int> core = std::nullopt);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  pid_t pid() const { return pid_; }
  /// Nothing while it runs; does not wait.
  std::optional<ProcessEnd> ended();
  void send(int signal);
  /// The last line that is not empty of what this process wrote; empty when there is none.
  std::string last_line() const;

 private:
  std::filesystem::path log_;
  std::int64_t log_begin_ = 0;
  pid_t pid_ = -1;
  std::optional<ProcessEnd> end_;
};

}  // namespace minichilla
