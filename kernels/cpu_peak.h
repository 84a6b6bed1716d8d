// What a core computes at most, for benchmarks to compare with.
#pragma once

#include <cstdint>

namespace minichilla {

struct FmaRun {
  double flops;      ///< of all its multiply-adds, 2 each
  float last_value;  ///< what they come to: a caller that uses it keeps the compiler from leaving them out
};

/// `rounds` (≥ 0) rounds of independent fp32 multiply-adds in registers, on the calling thread and the
/// instruction-set path that the kernels take; fused where that path can.
FmaRun run_multiply_adds(std::int64_t rounds);

/// The same of products of bf16 numbers that an instruction adds to fp32 sums; no flops without one
/// (cpu_has_bf16_instruction()).
FmaRun run_bf16_multiply_adds(std::int64_t rounds);

}  // namespace minichilla
