#include "trainer/attempt.h"

#include <fcntl.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <random>
#include <thread>

#include "model/quote.h"
#include "trainer/files.h"
#include "trainer/json_fields.h"
#include "trainer/run_directory.h"

namespace minichilla {
namespace {

constexpr std::chrono::milliseconds kBeat{1000};

std::filesystem::path attempts_of(const std::filesystem::path& run) {
  return run / "attempts";
}

std::string first_line(const std::filesystem::path& file) {
  try {
    const std::string text = read_file(file);
    return text.substr(0, text.find('\n'));
  } catch (const IoError&) {
    return {};
  }
}

std::string link_target(const char* link) {
  std::error_code error;
  return std::filesystem::read_symlink(link, error).string();
}

/// Start time of a living process in clock ticks since boot; nothing for one that is gone or a zombie.
std::optional<std::int64_t> start_ticks_of(std::int64_t pid) {
  const std::string stat = first_line("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t name_end = stat.rfind(')');  // the name in parentheses may hold anything
  if (name_end == std::string::npos) return std::nullopt;
  char state = 0;
  long long ticks = 0;
  // proc(5): state is field 3, starttime field 22.
  const int found = std::sscanf(
      stat.c_str() + name_end + 1,
      " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lld", &state, &ticks);
  if (found != 2 || state == 'Z' || state == 'X') return std::nullopt;
  return ticks;
}

std::string owner_json(const ProcessIdentity& owner) {
  const nlohmann::ordered_json json = {{"host", owner.host},
                                       {"pid", owner.pid},
                                       {"boot_id", owner.boot_id},
                                       {"pid_namespace", owner.pid_namespace},
                                       {"start_ticks", owner.start_ticks},
                                       {"job", owner.job}};
  return json.dump() + "\n";
}

/// Overwrites the counter in place: as many bytes as before, so that a reader never sees half of it and a
/// full disk does not matter.
void write_beat(const std::filesystem::path& file, std::uint64_t count) {
  const int descriptor = open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) return;
  char text[32];
  const int size = std::snprintf(text, sizeof text, "%020llu\n", static_cast<unsigned long long>(count));
  const ssize_t written = pwrite(descriptor, text, static_cast<std::size_t>(size), 0);
  static_cast<void>(written);  // a beat that is lost is followed by another
  close(descriptor);
}

/// Time since the system began, in which nobody can set the clock back; a suspended system's time counts.
std::chrono::nanoseconds since_boot() {
  timespec time{};
  clock_gettime(CLOCK_BOOTTIME, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

/// Writes every line at once, so that none waits in a buffer when the process is killed, and none is left
/// half written by a full disk. Its times go on from the first one, whatever is done to the clock.
class LogFile final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LogFile(const std::filesystem::path& file) : file_(file) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::details::log_msg timed = message;
    timed.time = began_ + std::chrono::duration_cast<spdlog::log_clock::duration>(since_boot() - began_at_);
    spdlog::memory_buf_t line;
    formatter_->format(timed, line);
    file_.append({line.data(), line.size()});
  }
  void flush_() override {}

 private:
  AppendedFile file_;
  const spdlog::log_clock::time_point began_ = spdlog::log_clock::now();
  const std::chrono::nanoseconds began_at_ = since_boot();
};

std::shared_ptr<spdlog::logger> open_log(const std::filesystem::path& file) {
  auto logger = std::make_shared<spdlog::logger>("run", std::make_shared<LogFile>(file));
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  logger->set_error_handler([](const std::string&) {});  // metrics and checkpoints report a failing disk
  return logger;
}

}  // namespace

ProcessIdentity this_process() {
  ProcessIdentity self;
  char host[HOST_NAME_MAX + 1] = {};
  gethostname(host, sizeof host - 1);
  const char* node = std::getenv("SLURMD_NODENAME");
  const char* job = std::getenv("SLURM_JOB_ID");
  self.host = node ? node : host;
  self.job = job ? job : "";
  self.pid = getpid();
  self.boot_id = first_line("/proc/sys/kernel/random/boot_id");
  self.pid_namespace = link_target("/proc/self/ns/pid");
  self.start_ticks = start_ticks_of(self.pid).value_or(0);
  return self;
}

AttemptOutcome parse_outcome(const std::string& text, const std::string& where) {
  const nlohmann::json json = parse_json_object(text, where);
  return {json_text(json, "status", where), json_text(json, "reason", where)};
}

ProcessIdentity parse_owner(const std::string& text, const std::string& where) {
  const nlohmann::json json = parse_json_object(text, where);
  return {json_text(json, "host", where),         json_whole(json, "pid", where),
          json_text(json, "boot_id", where),      json_text(json, "pid_namespace", where),
          json_whole(json, "start_ticks", where), json.contains("job") ? json_text(json, "job", where) : ""};
}

std::optional<AttemptOutcome> read_outcome(const std::filesystem::path& attempt) {
  const std::filesystem::path file = attempt / "outcome.json";
  if (!path_exists(file)) return std::nullopt;
  return parse_outcome(read_file(file), file.string());
}

std::optional<ProcessIdentity> read_owner(const std::filesystem::path& attempt) {
  const std::filesystem::path file = attempt / "owner.json";
  if (!path_exists(file)) return std::nullopt;
  return parse_owner(read_file(file), file.string());
}

std::string describe_owner(const std::filesystem::path& attempt) {
  const std::optional<ProcessIdentity> owner = read_owner(attempt);
  return owner ? "pid " + std::to_string(owner->pid) + " on " + printable(owner->host) : "unknown";
}

std::filesystem::path newest_attempt(const std::filesystem::path& run) {
  const std::vector<std::int64_t> numbers = numbered_folders(attempts_of(run));
  return numbers.empty() ? std::filesystem::path() : attempts_of(run) / std::to_string(numbers.back());
}

OwnerState OwnerWatch::judge(const std::filesystem::path& attempt) {
  if (read_outcome(attempt)) return OwnerState::ended;
  const std::optional<ProcessIdentity> owner = read_owner(attempt);
  const ProcessIdentity self = this_process();
  if (owner && owner->boot_id == self.boot_id && owner->pid_namespace == self.pid_namespace) {
    return start_ticks_of(owner->pid) == owner->start_ticks ? OwnerState::alive : OwnerState::dead;
  }
  const std::string counter = first_line(attempt / "heartbeat");
  const auto now = std::chrono::steady_clock::now();
  const auto [entry, first_look] = beats_.try_emplace(attempt, Beat{counter, now});
  Beat& beat = entry->second;
  if (!first_look && counter != beat.counter) beat = {counter, now, true};
  if (now - beat.seen >= patience_) return OwnerState::dead;
  return beat.moved ? OwnerState::alive : OwnerState::undecided;
}

bool owner_is_alive(const std::filesystem::path& attempt, std::chrono::milliseconds patience) {
  OwnerWatch watch(patience);
  for (;;) {
    const OwnerState state = watch.judge(attempt);
    if (state != OwnerState::undecided) return state == OwnerState::alive;
    std::this_thread::sleep_for(
        std::min<std::chrono::milliseconds>(std::chrono::milliseconds(100), patience));
  }
}

/// A thread of its own, so that a long evaluation or a slow disk does not look like death.
class Attempt::Heartbeat {
 public:
  explicit Heartbeat(std::filesystem::path file) : file_(std::move(file)), thread_([this] { beat(); }) {}
  ~Heartbeat() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

