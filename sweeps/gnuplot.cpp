#include "sweeps/gnuplot.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <sstream>

#include "kernels/error.h"
#include "sweeps/external_tool.h"
#include "trainer/files.h"

extern char** environ;

namespace minichilla {

namespace fs = std::filesystem;

std::string gnuplot_quoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += ' ';
    } else if (c == '\'') {
      quoted += "''";
    } else {
      // Enhanced mode takes these as markup; it undoes one backslash before each.
      if (std::string_view("{}^_@&~\\").find(c) != std::string_view::npos) quoted += '\\';
      quoted += c;
    }
  }
  return quoted + "'";
}

fs::path find_gnuplot() {
  const fs::path program = find_program("gnuplot");
  if (!program.empty()) return program;
  throw IoError("gnuplot, which draws the figures, is not in PATH: install the Debian package gnuplot-nox");
}

namespace {

/// File actions of a child that works in `folder`, reads nothing and writes both its outputs to `log`.
class ChildFiles {
 public:
  ChildFiles(const fs::path& folder, const fs::path& log) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions_, STDOUT_FILENO, STDERR_FILENO);
    posix_spawn_file_actions_addchdir_np(&actions_, folder.c_str());
  }
  ~ChildFiles() { posix_spawn_file_actions_destroy(&actions_); }
  ChildFiles(const ChildFiles&) = delete;
  ChildFiles& operator=(const ChildFiles&) = delete;
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw IoError(std::string("waiting for gnuplot: ") + std::strerror(errno));
  }
  return status;
}

/// gnuplot echoes the offending command, then a caret, then "FILE" line N: message; that last line says most.
std::string complaint(const std::string& log) {
  std::istringstream lines(log);
  std::string best = "it said nothing";
  for (std::string line; std::getline(lines, line);) {
    if (line.find("line ") != std::string::npos || best == "it said nothing")
      best = line.empty() ? best : line;
  }
  return best;
}

}  // namespace

std::string run_gnuplot(const fs::path& program, const fs::path& folder, const std::string& script) {
  const fs::path log = folder / (script + ".log");
  std::string path = program.string(), defaults = "-d", name = script;
  char* arguments[] = {path.data(), defaults.data(), name.data(), nullptr};
  pid_t child = 0;
  const ChildFiles files(folder, log);
  if (const int error = posix_spawn(&child, path.c_str(), files.get(), nullptr, arguments, environ)) {
    throw IoError("cannot start " + path + ": " + std::strerror(error));
  }
  const int status = wait_for(child);
  const std::string said = read_file(log);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw IoError("gnuplot failed on " + (folder / script).string() + ": " + complaint(said));
  }
  return said;
}

}  // namespace minichilla
