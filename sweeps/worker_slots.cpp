#include "sweeps/worker_slots.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <set>
#include <utility>

#include "kernels/error.h"
#include "model/quote.h"

namespace minichilla {
namespace {

std::string siblings_of(int core) {
  std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(core) + "/topology/thread_siblings_list");
  std::string text;
  return std::getline(file, text) ? text : std::to_string(core);
}

std::optional<int> whole_number(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

}  // namespace

std::vector<int> allowed_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return {};
  std::vector<int> first, others;
  std::set<std::string> physical;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &allowed)) continue;
    (physical.insert(siblings_of(core)).second ? first : others).push_back(core);
  }
  first.insert(first.end(), others.begin(), others.end());
  return first;
}

/// A socket's name in the abstract namespace belongs to one process of the machine and ends with it: no
/// files, nothing to clean up.
CoreClaim::CoreClaim(const std::vector<int>& cores) {
  for (const int core : cores) {
    socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0) return;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string name = "minichilla-core-" + std::to_string(core);
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    if (bind(socket_, reinterpret_cast<const sockaddr*>(&address), size) == 0) {
      core_ = core;
      return;
    }
    close(std::exchange(socket_, -1));
  }
}

CoreClaim::~CoreClaim() {
  if (socket_ >= 0) close(socket_);
}

CoreClaim::CoreClaim(CoreClaim&& other) noexcept
    : core_(std::exchange(other.core_, std::nullopt)), socket_(std::exchange(other.socket_, -1)) {}

CoreClaim& CoreClaim::operator=(CoreClaim&& other) noexcept {
  std::swap(core_, other.core_);
  std::swap(socket_, other.socket_);
  return *this;
}

std::vector<int> parse_numbers(const std::string& text, const std::string& option) {
  std::vector<int> numbers;
  const auto fail = [&] {
    throw InputError(option + ": found " + quote(text) + ", expected different numbers such as 0,1,3 or 0-3");
  };
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = std::string_view(text).substr(begin, end - begin);
    const std::size_t dash = part.find('-');
    const auto first = whole_number(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : whole_number(part.substr(dash + 1));
    if (!first || !last || *last < *first || *last - *first > 4095) fail();
    for (int number = *first; number <= *last; ++number) {
      if (std::find(numbers.begin(), numbers.end(), number) != numbers.end()) fail();
      numbers.push_back(number);
    }
    begin = end + 1;
  }
  return numbers;
}

long oom_kills() {
  std::ifstream file("/sys/fs/cgroup/memory.events");
  std::string key;
  for (long count = 0; file >> key >> count;) {
    if (key == "oom_kill") return count;
  }
  return 0;
}

}  // namespace minichilla
