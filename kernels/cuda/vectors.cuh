// Neighbouring elements of an array as fp32, 16 bytes at a time where the addresses allow.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "kernels/cuda/launch.h"
#include "kernels/ops.h"

namespace minichilla::cuda {

/// Elements in 16 bytes.
template <class Real>
constexpr int kVectorWidth = 16 / static_cast<int>(sizeof(Real));

/// Whether all are 16-byte aligned, as fresh allocations are; nullptr is.
inline bool all_aligned(std::initializer_list<const void*> pointers) {
  for (const void* pointer : pointers) {
    if (reinterpret_cast<std::uintptr_t>(pointer) % 16 != 0) return false;
  }
  return true;
}

/// Calls launch(width) with 16 bytes of Real, or with one element where a row of `columns` is not whole
/// vectors.
template <class Real, class Launch>
void with_vector_width(int columns, bool aligned, const Launch& launch) {
  if (aligned && columns % kVectorWidth<Real> == 0) {
    launch(std::integral_constant<int, kVectorWidth<Real>>());
  } else {
    launch(std::integral_constant<int, 1>());
  }
}

/// values = the kWidth elements at `from`: 1, or a power of two from 4 on. Then `from` is aligned to 16
/// bytes, or to all elements where they are less.
template <int kWidth, class Real>
__device__ inline void load(const Real* from, float (&values)[kWidth]) {
  if constexpr (kWidth == 1) {
    values[0] = to_float(*from);
  } else if constexpr (std::is_same_v<Real, float>) {
#pragma unroll
    for (int i = 0; i < kWidth; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      values[i] = four.x, values[i + 1] = four.y, values[i + 2] = four.z, values[i + 3] = four.w;
    }
  } else {
    using Raw = std::conditional_t<kWidth == 4, uint2, uint4>;
    const Raw raw = *reinterpret_cast<const Raw*>(from);
    const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&raw);
#pragma unroll
    for (int i = 0; i < kWidth / 2; ++i) {
      const float2 pair = __bfloat1622float2(pairs[i]);
      values[2 * i] = pair.x, values[2 * i + 1] = pair.y;
    }
  }
}

/// The opposite of load, rounding to Real.
template <int kWidth, class Real>
__device__ inline void store(const float (&values)[kWidth], Real* to) {
  if constexpr (kWidth == 1) {
    *to = from_float<Real>(values[0]);
  } else if constexpr (std::is_same_v<Real, float>) {
#pragma unroll
    for (int i = 0; i < kWidth; i += 4) {
      *reinterpret_cast<float4*>(to + i) =
          make_float4(values[i], values[i + 1], values[i + 2], values[i + 3]);
    }
  } else {
    using Raw = std::conditional_t<kWidth == 4, uint2, uint4>;
    Raw raw;
    auto* pairs = reinterpret_cast<__nv_bfloat162*>(&raw);
#pragma unroll
    for (int i = 0; i < kWidth / 2; ++i) pairs[i] = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
    *reinterpret_cast<Raw*>(to) = raw;
  }
}

/// What a value is after it has been stored as Real.
template <class Real>
__device__ inline float rounded_to(float value) {
  return to_float(from_float<Real>(value));
}

/// Calls work(width, i) for elements [i, i + width) of all of `range`, spread over the grid. The width is
/// kWidth at multiples of kWidth, if `aligned` (the arrays' first elements are) and they are inside, else 1.
template <int kWidth, class Work>
__device__ inline void for_each_vector(ElementRange range, bool aligned, const Work& work) {
  const std::int64_t end = (range.end + kWidth - 1) / kWidth;
  const std::int64_t thread = blockIdx.x * static_cast<std::int64_t>(blockDim.x) + threadIdx.x;
  const std::int64_t step = gridDim.x * static_cast<std::int64_t>(blockDim.x);
  for (std::int64_t vector = range.begin / kWidth + thread; vector < end; vector += step) {
    const std::int64_t i = vector * kWidth;
    if (aligned && i >= range.begin && i + kWidth <= range.end) {
      work(std::integral_constant<int, kWidth>(), i);
    } else {
      for (std::int64_t j = max(i, range.begin); j < min(i + kWidth, range.end); ++j) {
        work(std::integral_constant<int, 1>(), j);
      }
    }
  }
}

/// Blocks of `threads` to run for_each_vector with: never more than keep a large GPU busy.
inline unsigned vector_blocks(ElementRange range, int width, int threads) {
  const std::int64_t vectors = ceil_div<std::int64_t>(range.end, width) - range.begin / width;
  return static_cast<unsigned>(std::min(ceil_div<std::int64_t>(vectors, threads), std::int64_t{4096}));
}

}  // namespace minichilla::cuda
