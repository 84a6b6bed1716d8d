// A product of small matrices held in registers tile by tile, for operands that are in cache. Compiled once
// per instruction-set path.
#if defined(MINICHILLA_KERNELS_CPU_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MINICHILLA_KERNELS_CPU_PRODUCT_INL_H_
#undef MINICHILLA_KERNELS_CPU_PRODUCT_INL_H_
#else
#define MINICHILLA_KERNELS_CPU_PRODUCT_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/cache_control.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

// Vector registers.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr std::size_t kRegisters = 32;
#else
constexpr std::size_t kRegisters = 16;
#endif
/// Whether a tile of sums is one of large products on a processor with many registers.
template <std::size_t kRows, int kVectors>
constexpr bool kLargeTile = kRegisters == 32 && kRows* kVectors == 28;

/// A matrix of which single elements are read: element (i, k) at data[i·row + k·column].
struct Broadcasts {
  const float* data;
  std::size_t row, column;
};

/// A row-major matrix of which vectors are read: whole vectors must be readable at its end of a row.
struct Panels {
  HWY_INLINE Panels from_row(std::size_t i) const { return {data + i * row, row}; }

  const float* data;
  std::size_t row;
};

/// A matrix that comes into the second-level cache while the sums of large tiles are made: a piece of a row,
/// two lines of the cache, every four terms. Nothing waits for it.
class Ahead {
 public:
  /// Nothing but what lies there.
  HWY_INLINE explicit Ahead(const float* there) : Ahead(0, 0, there, 0) {}
  HWY_INLINE Ahead(std::size_t rows, std::size_t columns, const float* from, std::size_t row)
      : at_(reinterpret_cast<std::uintptr_t>(from)),
        rows_(rows),
        pieces_(std::max<std::size_t>(1, columns * sizeof(float) / kPiece)),
        left_(pieces_),
        skip_(row * sizeof(float) - pieces_ * kPiece) {}

  HWY_INLINE void fetch() {
    constexpr int kForReading = 0, kSecondLevel = 2;
    __builtin_prefetch(reinterpret_cast<const void*>(at_), kForReading, kSecondLevel);
    __builtin_prefetch(reinterpret_cast<const void*>(at_ + kPiece / 2), kForReading, kSecondLevel);
    if (rows_ == 0) return;
    at_ += kPiece;
    if (--left_ > 0) return;
    at_ += skip_;
    left_ = pieces_;
    --rows_;
  }

 private:
  static constexpr std::size_t kPiece = 2 * 64;

  std::uintptr_t at_;                 ///< a number, since it may leave the matrix
  std::size_t rows_, pieces_, left_;  ///< rows left; pieces of a row, and left of this one
  std::size_t skip_;                  ///< bytes from the last piece of a row to the next, modulo 2^64
};

/// How elements of a and b are read and multiplied: each is one fp32 number.
struct Float32Factors {
  /// sum + a·b
  static HWY_INLINE Floats add_product(Floats a, Floats b, Floats sum) { return hn::MulAdd(a, b, sum); }
};

/// sums = bias in each row, or zero; of the last vector the lanes in `tail`.
template <std::size_t kRows, int kVectors>
HWY_INLINE void begin_tile(hn::Mask<FloatTag> tail, const float* bias, Floats (&sums)[kRows][kVectors]) {
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    Floats first = hn::Zero(kFloat);
    if (bias != nullptr) {
      const float* from = bias + static_cast<std::size_t>(v) * kLanes;
      first = v + 1 < kVectors ? hn::LoadU(kFloat, from) : hn::MaskedLoad(tail, kFloat, from);
    }
#pragma GCC unroll 28
    for (std::size_t i = 0; i < kRows; ++i) sums[i][v] = first;
  }
}

/// c = or += sums; of the last vector its first `rest` lanes, those in `tail`.
template <std::size_t kRows, int kVectors>
HWY_INLINE void finish_tile(std::size_t rest, hn::Mask<FloatTag> tail, const Floats (&sums)[kRows][kVectors],
                            Output output, float* c, std::size_t c_row) {
#pragma GCC unroll 28
  for (std::size_t i = 0; i < kRows; ++i, c += c_row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* out = c + static_cast<std::size_t>(v) * kLanes;
      const bool whole = v + 1 < kVectors || rest == kLanes;
      Floats sum = sums[i][v];
      if (output == Output::add) {
        sum = hn::Add(sum, whole ? hn::LoadU(kFloat, out) : hn::MaskedLoad(tail, kFloat, out));
      }
      if (whole) {
        hn::StoreU(sum, kFloat, out);
      } else {
        store_first(sum, rest, out);
      }
    }
  }
}

