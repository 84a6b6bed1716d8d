// Products of bf16 numbers summed in fp32. Two numbers that are multiplied one after the other lie in one
// 32-bit element, the first in its lower half, as the dot-product instructions of processors want them;
// vectors of such pairs are passed on as Floats, whose values mean nothing. Compiled once per instruction-set
// path.
#if defined(MINICHILLA_KERNELS_CPU_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MINICHILLA_KERNELS_CPU_BF16_INL_H_
#undef MINICHILLA_KERNELS_CPU_BF16_INL_H_
#else
#define MINICHILLA_KERNELS_CPU_BF16_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/gemm_packing-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

using WordTag = hn::RebindToUnsigned<FloatTag>;
using Words = hn::Vec<WordTag>;
constexpr WordTag kWord{};

/// The upper half of each word is x rounded to bf16, to nearest with ties to even; NaN stays NaN. The lower
/// half means nothing.
HWY_INLINE Words rounded_to_bf16(Floats x) {
  const Words bits = hn::BitCast(kWord, x);
  const Words odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(kWord, 1));
  const Words rounded = hn::Add(bits, hn::Add(odd, hn::Set(kWord, 0x7fff)));
  // Rounding could carry NaN's bits over into another number.
  const Words quiet = hn::Or(bits, hn::Set(kWord, 0x400000));
  return hn::IfThenElse(hn::RebindMask(kWord, hn::IsNaN(x)), quiet, rounded);
}

HWY_INLINE Floats bf16_pairs(Floats first, Floats second) {
  const Words low = hn::ShiftRight<16>(rounded_to_bf16(first));
  const Words high = hn::And(rounded_to_bf16(second), hn::Set(kWord, 0xffff0000));
  return hn::BitCast(kFloat, hn::Or(low, high));
}

/// Pairs multiplied by fp32 arithmetic, in which products of bf16 numbers are exact.
struct Bf16Factors {
  static HWY_INLINE Floats pairs(Floats first, Floats second) { return bf16_pairs(first, second); }
  /// The pairs of neighbours among 2·kLanes numbers.
  static HWY_INLINE Floats neighbours(const float* p) {
#if HWY_TARGET == HWY_SCALAR
    return pairs(hn::LoadU(kFloat, p), hn::LoadU(kFloat, p + 1));
#else
    Floats even, odd;
    hn::LoadInterleaved2(kFloat, p, even, odd);
    return pairs(even, odd);
#endif
  }
  static HWY_INLINE Floats first(Floats pairs) {
    return hn::BitCast(kFloat, hn::ShiftLeft<16>(hn::BitCast(kWord, pairs)));
  }
  static HWY_INLINE Floats second(Floats pairs) {
    return hn::And(pairs, hn::BitCast(kFloat, hn::Set(kWord, 0xffff0000)));
  }
  /// sum + the first numbers' product, + the second's
  static HWY_INLINE Floats add_product(Floats a, Floats b, Floats sum) {
    return hn::MulAdd(second(a), second(b), hn::MulAdd(first(a), first(b), sum));
  }
};

#if MINICHILLA_AVX512_BF16
/// 32 numbers rounded to bf16 by AVX512_BF16's instruction: to nearest with ties to even, numbers too small
/// to have all digits to zero.
HWY_INLINE __m512i rounded(__m512 first, __m512 last) {
  __m512i result;
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(result) : "v"(first), "v"(last));
  return result;
}

/// (first[i], second[i]) for each i
HWY_INLINE __m512i rounded_pairs(__m512 first, __m512 second) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                         22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, rounded(first, second));
}

/// Pairs multiplied by AVX512_BF16's instruction, which Highway 1.0 does not know. Not where
/// cpu_bf16_products() says fp32_arithmetic.
struct Bf16InstructionFactors {
  static HWY_INLINE Floats pairs(Floats first, Floats second) {
    return Floats{_mm512_castsi512_ps(rounded_pairs(first.raw, second.raw))};
  }
  static HWY_INLINE Floats neighbours(const float* p) {
    return Floats{_mm512_castsi512_ps(rounded(_mm512_loadu_ps(p), _mm512_loadu_ps(p + kLanes)))};
  }
  static HWY_INLINE Floats add_product(Floats a, Floats b, Floats sum) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
    return sum;
  }
};
#endif

/// Floats from row to row of packed pairs of a: rows a power of two apart would compete for cache sets.
constexpr std::size_t kPairsRow = kGemmDepth / 2 + 16;

/// packed (rows, kPairsRow) = pairs of neighbours in each row of a (rows, depth), zeros to whole vectors.
template <class Factors>
HWY_INLINE void pack_pairs_of_columns(std::size_t rows, std::size_t depth, const float* a, std::size_t lda,
                                      float* packed) {
  constexpr std::size_t kStep = 2 * kLanes;
  for (std::size_t i = 0; i < rows; ++i, a += lda, packed += kPairsRow) {
    std::size_t p = 0;
    for (; p + kStep <= depth; p += kStep) hn::StoreU(Factors::neighbours(a + p), kFloat, packed + p / 2);
    if (p < depth) {
      float rest[kStep] = {};
      std::copy(a + p, a + depth, rest);
      hn::StoreU(Factors::neighbours(rest), kFloat, packed + p / 2);
    }
  }
}

/// packed[p·packed_row + c] = the pair of a[2p·lda + c] and a[(2p + 1)·lda + c], or of the former and zero
/// where `depth` ends, for each column c of a (depth, columns) in whole vectors: those that do not exist are
/// zero.
template <class Factors>
HWY_INLINE void pack_pairs_of_rows(std::size_t depth, std::size_t columns, const float* a, std::size_t lda,
                                   float* packed, std::size_t packed_row) {
  for (std::size_t p = 0; p < depth; p += 2, a += 2 * lda, packed += packed_row) {
    const bool both = p + 1 < depth;
    for_each_vector(columns, [&](auto access, std::size_t c) HWY_ATTR {
      const Floats second = both ? access.load(a + lda + c) : hn::Zero(kFloat);
      hn::StoreU(Factors::pairs(access.load(a + c), second), kFloat, packed + c);
    });
  }
}

/// As pack_right, in pairs of rows.
template <class Factors>
HWY_INLINE void pack_right_pairs(const Product& product, std::size_t column, std::size_t columns,
                                 std::size_t first, std::size_t depth, float* packed) {
  const std::size_t pairs = (depth + 1) / 2;
  for (std::size_t j = 0; j < columns; j += kTileColumns, packed += kTileColumns * pairs) {
    const std::size_t width = std::min(kTileColumns, columns - j);
    if (product.transpose_b == Transpose::no) {
      pack_pairs_of_rows<Factors>(depth, width, product.b + first * product.ldb + column + j, product.ldb,
                                  packed, kTileColumns);
    } else {
      alignas(64) float rows[kGemmDepth * kTileColumns];
      pack_right(product, column + j, width, first, depth, rows);
      pack_pairs_of_rows<Factors>(depth, width, rows, kTileColumns, packed, kTileColumns);
    }
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