 private:
  void beat() {
    std::unique_lock lock(mutex_);
    for (std::uint64_t count = 1; !wake_.wait_for(lock, kBeat, [this] { return stop_; }); ++count) {
      write_beat(file_, count);
    }
  }

  std::filesystem::path file_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

Attempt::Attempt(const std::filesystem::path& run, std::chrono::milliseconds patience) : run_(run) {
  create_synced_folders(attempts_of(run));
  for (;;) {
    const std::filesystem::path newest = newest_attempt(run);
    if (!newest.empty() && owner_is_alive(newest, patience)) {
      throw RunBusyError(run.string() + ": another process (" + describe_owner(newest) +
                         ") is training this run; wait for it or stop it");
    }
    const std::int64_t last = newest.empty() ? 0 : std::stoll(newest.filename().string());
    if (last >= INT_MAX)
      throw InputError(newest.string() + ": found attempt " + std::to_string(last) + ", expected fewer");
    if (claim(static_cast<int>(last) + 1)) break;
  }
  sync_folder(attempts_of(run));
  log_ = open_log(folder_ / "log");
  heartbeat_ = std::make_unique<Heartbeat>(folder_ / "heartbeat");
}

/// False when somebody else has taken this number.
bool Attempt::claim(int number) {
  const ProcessIdentity self = this_process();
  const std::filesystem::path target = attempts_of(run_) / std::to_string(number);
  const std::filesystem::path fresh =
      attempts_of(run_) / (".new-" + std::to_string(self.pid) + "-" + std::to_string(std::random_device{}()));
  std::error_code ignored;
  try {
    create_synced_folder(fresh);
    replace_file(fresh / "owner.json", owner_json(self));
  } catch (const IoError&) {
    std::filesystem::remove_all(fresh, ignored);
    throw;
  }
  write_beat(fresh / "heartbeat", 0);
  struct stat ours {
  }, theirs{};
  const bool known = stat(fresh.c_str(), &ours) == 0;
  // A folder that is not empty is never replaced. Over NFS the call may fail though it was done: the inode
  // knows.
  const bool renamed = rename(fresh.c_str(), target.c_str()) == 0;
  const int rename_error = errno;
  if (renamed || (known && stat(target.c_str(), &theirs) == 0 && ours.st_ino == theirs.st_ino &&
                  ours.st_dev == theirs.st_dev)) {
    folder_ = target;
    number_ = number;
    return true;
  }
  std::filesystem::remove_all(fresh, ignored);
  errno = rename_error;
  if (errno != EEXIST && errno != ENOTEMPTY) throw_io(target, "create");
  return false;
}

Attempt::~Attempt() {
  if (!finished_) fail("ended without saying how");
}

bool Attempt::superseded() const {
  return path_exists(attempts_of(run_) / std::to_string(number_ + 1));
}

void Attempt::finish(const std::string& status, const std::string& reason) {
  log_->info("{}{}", status, reason.empty() ? "" : ": " + reason);
  const nlohmann::ordered_json json = {{"status", status}, {"reason", reason}};
  replace_file(folder_ / "outcome.json", json.dump() + "\n");
  finished_ = true;
  heartbeat_.reset();
}

void Attempt::fail(const std::string& reason) noexcept {
  try {
    finish("failed", reason);
  } catch (const std::exception&) {
    // The disk is full or gone: an attempt without an outcome is judged by whether its owner lives.
  }
}

}  // namespace minichilla