/// c (kRows, n) = or += a (kRows, k) · b (k, n), n ≤ kVectors·kLanes, all sums in registers; k in ascending
/// order. With bias (n) not nullptr each sum begins with it. `ahead` is fetched by large tiles alone.
template <std::size_t kRows, int kVectors, class Factors = Float32Factors>
HWY_INLINE void product_tile(std::size_t n, std::size_t k, Broadcasts a, Panels b, const float* bias,
                             Output output, float* c, std::size_t c_row, Ahead& ahead) {
  const std::size_t rest = n - static_cast<std::size_t>(kVectors - 1) * kLanes;
  // Made here and not where it is used, GCC 12 has no register left for some of the sums.
  const auto tail = hn::FirstN(kFloat, rest);
  Floats sums[kRows][kVectors];
  begin_tile(tail, bias, sums);
  // Of more than eight rows four go by one pointer: a register for each row would be more than there are.
  constexpr std::size_t kTogether = kRows > 8 ? 4 : kRows, kPointers = (kRows + kTogether - 1) / kTogether;
  const float* from[kPointers];
#pragma GCC unroll 7
  for (std::size_t i = 0; i < kPointers; ++i) from[i] = a.data + i * kTogether * a.row;
  const auto add_term = [&]() HWY_ATTR __attribute__((always_inline)) {
    Floats row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      row[v] = hn::LoadU(kFloat, b.data + static_cast<std::size_t>(v) * kLanes);
#pragma GCC unroll 28
    for (std::size_t i = 0; i < kRows; ++i) {
      const Floats element = splat(from[i / kTogether][i % kTogether * a.row]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[i][v] = Factors::add_product(element, row[v], sums[i][v]);
    }
#pragma GCC unroll 7
    for (std::size_t i = 0; i < kPointers; ++i) from[i] += a.column;
    b.data += b.row;
  };
  std::size_t p = 0;
  if constexpr (kLargeTile<kRows, kVectors>) {
    // Pointers move on once in a while: Intel's processors add integers where they multiply vectors. Large
    // products' results and the operands of the next tiles are out of cache: they come bit by bit, since a
    // core waits when it has asked for many lines.
    Ahead fetched = ahead;
    const float* c_line = c;
    const float* const last_line = c + (kRows - 1) * c_row;
    for (; p + 4 <= k; p += 4) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) hwy::Prefetch(c_line + static_cast<std::size_t>(v) * kLanes);
      c_line += c_line == last_line ? 0 : c_row;
      fetched.fetch();
      add_term(), add_term(), add_term(), add_term();
    }
    ahead = fetched;
  }
  for (; p < k; ++p) add_term();
  finish_tile(rest, tail, sums, output, c, c_row);
}

/// A tile of m rows, 0 < m ≤ kRows.
template <std::size_t kRows, int kVectors, class Factors>
HWY_INLINE void product_rows(std::size_t m, std::size_t n, std::size_t k, Broadcasts a, Panels b,
                             const float* bias, Output output, float* c, std::size_t c_row, Ahead& ahead) {
  if constexpr (kRows > 1) {
    if (m < kRows) {
      product_rows<kRows - 1, kVectors, Factors>(m, n, k, a, b, bias, output, c, c_row, ahead);
      return;
    }
  }
  product_tile<kRows, kVectors, Factors>(n, k, a, b, bias, output, c, c_row, ahead);
}

/// All rows of a column block that is kVectors wide: tiles of kRows rows, whose elements of a begin `step`
/// floats apart. The rest is one tile, which takes as long as one of several rows if it has one or two; to
/// have few kinds of tiles, large ones are halved first.
template <std::size_t kRows, int kVectors, class Factors = Float32Factors>
HWY_INLINE void product_block(std::size_t m, std::size_t n, std::size_t k, Broadcasts a, std::size_t step,
                              Panels b, const float* bias, Output output, float* c, std::size_t c_row,
                              Ahead& ahead) {
  for (; m >= kRows; m -= kRows, a.data += step, c += kRows * c_row) {
    product_tile<kRows, kVectors, Factors>(n, k, a, b, bias, output, c, c_row, ahead);
  }
  if (m == 0) return;
  if constexpr (kRows > 7) {
    constexpr std::size_t kHalf = kRows / 2;
    product_block<kHalf, kVectors, Factors>(m, n, k, a, kHalf * a.row, b, bias, output, c, c_row, ahead);
  } else if constexpr (kRows > 1) {
    product_rows<kRows - 1, kVectors, Factors>(m, n, k, a, b, bias, output, c, c_row, ahead);
  }
}

/// c (m,n) = or += a (m,k) · b (k,n). Each element is one sum over k in ascending order, whatever m and n
/// are. Columns of b from n to the next multiple of kLanes are read and do not matter; nothing but c (m,n) is
/// written. A template, so that it can be one function that its many callers call, instead of inlined into
/// each.
template <class = void>
HWY_NOINLINE void product(std::size_t m, std::size_t n, std::size_t k, Broadcasts a, Panels b, Output output,
                          float* c, std::size_t c_row) {
  constexpr std::size_t kWide = 2 * kLanes;
  Ahead nothing(c);
  std::size_t column = 0;
  for (; column + kLanes < n; column += kWide) {
    const std::size_t width = std::min(kWide, n - column);
    const Panels right{b.data + column, b.row};
    // Of short sums larger tiles would be begun and finished more than they are added to.
    if (kRegisters >= 32 && k >= 32) {
      product_block<8, 2>(m, width, k, a, 8 * a.row, right, nullptr, output, c + column, c_row, nothing);
    } else {
      product_block<4, 2>(m, width, k, a, 4 * a.row, right, nullptr, output, c + column, c_row, nothing);
    }
  }
  if (column < n) {
    product_block<8, 1>(m, n - column, k, a, 8 * a.row, {b.data + column, b.row}, nullptr, output, c + column,
                        c_row, nothing);
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
