// What this machine has to give.
#pragma once

namespace minichilla {

/// Cores that this process may use: its affinity mask and, in a container, its share of CPU time; at least 1.
int usable_cores();

}  // namespace minichilla
