#include "trainer/attempt.h"

#include <fcntl.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
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
#include "trainer/environment.h"
#include "trainer/files.h"
#include "trainer/json_fields.h"

namespace minichilla {
namespace {

constexpr std::chrono::milliseconds kBeat{1000}, kLook{100};

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
  AttemptOutcome outcome{json_text(json, "status", where), json_text(json, "reason", where)};
  outcome.final = json.contains("run_id");
  if (outcome.final) {
    outcome.step = parse_result(text, where).steps;
  } else if (json.contains("cause")) {  // versions before 0.2 wrote status and reason alone
    outcome.cause = json_text(json, "cause", where);
    outcome.step = json_whole(json, "step", where);
  }
  return outcome;
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

std::optional<AttemptOrigin> read_origin(const std::filesystem::path& attempt) {
  const std::filesystem::path file = attempt / "origin.json";
  if (!path_exists(file)) return std::nullopt;
  const nlohmann::json json = parse_json_object(read_file(file), file.string());
  return AttemptOrigin{json_whole(json, "step", file.string()), json_whole(json, "attempt", file.string())};
}

std::string describe_owner(const std::filesystem::path& attempt) {
  const std::optional<ProcessIdentity> owner = read_owner(attempt);
  return owner ? "pid " + std::to_string(owner->pid) + " on " + printable(owner->host) : "unknown";
}

std::int64_t newest_attempt_number(const std::filesystem::path& run) {
  const std::vector<std::int64_t> numbers = numbered_folders(attempts_of(run));
  return numbers.empty() ? 0 : numbers.back();
}

std::filesystem::path newest_attempt(const std::filesystem::path& run) {
  const std::int64_t number = newest_attempt_number(run);
  return number == 0 ? std::filesystem::path() : attempts_of(run) / std::to_string(number);
}

bool is_owner(const std::filesystem::path& attempt, std::int64_t pid) {
  if (attempt.empty()) return false;
  const std::optional<ProcessIdentity> owner = read_owner(attempt);
  const ProcessIdentity self = this_process();
  return owner && owner->pid == pid && owner->boot_id == self.boot_id &&
         owner->pid_namespace == self.pid_namespace;
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

namespace {

std::string outcome_json(const AttemptOutcome& outcome) {
  const nlohmann::ordered_json json = {{"status", outcome.status},
                                       {"cause", outcome.cause},
                                       {"reason", outcome.reason},
                                       {"step", outcome.step}};
  // A worker's last words may be no UTF-8.
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

/// 0 also when that cannot be told: an attempt has to end in any case.
std::int64_t newest_checkpoint(const std::filesystem::path& run) {
  try {
    const std::vector<std::int64_t> steps = numbered_folders(run / "checkpoints");
    return steps.empty() ? 0 : steps.back();
  } catch (const IoError&) {
    return 0;
  }
}

/// Ownership on the files of a run folder.
class FolderOwnership final : public OwnershipFiles {
 public:
  FolderOwnership(const std::filesystem::path& run, std::chrono::milliseconds patience)
      : run_(run), watch_(patience) {}

  std::filesystem::path attempt(std::int64_t number) const {
    return attempts_of(run_) / std::to_string(number);
  }

  bool has_result() override { return path_exists(run_ / "result.json"); }
  std::int64_t newest_attempt() override { return newest_attempt_number(run_); }
  std::optional<bool> final(std::int64_t number) override {
    const std::optional<AttemptOutcome> outcome = read_outcome(attempt(number));
    return outcome ? std::optional(outcome->final) : std::nullopt;
  }
  OwnerState owner(std::int64_t number) override { return watch_.judge(attempt(number)); }
  Ending lost(std::int64_t number) override {
    const ProcessIdentity self = this_process();
    return {false,
            outcome_json({"lost",
                          "its process (" + describe_owner(attempt(number)) + ") was found dead by pid " +
                              std::to_string(self.pid) + " on " + self.host,
                          cause::kKilled, newest_checkpoint(run_)})};
  }
  std::string lost_to(std::int64_t number) const {
    const std::optional<AttemptOutcome> outcome = read_outcome(attempt(number));
    return outcome ? outcome->reason : "";
  }

  bool create_attempt(std::int64_t number) override;
  bool end_attempt(std::int64_t number, const Ending& ending) override {
    return publish_file(attempt(number) / "outcome.json", ending.text);
  }
  void publish(std::int64_t number) override {
    link_file(attempt(number) / "outcome.json", run_ / "result.json");
  }

 private:
  std::filesystem::path run_;
  OwnerWatch watch_;
};

/// False when somebody else has taken this number.
bool FolderOwnership::create_attempt(std::int64_t number) {
  if (number > INT_MAX) {
    throw InputError(attempt(number - 1).string() + ": found attempt " + std::to_string(number - 1) +
                     ", expected fewer");
  }
  const ProcessIdentity self = this_process();
  const std::filesystem::path target = attempt(number);
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
    return true;
  }
  std::filesystem::remove_all(fresh, ignored);
  errno = rename_error;
  if (errno != EEXIST && errno != ENOTEMPTY) throw_io(target, "create");
  return false;
}

}  // namespace

/// A thread of its own, so that a long evaluation or a slow disk does not look like death. It also looks
/// whether somebody has taken it for dead all the same.
class Attempt::Heartbeat {
 public:
  explicit Heartbeat(const std::filesystem::path& attempt)
      : file_(attempt / "heartbeat"), outcome_(attempt / "outcome.json"), thread_([this] { beat(); }) {}
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

  bool lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  void beat() {
    std::unique_lock lock(mutex_);
    for (std::uint64_t count = 1; !wake_.wait_for(lock, kBeat, [this] { return stop_; }); ++count) {
      write_beat(file_, count);
      std::error_code ignored;
      if (std::filesystem::exists(outcome_, ignored)) lost_.store(true, std::memory_order_relaxed);
    }
  }

  std::filesystem::path file_, outcome_;
  std::atomic<bool> lost_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

Attempt::Attempt(const std::filesystem::path& run, std::chrono::milliseconds patience) : run_(run) {
  create_synced_folders(attempts_of(run));
  FolderOwnership files(run, patience);
  RunClaim claim(files);
  for (RunClaim::Answer answer; (answer = claim.look()) != RunClaim::Answer::taken;) {
    if (answer == RunClaim::Answer::ended) throw RunEndedError(run.string() + ": has a result");
    if (answer == RunClaim::Answer::busy) {
      throw RunBusyError(run.string() + ": another process (" + describe_owner(newest_attempt(run)) +
                         ") is training this run; wait for it or stop it");
    }
    std::this_thread::sleep_for(std::min<std::chrono::milliseconds>(kLook, patience));
  }
  number_ = static_cast<int>(claim.number());
  folder_ = files.attempt(number_);
  sync_folder(attempts_of(run));
  log_ = open_log(folder_ / "log");
  heartbeat_ = std::make_unique<Heartbeat>(folder_);
}

Attempt::~Attempt() {
  if (!finished_) fail(cause::kCrash, "ended without saying how");
}

void Attempt::begin_after(const AttemptOrigin& origin, const std::string& numerics_id,
                          const std::string& numerics) {
  const nlohmann::ordered_json json = {{"step", origin.step},
                                       {"attempt", origin.attempt},
                                       {"numerics_id", numerics_id},
                                       {"numerics", numerics},
                                       {"environment", environment_json()}};
  replace_file(folder_ / "origin.json",
               json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

bool Attempt::superseded() const {
  return lost() || path_exists(folder_ / "outcome.json");
}

bool Attempt::lost() const {
  return heartbeat_ && heartbeat_->lost();
}

bool Attempt::end(const Ending& ending) {
  FolderOwnership files(run_, kOwnerPatience);
  const bool counts = finish_attempt(files, number_, ending);
  if (!counts) log_->warn("this attempt was declared lost before: {}", files.lost_to(number_));
  finished_ = true;
  heartbeat_.reset();
  return counts;
}

bool Attempt::finish(const std::string& status, const std::string& reason, const std::string& cause) {
  log_->info("{}{}", status, reason.empty() ? "" : ": " + reason);
  return end({false, outcome_json({status, reason, cause, newest_checkpoint(run_)})});
}

bool Attempt::publish(const RunResult& result) {
  log_->info("{}{}", result.status, result.reason.empty() ? "" : ": " + result.reason);
  return end({true, result_json(result)});
}

void Attempt::fail(const char* cause, const std::string& reason) noexcept {
  try {
    finish("failed", reason, cause);
  } catch (const std::exception&) {
    // The disk is full or gone: an attempt without an outcome is judged by whether its owner lives.
  }
}

void record_failure(const std::filesystem::path& run, std::int64_t pid, const std::string& cause,
                    const std::string& reason) {
  create_synced_folders(attempts_of(run));
  FolderOwnership files(run, kOwnerPatience);
  const Ending ending{false, outcome_json({"failed", reason, cause, newest_checkpoint(run)})};
  const std::int64_t newest = files.newest_attempt();
  if (newest > 0 && is_owner(files.attempt(newest), pid)) {
    finish_attempt(files, newest, ending);
    return;
  }
  RunClaim claim(files);
  if (claim.look() == RunClaim::Answer::taken) finish_attempt(files, claim.number(), ending);
}

}  // namespace minichilla
