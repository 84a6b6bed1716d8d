#include "sweeps/worker_process.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>

#include "kernels/error.h"

namespace minichilla {
namespace {

constexpr std::int64_t kLogTail = 8192;

/// In the child, between fork and exec: nothing that allocates.
[[noreturn]] void become(char* const* arguments, int log, int null, pid_t parent, int core) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  if (core >= 0) {
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(core, &only);
    sched_setaffinity(0, sizeof only, &only);  // a core that has gone since is no reason not to work
  }
  dup2(null, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execv(arguments[0], arguments);
  const char* reason = strerrordesc_np(errno);
  static constexpr char kMessage[] = "cannot run the worker program: ";
  bool written = write(STDERR_FILENO, kMessage, sizeof kMessage - 1) > 0;
  written = write(STDERR_FILENO, reason, std::strlen(reason)) > 0 && written;
  written = write(STDERR_FILENO, "\n", 1) > 0 && written;
  _exit(written ? 127 : 126);
}

}  // namespace

WorkerProcess::WorkerProcess(const std::vector<std::string>& command, const std::filesystem::path& log,
                             std::optional<int> core)
    : log_(log) {
  const int descriptor = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor < 0) throw IoError(log.string() + ": cannot be written: " + std::strerror(errno));
  log_begin_ = lseek(descriptor, 0, SEEK_END);
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  const int error = errno;
  if (pid_ == 0) become(arguments.data(), descriptor, null, parent, core.value_or(-1));
  close(descriptor);
  if (null >= 0) close(null);
  if (pid_ < 0) throw IoError(std::string("cannot start a worker process: ") + std::strerror(error));
}

WorkerProcess::~WorkerProcess() {
  if (ended()) return;
  send(SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

/// Where SIGCHLD is ignored the system reaps children itself (ECHILD) and their status is lost: it reads as
/// 0.
std::optional<ProcessEnd> WorkerProcess::ended() {
  if (end_) return end_;
  int status = 0;
  const pid_t waited = waitpid(pid_, &status, WNOHANG);
  if (waited == 0 || (waited < 0 && errno != ECHILD)) return std::nullopt;
  end_ = WIFSIGNALED(status) ? ProcessEnd{0, WTERMSIG(status)} : ProcessEnd{WEXITSTATUS(status), 0};
  return end_;
}

void WorkerProcess::send(int signal) {
  if (!end_) kill(pid_, signal);
}

std::string WorkerProcess::last_line() const {
  std::ifstream stream(log_, std::ios::binary | std::ios::ate);
  if (!stream) return {};
  const std::int64_t size = stream.tellg(), begin = std::max(log_begin_, size - kLogTail);
  if (begin >= size) return {};
  std::string text(static_cast<std::size_t>(size - begin), '\0');
  stream.seekg(begin);
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.erase(text.find_last_not_of(" \r\n\t") + 1);
  return text.substr(text.find_last_of('\n') + 1);
}

}  // namespace minichilla
