// Tiles of a matrix product's operands in shared memory: how they are laid out, filled, and read as
// fragments.
//
// A tile holds kExtent rows (of A) or columns (of B) by kStepDepth elements of depth. It keeps the order of
// memory: "along the depth", a line is one row and kStepDepth elements of depth; otherwise it is one element
// of depth and kExtent rows. Lines are cut into chunks of 16 bytes, and the chunks of a line are permuted by
// the line's number, so that eight neighbouring lines hold the same chunk in different banks.
#pragma once

#include <cstdint>

#include "kernels/cuda/matmul.h"
#include "kernels/cuda/mma.cuh"

namespace minichilla::cuda {

constexpr int kStepDepth = 32;        ///< depth of a tile
constexpr int kProductThreads = 128;  ///< of a block: 2 × 2 warps
constexpr int kChunk = 8;             ///< elements in 16 bytes

template <int kExtent, bool kAlongDepth>
struct OperandTile {
  static constexpr int kLines = kAlongDepth ? kExtent : kStepDepth;
  static constexpr int kLineChunks = (kAlongDepth ? kStepDepth : kExtent) / kChunk;
  static constexpr int kElements = kExtent * kStepDepth;

  __device__ static int offset(int line, int chunk) {
    // Lines of 64 bytes share their 128 with a neighbour, which has other banks anyway.
    const int permuted = kAlongDepth ? chunk ^ (line / 2 % 4) : chunk ^ (line % 8);
    return (line * kLineChunks + permuted) * kChunk;
  }

  /// The fragment of mma_bf16_16x8x16's `a` at `row` of the tile (a multiple of 16) and depth 16 · step.
  __device__ static void load_a(std::uint32_t (&fragment)[4], const __nv_bfloat16* tile, int row, int step) {
    const int lane = threadIdx.x % 32;
    if constexpr (kAlongDepth) {
      ldmatrix_x4(fragment, tile + offset(row + lane % 16, 2 * step + lane / 16));
    } else {
      ldmatrix_x4_trans(fragment,
                        tile + offset(16 * step + lane % 8 + lane / 16 * 8, row / kChunk + lane / 8 % 2));
    }
  }

  /// Two neighbouring fragments `b`: b0, b1 of columns column … column + 7, then of the next eight.
  __device__ static void load_b(std::uint32_t (&fragments)[4], const __nv_bfloat16* tile, int column,
                                int step) {
    const int lane = threadIdx.x % 32;
    if constexpr (kAlongDepth) {
      ldmatrix_x4(fragments, tile + offset(column + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
    } else {
      ldmatrix_x4_trans(fragments, tile + offset(16 * step + lane % 16, column / kChunk + lane / 16));
    }
  }
};

/// Fills the tiles of one operand, step by step down the depth. What lies outside the matrix becomes 0.
template <int kExtent, bool kAlongDepth, bool kAnyAlignment>
class OperandLoader {
 public:
  using Tile = OperandTile<kExtent, kAlongDepth>;

  /// The tile's first row (or column) is `first` of `extent`. `aligned`: every line of the matrix begins on a
  /// multiple of 16 bytes.
  __device__ OperandLoader(Matrix<const __nv_bfloat16> matrix, int first, int extent, int depth, bool aligned)
      : leading_dimension_(matrix.leading_dimension),
        line_(static_cast<int>(threadIdx.x) / Tile::kLineChunks + (kAlongDepth ? first : 0)),
        element_(static_cast<int>(threadIdx.x) % Tile::kLineChunks * kChunk + (kAlongDepth ? 0 : first)),
        lines_(kAlongDepth ? extent : depth),
        elements_(kAlongDepth ? depth : extent),
        aligned_(aligned),
        source_(matrix.data + line_ * leading_dimension_ + element_),
        target_(Tile::offset(static_cast<int>(threadIdx.x) / Tile::kLineChunks,
                             static_cast<int>(threadIdx.x) % Tile::kLineChunks)) {}

  /// Starts to fill `tile`, and moves on to the next.
  __device__ void start(__nv_bfloat16* tile) {
    // The permutation repeats after kLinesAtOnce lines, so a thread's targets are evenly spaced.
    static_assert(kLinesAtOnce % 8 == 0 && Tile::kLines % kLinesAtOnce == 0);
    const int inside = min(max(elements_ - element_, 0), kChunk);
#pragma unroll
    for (int i = 0; i < Tile::kLines / kLinesAtOnce; ++i) {
      const int valid = line_ + i * kLinesAtOnce < lines_ ? inside : 0;
      copy_chunk(tile + target_ + i * kLinesAtOnce * Tile::kLineChunks * kChunk,
                 source_ + i * kLinesAtOnce * leading_dimension_, valid);
    }
    if constexpr (kAlongDepth) {
      element_ += kStepDepth;
      source_ += kStepDepth;
    } else {
      line_ += kStepDepth;
      source_ += kStepDepth * leading_dimension_;
    }
  }

 private:
  static constexpr int kLinesAtOnce = kProductThreads / Tile::kLineChunks;

  __device__ void copy_chunk(__nv_bfloat16* to, const __nv_bfloat16* from, int valid) const {
    if constexpr (kAnyAlignment) {
      if (!aligned_) return copy_elements(to, from, valid);
    }
    cp_async_16(to, from, valid * static_cast<int>(sizeof(__nv_bfloat16)));
  }

  static __device__ void copy_elements(__nv_bfloat16* to, const __nv_bfloat16* from, int valid) {
    std::uint32_t words[kChunk / 2];
#pragma unroll
    for (int pair = 0; pair < kChunk / 2; ++pair) {
      const std::uint32_t low = 2 * pair < valid ? __bfloat16_as_ushort(from[2 * pair]) : 0;
      const std::uint32_t high = 2 * pair + 1 < valid ? __bfloat16_as_ushort(from[2 * pair + 1]) : 0;
      words[pair] = low | high << 16;
    }
    *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
  }

  std::int64_t leading_dimension_;
  int line_, element_;    ///< of this thread's first chunk, in the matrix
  int lines_, elements_;  ///< of the matrix
  bool aligned_;
  const __nv_bfloat16* source_;
  int target_;
};

}  // namespace minichilla::cuda
