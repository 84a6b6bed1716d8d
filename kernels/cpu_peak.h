// What a core computes at most, for benchmarks to compare with.
#pragma once

#include <cstdint>

#include "kernels/cpu_bf16.h"

namespace minichilla {

struct FmaRun {
  double flops;      ///< of all its multiply-adds, 2 each
  float last_value;  ///< what they come to: a caller that uses it keeps the compiler from leaving them out
};

/// `rounds` (≥ 0) rounds of independent fp32 multiply-adds in registers, on the calling thread and the
/// instruction-set path that the kernels take; fused where that path can.
FmaRun run_multiply_adds(std::int64_t rounds);

/// The same of products of bf16 numbers that an instruction adds to fp32 sums, in one of the ways that this
/// processor has (cpu_bf16_products()); no flops of fp32_arithmetic.
FmaRun run_bf16_multiply_adds(Bf16Products products, std::int64_t rounds);

}  // namespace minichilla
