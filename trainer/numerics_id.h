// What decides a run's bits, as one short name.
#pragma once

#include <string>

#include "kernels/device.h"
#include "trainer/run_config.h"

namespace minichilla {

/// The program: version, compiler and the linker's build id where there is one.
std::string build_identity();

/// SHA-256 in hexadecimal of the sources that the program was built of, as source_hash.cmake takes it; empty
/// in executables that carry none, such as tests.
std::string source_hash();

/// Twelve hexadecimal digits over build, Device::numerics(), config with its seed, and corpus. Equal ids mean
/// equal bits; the number of threads is no part of it.
std::string numerics_id(const RunConfig& config, const std::string& corpus_hash, const Device& device);

}  // namespace minichilla
