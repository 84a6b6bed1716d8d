// owner.json and outcome.json of an attempt; the first byte says which.
#include "tests/fuzz/fuzz.h"
#include "trainer/attempt.h"

namespace minichilla {

void fuzz_one(std::string_view input) {
  static const fuzz::Scratch scratch;
  if (input.empty()) return;
  const std::string text(input.substr(1));
  if (input[0] % 2 == 0) {
    fuzz::accepts([&] { parse_outcome(text, "outcome.json"); });
    return;
  }
  if (!fuzz::accepts([&] { parse_owner(text, "owner.json"); })) return;
  scratch.write("owner.json", text);
  fuzz::expect_one_line(describe_owner(scratch.path()));
}

}  // namespace minichilla
