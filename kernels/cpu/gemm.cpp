#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cpp"

#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/bf16-inl.h"
#include "kernels/cpu/bf16_tiles-inl.h"
#include "kernels/cpu/gemm_packing-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// Columns of c that are complete before they are handed on: with kGemmRows rows they fit the cache.
constexpr std::size_t kGroupColumns = 128;
/// Up to so many columns of c, repacking aᵀ costs more than reading it where it is.
constexpr std::size_t kNarrowColumns = std::max<std::size_t>(64, 4 * kTileColumns);

/// Terms [first, first + depth) of the sums.
struct Terms {
  std::size_t first, depth;
};

/// A block of a as a tile reads it.
struct LeftBlock {
  Broadcasts elements;
  bool tiled;  ///< packed by pack_left
};

/// Where the rows of op(a) in `block` begin with the terms.
Broadcasts left_elements(const Product& product, const ProductBlock& block, Terms terms) {
  if (product.transpose_a == Transpose::yes) {
    return {product.a + terms.first * product.lda + block.row, 1, product.lda};
  }
  return {product.a + block.row * product.lda + terms.first, product.lda, 1};
}

/// Panels of b whose sums are held in vector registers.
template <class Factors, bool kTiles>
struct VectorPanels {
  static constexpr std::size_t kRows = kBlockRows;  ///< of a block
  /// Columns of b that are packed before they are used: one panel where large tiles fetch the next one
  /// meanwhile, elsewhere all that there are.
  static constexpr std::size_t kPackedTogether = kRegisters == 32 ? kTileColumns : 2 * kGemmColumns;

  /// c (rows, n) = or += the block of a · a panel of b (k elements, n ≤ kTileColumns); with bias (n) not
  /// nullptr sums begin with it. Large tiles fetch `ahead`.
  static HWY_INLINE void multiply_panel(std::size_t rows, std::size_t n, std::size_t k, LeftBlock left,
                                        const float* b, const float* bias, Output output, float* c,
                                        std::size_t ldc, Ahead ahead) {
    const auto multiply = n > kLanes ? &multiply_vectors<2> : &multiply_vectors<1>;
    multiply(rows, n, k, left, b, bias, output, c, ldc, ahead);
  }

 private:
  template <int kVectors>
  static HWY_NOINLINE void multiply_vectors(std::size_t rows, std::size_t n, std::size_t k, LeftBlock left,
                                            const float* b, const float* bias, Output output, float* c,
                                            std::size_t ldc, Ahead ahead) {
    const Panels panel{b, kTileColumns};
    const Broadcasts a = left.elements;
    // As many sums with one vector a row as with two: fewer would wait for each other.
    constexpr std::size_t kTall = kTileRows * 2 / kVectors;
    const auto multiply = [&](Broadcasts elements) HWY_ATTR __attribute__((always_inline)) {
      product_block<kTall, kVectors, Factors>(rows, n, k, elements, kTall * elements.row, panel, bias, output,
                                              c, ldc, ahead);
    };
    // Strides that the compiler knows are no work for the processor.
    if (kTiles && left.tiled) {
      product_block<kTileRows, kVectors, Factors>(rows, n, k, {a.data, 1, kTileRows}, kTileRows * k, panel,
                                                  bias, output, c, ldc, ahead);
    } else if (a.column == 1) {
      multiply({a.data, a.row, 1});
    } else {
      multiply({a.data, 1, a.column});
    }
  }
};

/// Operands as they are; a is repacked where that pays.
struct Float32Operands : VectorPanels<Float32Factors, true> {
  static constexpr std::size_t kColumns = kGemmColumns;  ///< that are packed at a time

  static HWY_INLINE std::size_t elements(std::size_t terms) { return terms; }

  static HWY_INLINE LeftBlock left(const Product& product, const ProductBlock& block, Terms terms,
                                   float* packed) {
    const Broadcasts a = left_elements(product, block, terms);
    if (product.transpose_a == Transpose::no || product.n <= kNarrowColumns) return {a, false};
    pack_left(block.rows, terms.depth, a.data, product.lda, packed);
    return {{packed, 1, kTileRows}, true};
  }
  static HWY_INLINE void right(const Product& product, std::size_t column, std::size_t columns, Terms terms,
                               float* packed) {
    pack_right(product, column, columns, terms.first, terms.depth, packed);
  }
};

