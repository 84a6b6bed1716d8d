#include <stdexcept>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/tensor_core_epilogue.cuh"
#include "kernels/cuda/tensor_core_gemm.h"
#include "kernels/cuda/tensor_core_tile.cuh"

namespace minichilla::cuda {
namespace {

constexpr int kSmallTile = 64, kLargeTile = 128;
constexpr int kStages = 3;          ///< tiles in flight; 48 KB of shared memory for the large tile
constexpr int kEnoughBlocks = 108;  ///< multiprocessors of an A100
constexpr int kBand = 8;            ///< tiles in a column of blocks that run at the same time
constexpr std::uint32_t kOnes = 0x3f803f80;

struct Operands {
  Product product;
  Matrix<const __nv_bfloat16> a, b;
  bool aligned_a, aligned_b;
  float* row_sums;
};

struct TilePosition {
  int row, column;
};

/// Blocks in order walk down bands of kBand tiles, so that those running together share A and B in the L2
/// cache.
__device__ TilePosition tile_position(int block, int row_tiles, int column_tiles) {
  const int band = block / (kBand * column_tiles), within = block % (kBand * column_tiles);
  const int height = min(kBand, row_tiles - band * kBand);
  return {band * kBand + within % height, within / height};
}

/// The sums of a warp: a quarter of the block's tile.
template <int kTile, bool kTransposeA, bool kTransposeB, bool kRowSums>
struct WarpSums {
  using TileA = OperandTile<kTile, !kTransposeA>;
  using TileB = OperandTile<kTile, kTransposeB>;
  static constexpr int kExtent = kTile / 2, kM = kExtent / 16, kN = kExtent / 8;

  struct Fragments {
    std::uint32_t a[kM][4], b[kN / 2][4];
  };

  float sums[kM][kN][4] = {};
  float row_sums[kRowSums ? kM : 1][4] = {};

  static __device__ int row() { return threadIdx.x / 64 * kExtent; }
  static __device__ int column() { return threadIdx.x / 32 % 2 * kExtent; }

  /// `step`: which 16 of the tile's depth.
  static __device__ void load(Fragments& fragments, const __nv_bfloat16* tile_a, const __nv_bfloat16* tile_b,
                              int step) {
#pragma unroll
    for (int m = 0; m < kM; ++m) TileA::load_a(fragments.a[m], tile_a, row() + 16 * m, step);
#pragma unroll
    for (int n = 0; n < kN / 2; ++n) TileB::load_b(fragments.b[n], tile_b, column() + 16 * n, step);
  }

  __device__ void multiply(const Fragments& fragments, bool with_row_sums) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        mma_bf16_16x8x16(sums[m][n], fragments.a[m], fragments.b[n / 2][n % 2 * 2],
                         fragments.b[n / 2][n % 2 * 2 + 1]);
      }
    }
    if constexpr (kRowSums) {
      if (!with_row_sums) return;
#pragma unroll
      for (int m = 0; m < kM; ++m) mma_bf16_16x8x16(row_sums[m], fragments.a[m], kOnes, kOnes);
    }
  }

  /// row_sums of the tile that begins at first_row += ours.
  __device__ void add_row_sums(float* target, int first_row, int rows) const {
    if (threadIdx.x % 4 != 0) return;
#pragma unroll
    for (int i = 0; i < 2 * kM; ++i) {
      const int at = first_row + row() + 8 * i + static_cast<int>(threadIdx.x) % 32 / 4;
      if (at < rows) target[at] += row_sums[i / 2][i % 2 * 2];
    }
  }
};

