#include "sweeps/external_tool.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <sstream>

#include "kernels/error.h"
#include "trainer/files.h"

extern char** environ;

namespace minichilla {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Pipe {
  explicit Pipe(const fs::path& program) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw_io(program, "start");
    read_end.emplace(ends[0]);
    write_end.emplace(ends[1]);
  }
  std::optional<Descriptor> read_end, write_end;
};

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_without(const std::vector<std::string>& hidden) {
  std::vector<std::string> kept;
  for (char** variable = environ; *variable; ++variable) {
    const std::string text = *variable;
    const bool hide = std::any_of(hidden.begin(), hidden.end(),
                                  [&](const std::string& prefix) { return text.starts_with(prefix); });
    if (!hide) kept.push_back(text);
  }
  return kept;
}

pid_t start(const fs::path& program, const std::vector<std::string>& arguments,
            const std::vector<std::string>& hidden, int output, int errors) {
  std::vector<std::string> words{program.string()}, environment = environment_without(hidden);
  words.insert(words.end(), arguments.begin(), arguments.end());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
  pid_t child = 0;
  const int error = posix_spawn(&child, program.c_str(), &actions, nullptr, pointers_to(words).data(),
                                pointers_to(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  errno = error;
  if (error != 0) throw_io(program, "start");
  return child;
}

/// Appends what can be read now; false at the end of the stream.
bool drain(int descriptor, std::string& text) {
  std::array<char, 4096> piece;
  const ssize_t size = read(descriptor, piece.data(), piece.size());
  if (size > 0) text.append(piece.data(), static_cast<std::size_t>(size));
  return size > 0 || (size < 0 && errno == EINTR);
}

/// Reads both streams until they end; false when they have not by the deadline.
bool read_until(Clock::time_point deadline, int output, int errors, ToolResult& result) {
  std::array<pollfd, 2> streams{pollfd{output, POLLIN, 0}, pollfd{errors, POLLIN, 0}};
  while (streams[0].fd >= 0 || streams[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    if (poll(streams.data(), streams.size(), static_cast<int>(left)) <= 0) continue;
    if (streams[0].revents != 0 && !drain(output, result.output)) streams[0].fd = -1;
    if (streams[1].revents != 0 && !drain(errors, result.errors)) streams[1].fd = -1;
  }
  return true;
}

int exit_status_of(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

fs::path find_program(const std::string& name) {
  const char* variable = std::getenv("PATH");
  std::istringstream folders(variable ? variable : "/usr/local/bin:/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path program = fs::path(folder) / name;
    if (!folder.empty() && fs::is_regular_file(program) && access(program.c_str(), X_OK) == 0) return program;
  }
  return {};
}

ToolResult run_tool(const fs::path& program, const std::vector<std::string>& arguments,
                    std::chrono::milliseconds patience, const std::vector<std::string>& hidden) {
  ToolResult result;
  Pipe output(program), errors(program);
  const pid_t child = start(program, arguments, hidden, output.write_end->get(), errors.write_end->get());
  output.write_end.reset();
  errors.write_end.reset();
  result.timed_out =
      !read_until(Clock::now() + patience, output.read_end->get(), errors.read_end->get(), result);
  if (result.timed_out) kill(child, SIGKILL);
  result.status = exit_status_of(child);
  return result;
}

}  // namespace minichilla