/// Operands rounded to bf16, in pairs of terms.
template <class PairFactors>
struct Bf16Operands : VectorPanels<PairFactors, false> {
  static constexpr std::size_t kColumns = 2 * kGemmColumns;

  static HWY_INLINE std::size_t elements(std::size_t terms) { return (terms + 1) / 2; }

  static HWY_INLINE LeftBlock left(const Product& product, const ProductBlock& block, Terms terms,
                                   float* packed) {
    const float* const a = left_elements(product, block, terms).data;
    if (product.transpose_a == Transpose::no) {
      pack_pairs_of_columns<PairFactors>(block.rows, terms.depth, a, product.lda, packed);
      return {{packed, kPairsRow, 1}, false};
    }
    static_assert(kGemmRows % kLanes == 0);
    pack_pairs_of_rows<PairFactors>(terms.depth, block.rows, a, product.lda, packed, kGemmRows);
    return {{packed, 1, kGemmRows}, false};
  }
  static HWY_INLINE void right(const Product& product, std::size_t column, std::size_t columns, Terms terms,
                               float* packed) {
    pack_right_pairs<PairFactors>(product, column, columns, terms.first, terms.depth, packed);
  }
};

#if MINICHILLA_AVX512_BF16
/// Operands rounded to bf16, in pairs of terms that fill tiles.
struct Bf16TileOperands {
  static constexpr std::size_t kRows = kGemmRows, kColumns = 2 * kGemmColumns;
  // Tiles are done with a panel before another one could be fetched.
  static constexpr std::size_t kPackedTogether = kColumns;
  static_assert(kRows % (2 * kTileSide) == 0 && kTileColumns == 2 * kTileSide);

  static HWY_INLINE std::size_t elements(std::size_t terms) { return round_up((terms + 1) / 2, kTileSide); }

  static HWY_INLINE LeftBlock left(const Product& product, const ProductBlock& block, Terms terms,
                                   float* packed) {
    const float* const a = left_elements(product, block, terms).data;
    if (product.transpose_a == Transpose::no) {
      pack_pairs_of_columns<Bf16InstructionFactors>(block.rows, terms.depth, a, product.lda, packed);
    } else {
      pack_columns(block.rows, terms.depth, a, product.lda, packed, kPairsRow);
    }
    return {{packed, kPairsRow, 1}, false};
  }
  static HWY_INLINE void right(const Product& product, std::size_t column, std::size_t columns, Terms terms,
                               float* packed) {
    const bool turned = product.transpose_b == Transpose::yes;
    const float* const b = turned ? product.b + column * product.ldb + terms.first
                                  : product.b + terms.first * product.ldb + column;
    const auto pack = turned ? &pack_row_pairs_of_transpose : &pack_row_pairs;
    for (std::size_t j = 0; j < columns; j += kTileSide) {
      // Panels are two tiles wide.
      float* const panel =
          packed + j / kTileColumns * kTileColumns * elements(terms.depth) + j % kTileColumns;
      pack(terms.depth, columns - j, turned ? b + j * product.ldb : b + j, product.ldb, panel, kTileColumns);
    }
  }
  static HWY_NOINLINE void multiply_panel(std::size_t rows, std::size_t n, std::size_t k, LeftBlock left,
                                          const float* b, const float* bias, Output output, float* c,
                                          std::size_t ldc, Ahead) {
    for (std::size_t i = 0; i < rows; i += 2 * kTileSide, c += 2 * kTileSide * ldc) {
      const std::size_t m = std::min(2 * kTileSide, rows - i);
      const bool tall = m > kTileSide, wide = n > kTileSide;
      const auto multiply =
          tall ? (wide ? &multiply_some_tiles<true, true> : &multiply_some_tiles<true, false>)
               : (wide ? &multiply_some_tiles<false, true> : &multiply_some_tiles<false, false>);
      multiply(m, n, k, left.elements.data + i * kPairsRow, b, bias, output, c, ldc);
    }
  }
};
#endif

/// What is packed as the panel that begins with column `column` of op(b).
HWY_INLINE Ahead panel_ahead(const Product& product, std::size_t column, std::size_t columns, Terms terms) {
  if (product.transpose_b == Transpose::yes) {
    return {columns, terms.depth, product.b + column * product.ldb + terms.first, product.ldb};
  }
  return {terms.depth, columns, product.b + terms.first * product.ldb + column, product.ldb};
}

