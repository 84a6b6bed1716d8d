// GELU in its tanh form, and its derivative, by one exponential each:
// (1 + tanh(z)) / 2 = 1 / (1 + exp(−2z)) with 2z = u · (kSlope + kCubic · u²).
#pragma once

namespace minichilla::cuda {

/// 2 · sqrt(2/π), and 0.044715 of it.
constexpr float kGeluSlope = 1.59576912160573071f, kGeluCubic = 0.071354816272600246f;

__device__ inline float gelu(float u) {
  return __fdividef(u, 1 + __expf(-u * (kGeluSlope + kGeluCubic * u * u)));
}

__device__ inline float gelu_derivative(float u) {
  // It is exactly 0 or 1 out there, and u² would overflow. NaN stays NaN.
  u = u > 20 ? 20 : u < -20 ? -20 : u;
  const float twice_z = u * (kGeluSlope + kGeluCubic * u * u);
  // With the exponential of −|2z| nothing overflows, and nothing is lost in 1 − sigmoid.
  const float small = __expf(-fabsf(twice_z)), large_half = __fdividef(1, 1 + small);
  const float sigmoid = twice_z < 0 ? small * large_half : large_half;
  return sigmoid + u * small * large_half * large_half * (kGeluSlope + 3 * kGeluCubic * u * u);
}

}  // namespace minichilla::cuda
