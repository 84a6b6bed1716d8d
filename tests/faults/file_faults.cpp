// A library to preload into the program: it counts the file calls below one folder and makes chosen ones
// fail.
//
//   FAULTS_FOLDER   absolute; calls on paths elsewhere are passed on and not counted
//   FAULTS_LIST     file that gets a line "NUMBER KIND CALL PATH" for every counted call
//   FAULTS_ACTION   fail · cut (half a write, then ENOSPC) · kill_before · kill_inside (after half a write) ·
//                   kill_after · power_cut (before the call; what was written and not synced is gone) ·
//                   stop (before the call, until somebody lets it go on) · clock_back (the time
//                   of day is an hour earlier)
//   FAULTS_FROM     number of the first call that is concerned, from 1
//   FAULTS_TO       number of the last one; the same as FROM when missing, 0: all later ones
//   FAULTS_ERRNO    of `fail`
//   FAULTS_KINDS    look: every call in the range is concerned; change: those that change the disk;
//                   space: those that need room on it
//   FAULTS_FILE     when given, only calls on files of this name are concerned
//
// Calls are passed on by system call rather than by the next library's function where that is as simple: no
// look-up, and no other library in between.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace {

enum class Kind { look, change, space };
const char* const kKindNames[] = {"look", "change", "space"};

enum class Fault { none, fail, cut, kill_before, kill_inside, kill_after, power_cut };

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

struct Plan {
  std::string folder = variable("FAULTS_FOLDER"), list = variable("FAULTS_LIST"),
              action = variable("FAULTS_ACTION"), file = variable("FAULTS_FILE");
  long from = std::atol(variable("FAULTS_FROM").c_str());
  long to = variable("FAULTS_TO").empty() ? from : std::atol(variable("FAULTS_TO").c_str());
  int error = std::atoi(variable("FAULTS_ERRNO").c_str());
  Kind least = variable("FAULTS_KINDS") == "space"    ? Kind::space
               : variable("FAULTS_KINDS") == "change" ? Kind::change
                                                      : Kind::look;

  bool concerns(long number, Kind kind, const std::string& path) const {
    return from > 0 && number >= from && (to == 0 || number <= to) && kind >= least &&
           (file.empty() || path.ends_with("/" + file));
  }
  Fault fault() const {
    return action == "fail"          ? Fault::fail
           : action == "cut"         ? Fault::cut
           : action == "kill_before" ? Fault::kill_before
           : action == "kill_inside" ? Fault::kill_inside
           : action == "kill_after"  ? Fault::kill_after
           : action == "power_cut"   ? Fault::power_cut
                                     : Fault::none;
  }
};

const Plan& plan() {
  static const Plan* const loaded = new Plan;  // calls come until the very end of the process
  return *loaded;
}

std::atomic<long> calls{0};
std::atomic<bool> write_was_cut{false}, clock_is_back{false};

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

[[noreturn]] void die() {
  syscall(SYS_kill, getpid(), SIGKILL);
  for (;;) pause();
}

/// How much of each written file is on disk for certain: what a power cut leaves. Entries of folders and
/// bytes written over count as kept.
class Synced {
 public:
  void written(const std::string& path) {
    const std::lock_guard lock(mutex_);
    sizes_.try_emplace(path, 0);
  }
  void synced(const std::string& path) {
    const std::lock_guard lock(mutex_);
    const auto file = sizes_.find(path);
    struct stat status {};
    if (file != sizes_.end() && syscall(SYS_newfstatat, AT_FDCWD, path.c_str(), &status, 0) == 0) {
      file->second = status.st_size;
    }
  }
  /// A file, or a folder with the files below it.
  void renamed(const std::string& from, const std::string& to) {
    const std::lock_guard lock(mutex_);
    std::map<std::string, off_t> sizes;
    for (const auto& [path, size] : sizes_) {
      const bool moved = path == from || path.starts_with(from + "/");
      if (moved || path != to) sizes[moved ? to + path.substr(from.size()) : path] = size;
    }
    sizes_ = std::move(sizes);
  }
  void linked(const std::string& from, const std::string& to) {
    const std::lock_guard lock(mutex_);
    if (const auto file = sizes_.find(from); file != sizes_.end()) sizes_[to] = file->second;
  }
  void cut() {
    const std::lock_guard lock(mutex_);
    for (const auto& [path, size] : sizes_) syscall(SYS_truncate, path.c_str(), size);
  }

