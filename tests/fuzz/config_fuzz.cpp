// The YAML config of one run.
#include "tests/fuzz/fuzz.h"
#include "trainer/run_config.h"

namespace minichilla {

void fuzz_one(std::string_view input) {
  RunConfig config;
  const auto read = [](const std::string& text, RunConfig& into) {
    read_config(parse_yaml(text, "run.yaml"), "run.yaml", into);
  };
  if (!fuzz::accepts([&] { read(std::string(input), config); })) return;

  RunConfig again;
  const std::string written = yaml_text(write_config(config));
  read(written, again);
  fuzz::expect(yaml_text(write_config(again)) == written, "a config reads back as itself", written);
  fuzz::expect(!first_difference(config, again), "a config keeps its identity", written);
  fuzz::accepts([&] {
    config.model = resolved(config.model);
    run_id(config, "corpus");
  });
}

}  // namespace minichilla
