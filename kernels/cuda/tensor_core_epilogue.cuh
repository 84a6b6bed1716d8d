// From a warp's accumulators to C.
#pragma once

#include <cstdint>

#include "kernels/cuda/gelu.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/mma.cuh"

namespace minichilla::cuda {

/// Where bf16 results go.
struct Bf16Target {
  using Element = __nv_bfloat16;
  Matrix<Element> c;
  Epilogue<Element> epilogue;
  int rows, columns;
  bool vectors;  ///< every row of c and of gelu_input begins on a multiple of 16 bytes
};

/// Where fp32 results go.
struct Fp32Target {
  using Element = float;
  Matrix<Element> c;
  bool accumulate;
  int rows, columns;
  bool vectors;  ///< every row of c begins on a multiple of 8 bytes
};

/// Up to eight neighbours in a row; the vector access is for all of them, aligned.
__device__ inline void read_bf16(float (&values)[8], const __nv_bfloat16* from, int width, bool vector) {
  if (vector) {
    const uint4 words = *reinterpret_cast<const uint4*>(from);
    const std::uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 8; ++i)
      values[i] = __uint_as_float(i % 2 ? pairs[i / 2] & 0xffff0000u : pairs[i / 2] << 16);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = i < width ? to_float(from[i]) : 0;
  }
}
__device__ inline void write_bf16(const float (&values)[8], __nv_bfloat16* to, int width, bool vector) {
  if (vector) {
    *reinterpret_cast<uint4*>(to) =
        make_uint4(pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]),
                   pack_bf16(values[4], values[5]), pack_bf16(values[6], values[7]));
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i < width) to[i] = __float2bfloat16(values[i]);
    }
  }
}

/// Eight neighbouring columns of one row; kWhole: they are inside, and vectors.
template <bool kWhole>
__device__ inline void finish(const Bf16Target& target, int row, int column, const float (&bias)[8],
                              float (&values)[8]) {
  using Kind = Epilogue<__nv_bfloat16>::Kind;
  if (!kWhole && (row >= target.rows || column >= target.columns)) return;
  const int width = kWhole ? 8 : min(8, target.columns - column);
  const bool vector = kWhole || (target.vectors && width == 8);
  const std::int64_t at = row * target.c.leading_dimension + column;
  const Kind kind = target.epilogue.kind;
  if (kind == Kind::kBias || kind == Kind::kBiasGelu) {
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] += bias[i];
  }
  if (kind == Kind::kBiasGelu) {
    write_bf16(values, target.epilogue.gelu_input + at, width, vector);
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = gelu(values[i]);
  }
  if (kind == Kind::kGeluDerivative) {
    float inputs[8];
    read_bf16(inputs, target.epilogue.gelu_input + at, width, vector);
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] *= gelu_derivative(inputs[i]);
  }
  write_bf16(values, target.c.data + at, width, vector);
}

/// Four lanes hold a row of four neighbouring fragments, two columns of each. Afterwards each lane holds all
/// eight columns of the fragment with its number: fragments[i] of lane m is what fragments[m] of lane i was.
__device__ inline void exchange_fragments(float (&fragments)[4][2]) {
  const bool odd = threadIdx.x % 2, upper = threadIdx.x / 2 % 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    // Neighbouring lanes swap within each pair of fragments, then lanes two apart swap whole pairs.
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      float &first = fragments[i][half], &second = fragments[i + 1][half];
      const float received = __shfl_xor_sync(~0u, odd ? first : second, 1);
      (odd ? first : second) = received;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float &first = fragments[i][half], &second = fragments[i + 2][half];
      const float received = __shfl_xor_sync(~0u, upper ? first : second, 2);
      (upper ? first : second) = received;
    }
  }
}

/// The sums of kM × kN fragments, whose first row and column in C are given; kWhole: all are inside, and
/// vectors.
template <bool kWhole, int kM, int kN>
__device__ void finish_fragments(const Bf16Target& target, int first_row, int first_column,
                                 float (&sums)[kM][kN][4]) {
  const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
  const bool with_bias = target.epilogue.bias != nullptr;
#pragma unroll
  for (int n = 0; n < kN; n += 4) {
    const int column = first_column + (n + member) * 8;
    float bias[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      bias[i] = with_bias && (kWhole || column + i < target.columns) ? target.epilogue.bias[column + i] : 0;
    }
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int lower = 0; lower < 2; ++lower) {
        float fragments[4][2];
#pragma unroll
        for (int i = 0; i < 8; ++i) fragments[i / 2][i % 2] = sums[m][n + i / 2][2 * lower + i % 2];
        exchange_fragments(fragments);
        float values[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) values[i] = fragments[i / 2][i % 2];
        finish<kWhole>(target, first_row + 16 * m + 8 * lower + group, column, bias, values);
      }
    }
  }
}

/// In fp32 the two columns that a lane holds of a fragment are enough: four lanes write 32 bytes.
template <bool kWhole, int kM, int kN>
__device__ void finish_fragments(const Fp32Target& target, int first_row, int first_column,
                                 float (&sums)[kM][kN][4]) {
  const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < kM * kN * 2; ++i) {
    const int m = i / (2 * kN), lower = i / kN % 2, n = i % kN;
    const int row = first_row + 16 * m + 8 * lower + group, column = first_column + 8 * n + 2 * member;
    if (!kWhole && (row >= target.rows || column >= target.columns)) continue;
    float* to = target.c.data + row * target.c.leading_dimension + column;
    float2 values = make_float2(sums[m][n][2 * lower], sums[m][n][2 * lower + 1]);
    if (kWhole || (target.vectors && column + 1 < target.columns)) {
      float2& place = *reinterpret_cast<float2*>(to);
      if (target.accumulate) values = make_float2(place.x + values.x, place.y + values.y);
      place = values;
    } else {
      to[0] = target.accumulate ? to[0] + values.x : values.x;
      if (column + 1 < target.columns) to[1] = target.accumulate ? to[1] + values.y : values.y;
    }
  }
}

/// The fragments of a warp inside C take a path without what the others need, which is most of the
/// instructions.
template <class Target, int kM, int kN>
__device__ void finish_warp(const Target& target, int first_row, int first_column, float (&sums)[kM][kN][4]) {
  if (target.vectors && first_row + 16 * kM <= target.rows && first_column + 8 * kN <= target.columns) {
    finish_fragments<true>(target, first_row, first_column, sums);
  } else {
    finish_fragments<false>(target, first_row, first_column, sums);
  }
}

}  // namespace minichilla::cuda