 private:
  std::mutex mutex_;
  std::map<std::string, off_t> sizes_;
};

Synced& synced_files() {
  static Synced* const files = new Synced;
  return *files;
}

std::string link_target(const std::string& link) {
  const int error = errno;
  char target[4096];
  const ssize_t size = readlink(link.c_str(), target, sizeof target);
  errno = error;
  return size > 0 ? std::string(target, static_cast<std::size_t>(size)) : std::string();
}

std::string path_of(int descriptor) {
  return link_target("/proc/self/fd/" + std::to_string(descriptor));
}

std::string absolute(int folder, const char* path) {
  if (path[0] == '/') return path;
  return (folder == AT_FDCWD ? link_target("/proc/self/cwd") : path_of(folder)) + "/" + path;
}

bool concerns_us(const std::string& path) {
  const std::string& folder = plan().folder;
  return !folder.empty() && path.starts_with(folder) &&
         (path.size() == folder.size() || path[folder.size()] == '/');
}

void list(long number, Kind kind, const char* call, const std::string& path) {
  if (plan().list.empty()) return;
  static const long file =
      syscall(SYS_openat, AT_FDCWD, plan().list.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  const std::string line =
      std::to_string(number) + " " + kKindNames[static_cast<int>(kind)] + " " + call + " " + path + "\n";
  syscall(SYS_write, file, line.data(), line.size());
}

/// Counts a call, and says what is to happen to it.
Fault next_fault(Kind kind, const char* call, const std::string& path) {
  const long number = ++calls;
  list(number, kind, call, path);
  if (!plan().concerns(number, kind, path)) return Fault::none;
  if (plan().action == "clock_back") clock_is_back = true;
  if (plan().action == "stop") syscall(SYS_kill, getpid(), SIGSTOP);
  return plan().fault();
}

/// A call that is done or not done as a whole.
template <class Result, class Call>
Result whole_call(Kind kind, const char* name, const std::string& path, Result failed, Call call) {
  if (!concerns_us(path)) return call();
  const Fault fault = next_fault(kind, name, path);
  if (fault == Fault::fail) {
    errno = plan().error;
    return failed;
  }
  if (fault == Fault::power_cut) synced_files().cut();
  if (fault == Fault::kill_before || fault == Fault::kill_inside || fault == Fault::power_cut) die();
  const Result result = call();
  if (fault == Fault::kill_after) die();
  return result;
}

template <class Call>
int simple_call(Kind kind, const char* name, const std::string& path, Call call) {
  return whole_call(kind, name, path, -1, [&] { return static_cast<int>(call()); });
}

/// `put(size)` writes the first `size` bytes.
template <class Put>
ssize_t write_call(int descriptor, std::size_t size, Put put) {
  const std::string path = path_of(descriptor);
  if (!concerns_us(path)) return put(size);
  const Fault fault = next_fault(Kind::space, "write", path);
  if (fault == Fault::power_cut) synced_files().cut();
  if (fault == Fault::kill_before || fault == Fault::power_cut) die();
  synced_files().written(path);
  if (fault == Fault::fail || write_was_cut.exchange(false)) {
    errno = fault == Fault::fail ? plan().error : ENOSPC;
    return -1;
  }
  const bool half = fault == Fault::cut || fault == Fault::kill_inside;
  const ssize_t written = put(half ? size / 2 : size);
  if (fault == Fault::cut) write_was_cut = true;
  if (fault == Fault::kill_inside || fault == Fault::kill_after) die();
  return written;
}

int open_call(int folder, const char* path, int flags, mode_t mode) {
  const bool creates = (flags & O_CREAT) != 0, writes = (flags & O_ACCMODE) != O_RDONLY;
  return simple_call(creates  ? Kind::space
                     : writes ? Kind::change
                              : Kind::look,
                     creates ? "create" : "open", absolute(folder, path),
                     [&] { return syscall(SYS_openat, folder, path, flags, mode); });
}

/// The third argument of open(), which is there when a file may be created.
mode_t mode_in(int flags, va_list arguments) {
  const bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return creates ? static_cast<mode_t>(va_arg(arguments, int)) : 0;
}

FILE* fopen_call(const char* name, const char* path, const char* mode) {
  const Kind kind = mode[0] == 'r' ? Kind::look : Kind::space;
  return whole_call(kind, "fopen", absolute(AT_FDCWD, path), static_cast<FILE*>(nullptr),
                    [&] { return next<FILE*(const char*, const char*)>(name)(path, mode); });
}

int unlink_call(int folder, const char* path, int flags) {
  return simple_call(Kind::change, "unlink", absolute(folder, path),
                     [&] { return syscall(SYS_unlinkat, folder, path, flags); });
}

int sync_call(const char* name, long number, int descriptor) {
  const std::string path = path_of(descriptor);
  const int result = simple_call(Kind::change, name, path, [&] { return syscall(number, descriptor); });
  if (result == 0) synced_files().synced(path);
  return result;
}

int rename_call(const std::string& from, const std::string& to) {
  const int result = simple_call(Kind::change, "rename", to, [&] {
    return syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0);
  });
  if (result == 0) synced_files().renamed(from, to);
  return result;
}

