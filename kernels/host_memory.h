// The memory of the machine.
#pragma once

#include <cstdint>
#include <optional>

namespace minichilla {

/// Bytes that programs can still get without swapping; nothing when the system does not say.
std::optional<std::uint64_t> host_memory_available();

}  // namespace minichilla
