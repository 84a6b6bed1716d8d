#include "trainer/attempt.h"

#include <fcntl.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>

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
                                       {"start_ticks", owner.start_ticks}};
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

std::shared_ptr<spdlog::logger> open_log(const std::filesystem::path& file) {
  try {
    auto logger = std::make_shared<spdlog::logger>(
        "run", std::make_shared<spdlog::sinks::basic_file_sink_mt>(file.string()));
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
    logger->flush_on(spdlog::level::info);
    logger->set_error_handler([](const std::string&) {});  // metrics and checkpoints report a failing disk
    return logger;
  } catch (const spdlog::spdlog_ex& error) {
    throw IoError(file.string() + ": cannot create: " + error.what());
  }
}

}  // namespace

ProcessIdentity this_process() {
  ProcessIdentity self;
  char host[HOST_NAME_MAX + 1] = {};
  gethostname(host, sizeof host - 1);
  self.host = host;
  self.pid = getpid();
  self.boot_id = first_line("/proc/sys/kernel/random/boot_id");
  self.pid_namespace = link_target("/proc/self/ns/pid");
  self.start_ticks = start_ticks_of(self.pid).value_or(0);
  return self;
}

std::optional<AttemptOutcome> read_outcome(const std::filesystem::path& attempt) {
  const std::filesystem::path file = attempt / "outcome.json";
  if (!std::filesystem::exists(file)) return std::nullopt;
  const nlohmann::json json = parse_json_object(read_file(file), file.string());
  return AttemptOutcome{json_text(json, "status", file.string()), json_text(json, "reason", file.string())};
}

std::optional<ProcessIdentity> read_owner(const std::filesystem::path& attempt) {
  const std::filesystem::path file = attempt / "owner.json";
  if (!std::filesystem::exists(file)) return std::nullopt;
  const std::string where = file.string();
  const nlohmann::json json = parse_json_object(read_file(file), where);
  return ProcessIdentity{json_text(json, "host", where), json_whole(json, "pid", where),
                         json_text(json, "boot_id", where), json_text(json, "pid_namespace", where),
                         json_whole(json, "start_ticks", where)};
}

std::string describe_owner(const std::filesystem::path& attempt) {
  const std::optional<ProcessIdentity> owner = read_owner(attempt);
  return owner ? "pid " + std::to_string(owner->pid) + " on " + owner->host : "unknown";
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
  std::error_code error;
  std::filesystem::create_directories(attempts_of(run), error);
  if (error) throw IoError(attempts_of(run).string() + ": cannot create: " + error.message());
  for (;;) {
    const std::filesystem::path newest = newest_attempt(run);
    if (!newest.empty() && owner_is_alive(newest, patience)) {
      throw RunBusyError(run.string() + ": another process (" + describe_owner(newest) +
                         ") is training this run; wait for it or stop it");
    }
    if (claim(newest.empty() ? 1 : std::stoi(newest.filename().string()) + 1)) break;
  }
  heartbeat_ = std::make_unique<Heartbeat>(folder_ / "heartbeat");
  log_ = open_log(folder_ / "log");
}

/// False when somebody else has taken this number.
bool Attempt::claim(int number) {
  const ProcessIdentity self = this_process();
  const std::filesystem::path target = attempts_of(run_) / std::to_string(number);
  const std::filesystem::path fresh =
      attempts_of(run_) / (".new-" + std::to_string(self.pid) + "-" + std::to_string(std::random_device{}()));
  std::error_code error;
  if (!std::filesystem::create_directory(fresh, error)) {
    throw IoError(fresh.string() + ": cannot create: " + error.message());
  }
  try {
    replace_file(fresh / "owner.json", owner_json(self));
  } catch (const IoError&) {
    std::filesystem::remove_all(fresh, error);
    throw;
  }
  write_beat(fresh / "heartbeat", 0);
  struct stat ours {
  }, theirs{};
  const bool known = stat(fresh.c_str(), &ours) == 0;
  // A folder that is not empty is never replaced. Over NFS the call may fail though it was done: the inode
  // knows.
  const int renamed = rename(fresh.c_str(), target.c_str());
  const int rename_error = errno;
  if (known && stat(target.c_str(), &theirs) == 0 && ours.st_ino == theirs.st_ino &&
      ours.st_dev == theirs.st_dev) {
    sync_folder(attempts_of(run_));
    folder_ = target;
    number_ = number;
    return true;
  }
  std::filesystem::remove_all(fresh, error);
  if (renamed != 0 && rename_error != EEXIST && rename_error != ENOTEMPTY) {
    throw IoError(target.string() + ": cannot create: " + std::strerror(rename_error));
  }
  return false;
}

Attempt::~Attempt() {
  if (!finished_) fail("ended without saying how");
}

bool Attempt::superseded() const {
  return std::filesystem::exists(attempts_of(run_) / std::to_string(number_ + 1));
}

void Attempt::finish(const std::string& status, const std::string& reason) {
  log_->info("{}{}", status, reason.empty() ? "" : ": " + reason);
  log_->flush();
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
