// Products of bf16 numbers summed in fp32 by AMX, whose registers are tiles of 16 rows of 64 bytes. Only
// where cpu_bf16_products() says tiles. Compiled once per instruction-set path, into that of AVX-512 alone.
#if defined(MINICHILLA_KERNELS_CPU_BF16_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MINICHILLA_KERNELS_CPU_BF16_TILES_INL_H_
#undef MINICHILLA_KERNELS_CPU_BF16_TILES_INL_H_
#else
#define MINICHILLA_KERNELS_CPU_BF16_TILES_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {
#if MINICHILLA_AVX512_BF16

/// Rows of a tile; numbers of fp32, or pairs of bf16, in a row of it.
constexpr std::size_t kTileSide = 16;

/// Tiles 0 to 7 are whole ones as long as it lives, on this thread.
class Tiles {
 public:
  HWY_INLINE Tiles() {
    struct alignas(64) {
      std::uint8_t palette = 1, first_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const layout;
    static_assert(sizeof(layout) == 64);
    asm volatile("ldtilecfg %0" : : "m"(layout));
  }
  HWY_INLINE ~Tiles() { asm volatile("tilerelease"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

/// Tile = 16 rows of 16 floats, or pairs, that are `row` floats apart; 0: the same row 16 times.
template <int kTile>
HWY_INLINE void load_tile(const float* from, std::size_t row) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2"
               :
               : "r"(from), "r"(row * sizeof(float)), "i"(kTile)
               : "memory");
}
template <int kTile>
HWY_INLINE void store_tile(float* to, std::size_t row) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(row * sizeof(float)), "i"(kTile) : "memory");
}
template <int kTile>
HWY_INLINE void clear_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
/// kSum (16, 16) += kLeft (16, 16 pairs) · kRight (16 pairs, 16)
template <int kSum, int kLeft, int kRight>
HWY_INLINE void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kLeft), "i"(kRight));
}

/// The first `count` numbers from p, at most 16, and zeros.
HWY_INLINE __m512 load_first(std::size_t count, const float* p) {
  return _mm512_maskz_loadu_ps(count >= 16 ? 0xffff : static_cast<__mmask16>((1U << count) - 1), p);
}

/// rows[i][j] = rows[j][i] of 32-bit words
HWY_INLINE void transpose_words(__m512i (&rows)[kTileSide]) {
  __m512i half[kTileSide];
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kTileSide; i += 4) {
    const __m512i low01 = _mm512_unpacklo_epi32(rows[i], rows[i + 1]),
                  high01 = _mm512_unpackhi_epi32(rows[i], rows[i + 1]),
                  low23 = _mm512_unpacklo_epi32(rows[i + 2], rows[i + 3]),
                  high23 = _mm512_unpackhi_epi32(rows[i + 2], rows[i + 3]);
    // Column c of each block of four columns, of the four rows from i on.
    half[i] = _mm512_unpacklo_epi64(low01, low23);
    half[i + 1] = _mm512_unpackhi_epi64(low01, low23);
    half[i + 2] = _mm512_unpacklo_epi64(high01, high23);
    half[i + 3] = _mm512_unpackhi_epi64(high01, high23);
  }
#pragma GCC unroll 4
  for (std::size_t c = 0; c < 4; ++c) {
    const __m512i even_top = _mm512_shuffle_i32x4(half[c], half[c + 4], 0x88),
                  odd_top = _mm512_shuffle_i32x4(half[c], half[c + 4], 0xdd),
                  even_bottom = _mm512_shuffle_i32x4(half[c + 8], half[c + 12], 0x88),
                  odd_bottom = _mm512_shuffle_i32x4(half[c + 8], half[c + 12], 0xdd);
    rows[c] = _mm512_shuffle_i32x4(even_top, even_bottom, 0x88);
    rows[c + 4] = _mm512_shuffle_i32x4(odd_top, odd_bottom, 0x88);
    rows[c + 8] = _mm512_shuffle_i32x4(even_top, even_bottom, 0xdd);
    rows[c + 12] = _mm512_shuffle_i32x4(odd_top, odd_bottom, 0xdd);
  }
}

/// 16 rows of pairs: (a[2q·lda + c], a[(2q + 1)·lda + c]) in row q, for the columns c < columns of a (depth,
/// columns); zeros where it ends.
HWY_INLINE void load_pairs_of_rows(std::size_t depth, std::size_t columns, const float* a, std::size_t lda,
                                   __m512i (&pairs)[kTileSide]) {
#pragma GCC unroll 16
  for (std::size_t q = 0; q < kTileSide; ++q, a += 2 * lda) {
    const std::size_t left = depth - std::min(depth, 2 * q);
    pairs[q] = rounded_pairs(left > 0 ? load_first(columns, a) : _mm512_setzero_ps(),
                             left > 1 ? load_first(columns, a + lda) : _mm512_setzero_ps());
  }
}

/// to (columns, to_row) = the pairs of neighbours in each column of a (depth, columns), zeros to whole tiles.
HWY_INLINE void pack_columns(std::size_t columns, std::size_t depth, const float* a, std::size_t lda,
                             float* to, std::size_t to_row) {
  for (std::size_t c = 0; c < columns; c += kTileSide) {
    for (std::size_t p = 0; p < depth; p += 2 * kTileSide) {
      __m512i words[kTileSide];
      load_pairs_of_rows(depth - p, columns - c, a + p * lda + c, lda, words);
      transpose_words(words);
      for (std::size_t i = 0; i < kTileSide; ++i)
        _mm512_storeu_si512(to + (c + i) * to_row + p / 2, words[i]);
    }
  }
}

