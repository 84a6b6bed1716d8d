#include "kernels/cuda/tensor_core_gemm.h"

#include <ptxrun_counters.h>

#include <stdexcept>

#include "tests/cuda/product_case.h"

namespace minichilla {
namespace {

using cuda::ProductTile;
using Bf16 = __nv_bfloat16;
using Kind = cuda::Epilogue<Bf16>::Kind;

constexpr Layout kLayouts[] = {Layout::kForward, Layout::kInputGradient, Layout::kWeightGradient};
constexpr ProductTile kTiles[] = {ProductTile::kSmall, ProductTile::kLarge};

void check_shapes(Layout layout, ProductTile tile, std::initializer_list<ProductCase> shapes) {
  cuda::TensorCoreGemm matmul(tile);
  for (const ProductCase& shape : shapes) {
    expect_product<Bf16>(matmul, shape, layout, Kind::kNone);
    expect_fp32_product<Bf16>(matmul, shape, layout, true);
  }
}

// One element, odd sizes, odd paddings, sizes around a tile's.
TEST(CudaTensorCoreGemm, AnyShapeAndLeadingDimensionIsRight) {
  for (const Layout layout : kLayouts) {
    check_shapes(layout, ProductTile::kFitting,
                 {{1, 1, 1},
                  {17, 33, 5},
                  {33, 64, 40, 1},
                  {65, 72, 33, 4},
                  {8, 2, 100, 8},
                  {16, 24, 40, 0, 1},
                  {3, 5, 0}});
  }
}

// Rows are aligned, sizes need not be: bytes are filled up with zeros.
TEST(CudaTensorCoreGemm, AlignedShapesAreRightInEitherTile) {
  for (const ProductTile tile : kTiles) {
    check_shapes(Layout::kForward, tile, {{130, 70, 96}, {64, 257, 48}, {5, 9, 61, 3}});
    check_shapes(Layout::kInputGradient, tile, {{130, 72, 96}, {21, 131, 69, 3 + 8}, {64, 256, 48}});
    check_shapes(Layout::kWeightGradient, tile, {{136, 72, 97}, {64, 256, 48}, {24, 40, 161}});
  }
}

TEST(CudaTensorCoreGemm, EveryEpilogueIsRight) {
  for (const ProductTile tile : kTiles) {
    cuda::TensorCoreGemm matmul(tile);
    for (const ProductCase& shape : {ProductCase{67, 50, 24, 8}, {130, 72, 40}, {9, 35, 13, 2}}) {
      for (const Kind kind : {Kind::kNone, Kind::kBias, Kind::kBiasGelu, Kind::kGeluDerivative}) {
        expect_product<Bf16>(matmul, shape, Layout::kForward, kind);
      }
      expect_fp32_product<Bf16>(matmul, shape, Layout::kForward, false);
      expect_fp32_product<Bf16>(matmul, shape, Layout::kWeightGradient, false);
    }
  }
}

// More tiles than a band has, in both directions.
TEST(CudaTensorCoreGemm, BlocksCoverEveryTileOnce) {
  cuda::TensorCoreGemm matmul(ProductTile::kSmall);
  expect_product<Bf16>(matmul, {641, 130, 3}, Layout::kForward, Kind::kNone);
}

TEST(CudaTensorCoreGemm, BothTilesGiveTheSameBits) {
  for (const Layout layout : kLayouts) {
    const ProductCase shape{136, 96, 104};
    const ProductOperands<Bf16> operands(shape, layout);
    FloatArray found[2];
    for (const ProductTile tile : kTiles) {
      const PaddedMatrix<float> c(shape.rows, shape.columns, shape, FloatArray(operands.size()));
      cuda::TensorCoreGemm(tile).multiply_fp32(nullptr, operands.product, operands.device_a.input(),
                                               operands.device_b.input(), c.matrix(), false, nullptr);
      found[tile == ProductTile::kLarge] = c.values();
    }
    EXPECT_EQ(found[0], found[1]);
  }
}

TEST(CudaTensorCoreGemm, WhatItCannotDoIsRefused) {
  cuda::TensorCoreGemm matmul;
  EXPECT_THROW(matmul.multiply(nullptr, {1, 1, 1, true, true}, {}, {}, {}, {}), std::invalid_argument);
  float sums = 0;
  EXPECT_THROW(matmul.multiply_fp32(nullptr, {1, 1, 1}, {}, {}, {}, false, &sums), std::invalid_argument);
}

TEST(CudaTensorCoreGemm, HasNoBankConflictsAndLoadsWhatItsTilesNeed) {
  if (!ptxrun::counters_available()) GTEST_SKIP() << "counts memory accesses under ptxrun";
  for (const Layout layout : kLayouts) {
    for (const ProductTile tile : kTiles) {
      const std::uint64_t extent = tile == ProductTile::kLarge ? 128 : 64;
      const ProductOperands<Bf16> operands({128, 256, 128}, layout);
      const PaddedMatrix<Bf16> c = operands.output(FloatArray(operands.size()));
      cuda_succeeds(cudaDeviceSynchronize());
      ptxrun::reset_counters();
      cuda::TensorCoreGemm(tile).multiply(nullptr, operands.product, operands.device_a.input(),
                                          operands.device_b.input(), c.matrix(), {});
      cuda_succeeds(cudaDeviceSynchronize());
      const ptxrun::Counters counted = ptxrun::read_counters("tensor_core_gemm");
      SCOPED_TRACE(testing::Message() << describe(operands.product) << ", tile " << extent);
      EXPECT_EQ(counted.shared_load.bank_conflicts, 0u);
      EXPECT_EQ(counted.shared_store.bank_conflicts, 0u);
      const std::uint64_t tiles = 128 * 256 / (extent * extent), needed = tiles * 2 * extent * 128 * 2;
      EXPECT_LE(counted.global_load.sectors * ptxrun::SECTOR_BYTES, needed + needed / 20);
      EXPECT_EQ(counted.global_store.sectors * ptxrun::SECTOR_BYTES, 128u * 256 * 2);
      EXPECT_EQ(counted.tensor_flops(), 2u * 128 * 256 * 128);
      EXPECT_EQ(counted.local_load_bytes + counted.local_store_bytes, 0u);
    }
  }
}

}  // namespace
}  // namespace minichilla
