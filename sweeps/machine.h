// What this machine has to give.
#pragma once

#include <cstdint>

namespace minichilla {

/// Cores that this process may use: its affinity mask and, in a container, its share of CPU time; at least 1.
int usable_cores();

/// Bytes that programs can still get without swapping; 0 when the system does not say.
std::uint64_t memory_available();

}  // namespace minichilla
