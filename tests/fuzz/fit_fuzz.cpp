// fit.json.
#include <nlohmann/json.hpp>

#include "sweeps/analysis/fit.h"
#include "tests/fuzz/fuzz.h"

namespace minichilla {

void fuzz_one(std::string_view input) {
  Fit fit;
  if (!fuzz::accepts([&] { fit = parse_fit(std::string(input), "fit.json"); })) return;
  const std::string written = to_json(fit).dump();
  fuzz::expect(to_json(parse_fit(written, "fit.json")).dump() == written, "a fit reads back as itself",
               written);
  predict(fit, 1e15);
  predict_for_params(fit, 1e6);
}

}  // namespace minichilla
