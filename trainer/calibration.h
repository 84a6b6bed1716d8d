// How fast a config trains on this machine, from a short measurement.
#pragma once

#include "kernels/device.h"
#include "trainer/run_config.h"

namespace minichilla {

/// Tokens per second of training steps (evaluation, logs and checkpoints not counted): warms up for a fifth
/// of `seconds`, then repeats the step on random tokens and takes the fastest one; at least one step of each,
/// so a large model takes longer than `seconds`. `config` is resolved(). std::runtime_error with
/// out_of_memory_message().
double measure_tokens_per_s(const RunConfig& config, int vocabulary, Device& device, double seconds);

}  // namespace minichilla
