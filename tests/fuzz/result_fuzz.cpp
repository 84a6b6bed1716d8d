// result.json of a run.
#include "tests/fuzz/fuzz.h"
#include "trainer/run_directory.h"

namespace minichilla {

void fuzz_one(std::string_view input) {
  RunResult result;
  if (!fuzz::accepts([&] { result = parse_result(std::string(input), "result.json"); })) return;
  const std::string written = result_json(result);
  fuzz::expect(result_json(parse_result(written, "result.json")) == written, "a result reads back as itself",
               written);
}

}  // namespace minichilla
