// The bytes that a run takes of its device, counted before anything is allocated, and what is said when they
// are not there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "trainer/run_config.h"

namespace minichilla {

struct MemoryPart {
  const char* key;    ///< for programs: "compute_weights"
  const char* words;  ///< for people: "rounded weights"
  std::size_t bytes;
};

/// Everything that train() allocates of the device's memory, to the byte, and the device's workspace; on the
/// CPU, whose memory is the program's too, also program_bytes() and the host's copy of a batch.
struct RunMemory {
  std::vector<MemoryPart> parts;  ///< always the same, in the same order; those not needed have 0 bytes
  std::size_t total() const;
};

/// `config` is resolved(), `device` the one that will train, with as many lanes.
RunMemory run_memory(const RunConfig& config, int vocabulary, const Device& device);

/// Bytes of the device's memory that the program itself holds: code, libraries, config, logs, the buffer of a
/// checkpoint. 0 for a device with a memory of its own.
std::size_t program_bytes(const Device& device);

/// Bytes that a run may take: what is free, and the workspace and program_bytes(), which are taken already.
/// Nothing where the device does not know.
std::optional<std::uint64_t> memory_for_run(const Device& device);

/// Why the run does not fit in memory_for_run(), in one line: both sums, the largest parts, and what to
/// lower. Empty when it fits.
std::string memory_refusal(const RunConfig& config, int vocabulary, const Device& device);

/// The same for a run that ran out of memory although it should have fitted.
std::string out_of_memory_message(const RunConfig& config, int vocabulary, const Device& device);

}  // namespace minichilla
