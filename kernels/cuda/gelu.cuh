// GELU in its tanh form, and its derivative, by one exponential and one reciprocal each:
// (1 + tanh(z)) / 2 = 1 / (1 + exp(−2z)), and 2z = u · (slope + cubic · u²).
#pragma once

#include "kernels/cuda/mma.cuh"

namespace minichilla::cuda {

/// 2 · sqrt(2/π), and 0.044715 of it.
constexpr float kGeluSlope = 1.59576912160573071f, kGeluCubic = 0.0713548162726002528f;
/// The same times log2(e), for powers of two.
constexpr float kGeluSlope2 = 1.44269504088896341f * kGeluSlope,
                kGeluCubic2 = 1.44269504088896341f * kGeluCubic;

/// 1 / x to 1 ulp, for normal x; 0 where that is below the smallest normal number.
__device__ inline float reciprocal_approximate(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

__device__ inline float gelu(float u) {
  return u * reciprocal_approximate(1 + exp2_approximate(-u * (kGeluSlope2 + kGeluCubic2 * u * u)));
}

__device__ inline float gelu_derivative(float u) {
  // It is exactly 0 or 1 out there, and u² would overflow. NaN stays NaN.
  u = u > 20 ? 20 : u < -20 ? -20 : u;
  const float square = u * u, exponent = u * (kGeluSlope2 + kGeluCubic2 * square);
  // With the exponential of −|2z| nothing overflows, and nothing is lost in 1 − sigmoid.
  const float small = exp2_approximate(-fabsf(exponent)), large_half = reciprocal_approximate(1 + small);
  const float small_half = small * large_half;
  return (exponent < 0 ? small_half : large_half) +
         u * small_half * large_half * (kGeluSlope + 3 * kGeluCubic * square);
}

}  // namespace minichilla::cuda
