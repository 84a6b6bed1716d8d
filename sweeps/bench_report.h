// What `minichilla bench` measured, as a table and as JSON (docs/benchmarks.md).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sweeps/bench.h"

namespace minichilla {

struct BenchReport {
  std::string precision;
  double seconds;                      ///< of each measurement
  std::vector<DeviceFigures> figures;  ///< one for each number of lanes
};

std::string bench_text(const BenchReport& report);
nlohmann::ordered_json bench_json(const BenchReport& report);

}  // namespace minichilla