/// One block per tile of C. The tiles of A and B arrive in a ring of kStages, and while a warp multiplies 16
/// elements of depth it reads the fragments of the next 16.
template <int kTile, bool kTransposeA, bool kTransposeB, class Target>
__global__ void __launch_bounds__(kProductThreads)
    tensor_core_gemm_kernel(const Operands operands, const Target target) {
  constexpr bool kRowSums = kTransposeA && std::is_same_v<typename Target::Element, float>;
  constexpr bool kAnyAlignment = kTile == kSmallTile;
  using Warp = WarpSums<kTile, kTransposeA, kTransposeB, kRowSums>;
  __shared__ __align__(128) __nv_bfloat16 tiles_a[kStages][kTile * kStepDepth];
  __shared__ __align__(128) __nv_bfloat16 tiles_b[kStages][kTile * kStepDepth];
  const Product& product = operands.product;
  const TilePosition position = tile_position(static_cast<int>(blockIdx.x), ceil_div(product.rows, kTile),
                                              ceil_div(product.columns, kTile));
  const int first_row = position.row * kTile, first_column = position.column * kTile;
  OperandLoader<kTile, !kTransposeA, kAnyAlignment> loader_a(operands.a, first_row, product.rows,
                                                             product.depth, operands.aligned_a);
  OperandLoader<kTile, kTransposeB, kAnyAlignment> loader_b(operands.b, first_column, product.columns,
                                                            product.depth, operands.aligned_b);
  const bool with_row_sums =
      kRowSums && operands.row_sums != nullptr && position.column == 0 && Warp::column() == 0;
  const int steps = ceil_div(product.depth, kStepDepth);
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < steps) {
      loader_a.start(tiles_a[stage]);
      loader_b.start(tiles_b[stage]);
    }
    cp_async_commit();
  }
  cp_async_wait<kStages - 2>();
  __syncthreads();

  Warp warp;
  typename Warp::Fragments fragments[2];
  if (steps > 0) Warp::load(fragments[0], tiles_a[0], tiles_b[0], 0);
  int current = 0, freed = kStages - 1;
  for (int step = 0; step < steps; ++step) {
    Warp::load(fragments[1], tiles_a[current], tiles_b[current], 1);
    if (step + kStages - 1 < steps) {
      loader_a.start(tiles_a[freed]);
      loader_b.start(tiles_b[freed]);
    }
    cp_async_commit();
    warp.multiply(fragments[0], with_row_sums);
    freed = current;
    current = current + 1 == kStages ? 0 : current + 1;
    cp_async_wait<kStages - 2>();
    __syncthreads();
    if (step + 1 < steps) Warp::load(fragments[0], tiles_a[current], tiles_b[current], 0);
    warp.multiply(fragments[1], with_row_sums);
  }

  if constexpr (kRowSums) {
    if (with_row_sums) warp.add_row_sums(operands.row_sums, first_row, product.rows);
  }
  finish_warp(target, first_row + Warp::row(), first_column + Warp::column(), warp.sums);
}

bool aligned_to(std::uintptr_t bytes, const void* data) {
  return reinterpret_cast<std::uintptr_t>(data) % bytes == 0;
}
/// Whether every row begins on a multiple of `bytes`.
template <class Element>
bool rows_aligned_to(std::uintptr_t bytes, Matrix<Element> matrix) {
  return aligned_to(bytes, matrix.data) &&
         static_cast<std::uintptr_t>(matrix.leading_dimension) * sizeof(Element) % bytes == 0;
}

std::int64_t tiles(const Product& product, int tile) {
  return static_cast<std::int64_t>(ceil_div(product.rows, tile)) * ceil_div(product.columns, tile);
}

template <int kTile, class Target>
void launch(cudaStream_t stream, const Operands& operands, const Target& target) {
  const Product& product = operands.product;
  auto* kernel = product.transpose_a   ? tensor_core_gemm_kernel<kTile, true, false, Target>
                 : product.transpose_b ? tensor_core_gemm_kernel<kTile, false, true, Target>
                                       : tensor_core_gemm_kernel<kTile, false, false, Target>;
  kernel<<<static_cast<unsigned>(tiles(product, kTile)), kProductThreads, 0, stream>>>(operands, target);
  launched("tensor_core_gemm");
}

template <class Target>
void multiply(cudaStream_t stream, ProductTile tile, const Product& product, Matrix<const __nv_bfloat16> a,
              Matrix<const __nv_bfloat16> b, float* row_sums, const Target& target) {
  if (product.transpose_a && product.transpose_b) {
    throw std::invalid_argument("tensor_core_gemm: at most one operand may be transposed");
  }
  if (row_sums != nullptr && !product.transpose_a) {
    throw std::invalid_argument("tensor_core_gemm: row sums need a transposed first operand");
  }
  if (product.rows == 0 || product.columns == 0) return;
  const Operands operands{product, a, b, rows_aligned_to(16, a), rows_aligned_to(16, b), row_sums};
  const bool large = tile == ProductTile::kLarge ||
                     (tile == ProductTile::kFitting && tiles(product, kLargeTile) >= kEnoughBlocks);
  if (large && operands.aligned_a && operands.aligned_b) {
    launch<kLargeTile>(stream, operands, target);
  } else {
    launch<kSmallTile>(stream, operands, target);
  }
}

}  // namespace

void TensorCoreGemm::multiply(cudaStream_t stream, const Product& product, Matrix<const __nv_bfloat16> a,
                              Matrix<const __nv_bfloat16> b, Matrix<__nv_bfloat16> c,
                              const Epilogue<__nv_bfloat16>& epilogue) {
  const bool vectors = rows_aligned_to(16, c) && aligned_to(16, epilogue.gelu_input);
  cuda::multiply(stream, tile_, product, a, b, nullptr,
                 Bf16Target{c, epilogue, product.rows, product.columns, vectors});
}

void TensorCoreGemm::multiply_fp32(cudaStream_t stream, const Product& product, Matrix<const __nv_bfloat16> a,
                                   Matrix<const __nv_bfloat16> b, Matrix<float> c, bool accumulate,
                                   float* row_sums) {
  cuda::multiply(stream, tile_, product, a, b, row_sums,
                 Fp32Target{c, accumulate, product.rows, product.columns, rows_aligned_to(8, c)});
}

}  // namespace minichilla::cuda