/// to (pairs of rows, to_row) = pairs of rows of b (depth, columns), of up to 16 columns; zeros to whole
/// tiles.
HWY_INLINE void pack_row_pairs(std::size_t depth, std::size_t columns, const float* b, std::size_t ldb,
                               float* to, std::size_t to_row) {
  for (std::size_t p = 0; p < depth; p += 2 * kTileSide) {
    __m512i words[kTileSide];
    load_pairs_of_rows(depth - p, columns, b + p * ldb, ldb, words);
    for (std::size_t q = 0; q < kTileSide; ++q) _mm512_storeu_si512(to + (p / 2 + q) * to_row, words[q]);
  }
}

/// The same of bᵀ, b (columns, depth).
HWY_INLINE void pack_row_pairs_of_transpose(std::size_t depth, std::size_t columns, const float* b,
                                            std::size_t ldb, float* to, std::size_t to_row) {
  for (std::size_t p = 0; p < depth; p += 2 * kTileSide) {
    const std::size_t rest = depth - p, first = std::min<std::size_t>(rest, 16);
    __m512i words[kTileSide];
#pragma GCC unroll 16
    for (std::size_t c = 0; c < kTileSide; ++c) {
      const float* const row = b + c * ldb + p;
      words[c] = c < columns ? rounded(load_first(first, row), load_first(rest - first, row + first))
                             : _mm512_setzero_si512();
    }
    transpose_words(words);
    for (std::size_t q = 0; q < kTileSide; ++q) _mm512_storeu_si512(to + (p / 2 + q) * to_row, words[q]);
  }
}

/// Four tiles of sums, two of them where kTall or kWide is false, one where both are, = what c holds, or
/// bias, or zero.
template <bool kTall, bool kWide>
HWY_INLINE void begin_sums(const float* bias, Output output, const float* c, std::size_t ldc) {
  if (output == Output::replace && bias == nullptr) {
    clear_tile<0>(), clear_tile<1>(), clear_tile<2>(), clear_tile<3>();
    return;
  }
  const float* const from = output == Output::add ? c : bias;
  const std::size_t row = output == Output::add ? ldc : 0;
  load_tile<0>(from, row);
  if constexpr (kWide) load_tile<1>(from + kTileSide, row);
  if constexpr (kTall) load_tile<2>(from + kTileSide * row, row);
  if constexpr (kTall && kWide) load_tile<3>(from + kTileSide * row + kTileSide, row);
}

/// c (32 or 16, 32 or 16) = or += a (rows of pairs, kPairsRow apart) · b (pairs, 2·kTileSide) of `pairs`
/// pairs, a multiple of 16.
template <bool kTall, bool kWide>
HWY_INLINE void multiply_whole_tiles(std::size_t pairs, const float* a, const float* b, const float* bias,
                                     Output output, float* c, std::size_t ldc) {
  begin_sums<kTall, kWide>(bias, output, c, ldc);
  for (std::size_t p = 0; p < pairs; p += kTileSide, a += kTileSide, b += 2 * kTileSide * kTileSide) {
    load_tile<4>(a, kPairsRow);
    load_tile<6>(b, 2 * kTileSide);
    multiply_tiles<0, 4, 6>();
    if constexpr (kWide) {
      load_tile<7>(b + kTileSide, 2 * kTileSide);
      multiply_tiles<1, 4, 7>();
    }
    if constexpr (kTall) {
      load_tile<5>(a + kTileSide * kPairsRow, kPairsRow);
      multiply_tiles<2, 5, 6>();
    }
    if constexpr (kTall && kWide) multiply_tiles<3, 5, 7>();
  }
  store_tile<0>(c, ldc);
  if constexpr (kWide) store_tile<1>(c + kTileSide, ldc);
  if constexpr (kTall) store_tile<2>(c + kTileSide * ldc, ldc);
  if constexpr (kTall && kWide) store_tile<3>(c + kTileSide * ldc + kTileSide, ldc);
}

/// As multiply_whole_tiles, of any m and n up to 32.
template <bool kTall, bool kWide>
HWY_INLINE void multiply_some_tiles(std::size_t m, std::size_t n, std::size_t pairs, const float* a,
                                    const float* b, const float* bias, Output output, float* c,
                                    std::size_t ldc) {
  constexpr std::size_t kRows = kTall ? 2 * kTileSide : kTileSide,
                        kColumns = kWide ? 2 * kTileSide : kTileSide;
  if (m == kRows && n == kColumns) {
    multiply_whole_tiles<kTall, kWide>(pairs, a, b, bias, output, c, ldc);
    return;
  }
  alignas(64) float whole[kRows * kColumns], whole_bias[kColumns];
  if (output == Output::add) copy_rows(m, n, c, ldc, whole, kColumns);
  if (bias != nullptr) copy_rows(1, n, bias, n, whole_bias, kColumns);
  multiply_whole_tiles<kTall, kWide>(pairs, a, b, bias != nullptr ? whole_bias : nullptr, output, whole,
                                     kColumns);
  for (std::size_t i = 0; i < m; ++i) {
    for_each_vector(n, [&](auto access, std::size_t j) HWY_ATTR {
      access.store(hn::LoadU(kFloat, whole + i * kColumns + j), c + i * ldc + j);
    });
  }
}

#endif
}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
