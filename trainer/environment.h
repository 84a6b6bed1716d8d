// Where a result came from, for its files.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace minichilla {

/// Program (version, compiler, build id) and machine: host, kernel, CPU, and the variables that schedulers
/// and libraries read.
nlohmann::ordered_json environment_json();

}  // namespace minichilla
