#include "sweeps/worker_slots.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <compare>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <utility>

#include "kernels/error.h"
#include "model/quote.h"

namespace minichilla {
namespace {

std::optional<int> whole_number(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

std::string first_line(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::string text;
  std::getline(stream, text);
  return text;
}

/// The memory node that each core belongs to; cores of which the system says nothing are not there.
std::map<int, int> nodes_of_cores(const std::filesystem::path& system) {
  std::map<int, int> nodes;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(system / "node", none)) {
    const std::string name = entry.path().filename();
    const std::optional<int> node = name.starts_with("node") ? whole_number(name.substr(4)) : std::nullopt;
    const std::string cores = node ? first_line(entry.path() / "cpulist") : "";
    if (cores.empty()) continue;  // memory without cores
    for (const int core : parse_numbers(cores, "cpulist")) nodes[core] = *node;
  }
  return nodes;
}

}  // namespace

std::vector<int> spread_over_machine(const std::vector<int>& cores, const std::filesystem::path& system) {
  struct Place {
    bool sibling;            // of a core that comes before it
    int turn, node, number;  // turn: how many of its node and kind come before it
    auto operator<=>(const Place&) const = default;
  };
  const std::map<int, int> nodes = nodes_of_cores(system);
  std::map<std::pair<bool, int>, int> turns;
  std::set<std::string> physical;
  std::vector<Place> places;
  for (const int core : cores) {
    const std::string siblings =
        first_line(system / "cpu" / ("cpu" + std::to_string(core)) / "topology" / "thread_siblings_list");
    const bool sibling = !physical.insert(siblings.empty() ? std::to_string(core) : siblings).second;
    const auto found = nodes.find(core);
    const int node = found == nodes.end() ? 0 : found->second;
    places.push_back({sibling, turns[{sibling, node}]++, node, core});
  }
  std::ranges::sort(places);
  std::vector<int> spread;
  for (const Place& place : places) spread.push_back(place.number);
  return spread;
}

std::vector<int> allowed_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return {};
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed)) cores.push_back(core);
  }
  return spread_over_machine(cores);
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