int stat_call(const char* name, const char* path, struct stat* status) {
  return simple_call(Kind::look, name, absolute(AT_FDCWD, path),
                     [&] { return next<int(const char*, struct stat*)>(name)(path, status); });
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_in(flags, arguments);
  va_end(arguments);
  return open_call(AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_in(flags, arguments);
  va_end(arguments);
  return open_call(folder, path, flags, mode);
}

FILE* fopen(const char* path, const char* mode) {
  return fopen_call("fopen", path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  return fopen_call("fopen64", path, mode);
}

ssize_t write(int descriptor, const void* data, size_t size) {
  return write_call(descriptor, size,
                    [&](size_t part) { return syscall(SYS_write, descriptor, data, part); });
}

ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) {
  return write_call(descriptor, size,
                    [&](size_t part) { return syscall(SYS_pwrite64, descriptor, data, part, offset); });
}

int fsync(int descriptor) {
  return sync_call("fsync", SYS_fsync, descriptor);
}
int fdatasync(int descriptor) {
  return sync_call("fdatasync", SYS_fdatasync, descriptor);
}

int ftruncate(int descriptor, off_t size) noexcept {
  return simple_call(Kind::change, "ftruncate", path_of(descriptor),
                     [&] { return syscall(SYS_ftruncate, descriptor, size); });
}

int rename(const char* from, const char* to) noexcept {
  return rename_call(absolute(AT_FDCWD, from), absolute(AT_FDCWD, to));
}

int link(const char* from, const char* to) noexcept {
  const std::string path = absolute(AT_FDCWD, to);
  const int result = simple_call(Kind::space, "link", path,
                                 [&] { return syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0); });
  if (result == 0) synced_files().linked(absolute(AT_FDCWD, from), path);
  return result;
}

int mkdir(const char* path, mode_t mode) noexcept {
  return simple_call(Kind::space, "mkdir", absolute(AT_FDCWD, path),
                     [&] { return syscall(SYS_mkdirat, AT_FDCWD, path, mode); });
}

int unlink(const char* path) noexcept {
  return unlink_call(AT_FDCWD, path, 0);
}
int unlinkat(int folder, const char* path, int flags) noexcept {
  return unlink_call(folder, path, flags);
}

int remove(const char* path) noexcept {
  return simple_call(Kind::change, "remove", absolute(AT_FDCWD, path),
                     [&] { return next<int(const char*)>("remove")(path); });
}

int stat(const char* path, struct stat* status) noexcept {
  return stat_call("stat", path, status);
}
int lstat(const char* path, struct stat* status) noexcept {
  return stat_call("lstat", path, status);
}

void* mmap(void* address, size_t size, int protection, int flags, int descriptor, off_t offset) noexcept {
  const auto call = [&] {
    return reinterpret_cast<void*>(syscall(SYS_mmap, address, size, protection, flags, descriptor, offset));
  };
  return descriptor < 0 ? call() : whole_call(Kind::look, "mmap", path_of(descriptor), MAP_FAILED, call);
}

int clock_gettime(clockid_t clock, struct timespec* time) noexcept {
  static const auto real = next<int(clockid_t, struct timespec*)>("clock_gettime");
  const int result = real(clock, time);
  if (clock == CLOCK_REALTIME && clock_is_back) time->tv_sec -= 3600;
  return result;
}
}