/// Rows and columns of `block` += the products of `terms`, b's panels in `right`: the first block of rows
/// packs them there, some at a time, and has the next one fetched while it multiplies by them.
template <class Operands>
void multiply_block(const Product& product, const ProductBlock& block, Terms terms, float* packed_left,
                    float* right, const BlockDone& done) {
  const LeftBlock left = Operands::left(product, block, terms, packed_left);
  const std::size_t elements = Operands::elements(terms.depth);
  const Output output = terms.first == 0 ? product.output : Output::add;
  const float* const bias = terms.first == 0 ? product.bias : nullptr;
  float* const c = product.c + block.row * product.ldc + block.column;
  const auto width_at = [&](std::size_t j) { return std::min(kTileColumns, block.columns - j); };
  for (std::size_t group = 0; group < block.columns; group += kGroupColumns) {
    const std::size_t end = std::min(block.columns, group + kGroupColumns);
    for (std::size_t j = group; j < end; j += kTileColumns) {
      const float* const panel = right + j * elements;
      Ahead ahead(panel);
      if (block.row == 0 && j % Operands::kPackedTogether == 0) {
        const std::size_t next = std::min(block.columns, j + Operands::kPackedTogether);
        Operands::right(product, block.column + j, next - j, terms, right + j * elements);
        if (next < block.columns) {
          ahead = panel_ahead(product, block.column + next, width_at(next), terms);
        }
      }
      Operands::multiply_panel(block.rows, width_at(j), elements, left, panel,
                               bias != nullptr ? bias + block.column + j : nullptr, output, c + j,
                               product.ldc, ahead);
    }
    if (terms.first + terms.depth == product.k) {
      done({block.row, block.rows, block.column + group, end - group});
    }
  }
}

template <class Operands>
HWY_INLINE void multiply(const Product& product, float* workspace, const BlockDone& done) {
  float* const right = workspace;
  float* const left = workspace + kGemmDepth * kGemmColumns;
  const std::size_t rounds = (product.k + kGemmDepth - 1) / kGemmDepth;
  const std::size_t step = round_up((product.k + rounds - 1) / rounds, 8);
  for (std::size_t column = 0; column < product.n; column += Operands::kColumns) {
    const std::size_t columns = std::min(Operands::kColumns, product.n - column);
    for (std::size_t first = 0; first < product.k; first += step) {
      const Terms terms{first, std::min(step, product.k - first)};
      for (std::size_t row = 0; row < product.m; row += Operands::kRows) {
        const std::size_t rows = std::min(Operands::kRows, product.m - row);
        multiply_block<Operands>(product, {row, rows, column, columns}, terms, left, right, done);
      }
    }
  }
}

void multiply_float32(const Product& product, float* workspace, const BlockDone& done) {
  multiply<Float32Operands>(product, workspace, done);
}

void multiply_bf16([[maybe_unused]] Bf16Products products, const Product& product, float* workspace,
                   const BlockDone& done) {
#if MINICHILLA_AVX512_BF16
  if (products == Bf16Products::tiles) {
    const Tiles tiles;
    multiply<Bf16TileOperands>(product, workspace, done);
    return;
  }
  if (products == Bf16Products::dot_products) {
    multiply<Bf16Operands<Bf16InstructionFactors>>(product, workspace, done);
    return;
  }
#endif
  multiply<Bf16Operands<Bf16Factors>>(product, workspace, done);
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

HWY_EXPORT(multiply_float32);
HWY_EXPORT(multiply_bf16);

}  // namespace

void gemm_bf16(Bf16Products products, const Product& product, float* workspace, BlockDone done) {
  HWY_DYNAMIC_DISPATCH(multiply_bf16)(products, product, workspace, done);
}

void gemm(Precision precision, const Product& product, float* workspace, BlockDone done) {
  if (precision == Precision::bf16) {
    gemm_bf16(cpu_bf16_products(), product, workspace, done);
  } else {
    HWY_DYNAMIC_DISPATCH(multiply_float32)(product, workspace, done);
  }
}

}  // namespace minichilla
#endif
