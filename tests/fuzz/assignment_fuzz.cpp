// --set: every line is an assignment to the config of a run.
#include <sstream>

#include "tests/fuzz/fuzz.h"
#include "trainer/run_config.h"

namespace minichilla {
namespace {

constexpr int kMostAssignments = 10;  ///< more of them cost time and show nothing new

}  // namespace

void fuzz_one(std::string_view input) {
  static const std::string defaults = yaml_text(write_config(RunConfig{}));
  const YAML::Node map = parse_yaml(defaults, "run.yaml");
  std::istringstream lines{std::string(input)};
  std::string line;
  for (int left = kMostAssignments; left > 0 && std::getline(lines, line); --left) {
    fuzz::accepts([&] { set_path(map, line); });
  }

  RunConfig config;
  if (!fuzz::accepts([&] { read_config(map, "run.yaml", config); })) return;
  RunConfig again;
  const std::string written = yaml_text(write_config(config));
  read_config(parse_yaml(written, "written.yaml"), "written.yaml", again);
  fuzz::expect(!first_difference(config, again), "what was set reads back as itself", written);
}

}  // namespace minichilla
