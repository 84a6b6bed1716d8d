// What the vectorised kernels share: vectors of floats, loops over rows with a tail, sums, exp. Compiled once
// per instruction-set path (see foreach_target.h of Highway), hence the toggle in place of an include guard.
#if defined(MINICHILLA_KERNELS_CPU_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MINICHILLA_KERNELS_CPU_VECTORS_INL_H_
#undef MINICHILLA_KERNELS_CPU_VECTORS_INL_H_
#else
#define MINICHILLA_KERNELS_CPU_VECTORS_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using Floats = hn::Vec<FloatTag>;
constexpr FloatTag kFloat{};
constexpr std::size_t kLanes = hn::MaxLanes(kFloat);

HWY_INLINE std::size_t round_up(std::size_t n, std::size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

HWY_INLINE Floats splat(float x) {
  return hn::Set(kFloat, x);
}
HWY_INLINE float sum_lanes(Floats v) {
  return hn::GetLane(hn::SumOfLanes(kFloat, v));
}
HWY_INLINE float max_lanes(Floats v) {
  return hn::GetLane(hn::MaxOfLanes(kFloat, v));
}

/// Access to kLanes floats.
struct Whole {
  HWY_INLINE Floats load(const float* p) const { return hn::LoadU(kFloat, p); }
  /// As load, with `other` in the lanes that do not exist.
  HWY_INLINE Floats load_or(Floats, const float* p) const { return hn::LoadU(kFloat, p); }
  HWY_INLINE void store(Floats v, float* p) const { hn::StoreU(v, kFloat, p); }
  /// v, with zeros in the lanes that do not exist.
  HWY_INLINE Floats only(Floats v) const { return v; }
};

/// p[0, n) = the first n < kLanes lanes of v; nothing else is written.
HWY_INLINE void store_first(Floats v, std::size_t n, float* p) {
#if HWY_TARGET == HWY_AVX2
  // A masked store of AVX2 takes dozens of micro-operations on AMD's processors.
  const hn::Half<FloatTag> half;
  auto rest = hn::LowerHalf(half, v);
  if ((n & 4) != 0) {
    hn::StoreU(rest, half, p);
    rest = hn::UpperHalf(half, v);
    p += 4;
  }
  const hn::Half<decltype(half)> quarter;
  auto last = hn::LowerHalf(quarter, rest);
  if ((n & 2) != 0) {
    hn::StoreU(last, quarter, p);
    last = hn::UpperHalf(quarter, rest);
    p += 2;
  }
  if ((n & 1) != 0) *p = hn::GetLane(last);
#else
  hn::BlendedStore(v, hn::FirstN(kFloat, n), kFloat, p);
#endif
}

/// Access to the first `count` < kLanes floats: the others are neither read (zero) nor written.
struct Partial {
  HWY_INLINE explicit Partial(std::size_t n) : count(n), mask(hn::FirstN(kFloat, n)) {}
  HWY_INLINE Floats load(const float* p) const { return hn::MaskedLoad(mask, kFloat, p); }
  HWY_INLINE Floats load_or(Floats other, const float* p) const {
    return hn::IfThenElse(mask, load(p), other);
  }
  HWY_INLINE void store(Floats v, float* p) const { store_first(v, count, p); }
  HWY_INLINE Floats only(Floats v) const { return hn::IfThenElseZero(mask, v); }

  std::size_t count;
  hn::Mask<FloatTag> mask;
};

/// Calls body(access, i) for i = 0, kLanes, 2·kLanes … below n; only the last access may be Partial.
template <class Body>
HWY_INLINE void for_each_vector(std::size_t n, const Body& body) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(Whole(), i);
  if (i < n) body(Partial(n - i), i);
}

/// Σ_i term(access, i) over the vectors of n elements; `term` gives zero for lanes that do not exist. Four
/// running sums, added in a fixed order.
template <class Term>
HWY_INLINE float sum_over(std::size_t n, const Term& term) {
  Floats s0 = hn::Zero(kFloat), s1 = s0, s2 = s0, s3 = s0;
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    s0 = hn::Add(s0, term(Whole(), i));
    s1 = hn::Add(s1, term(Whole(), i + kLanes));
    s2 = hn::Add(s2, term(Whole(), i + 2 * kLanes));
    s3 = hn::Add(s3, term(Whole(), i + 3 * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) s0 = hn::Add(s0, term(Whole(), i));
  if (i < n) s1 = hn::Add(s1, term(Partial(n - i), i));
  return sum_lanes(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

/// Each x = exp(x) for x ≤ 88, within 2 units in the last place; 0 below −87, NaN for NaN. With x = n·ln 2 +
/// r, |r| ≤ ln 2 / 2: exp(x) = 2ⁿ·(1 + r + r²·q(r)), where q interpolates (eʳ − 1 − r) / r² at Chebyshev
/// nodes (relative error 9e-9). Step by step for several vectors: one alone waits for each result, and what
/// comes after it is too far away for the processor to begin with.
template <std::size_t kCount>
HWY_INLINE void exp_bounded(Floats (&x)[kCount]) {
  const hn::RebindToSigned<FloatTag> integer;
  // Adding 1.5·2²³ rounds to an integer, which then sits in the lowest bits of the sum.
  const Floats rounder = splat(12582912.0f);
  Floats rounded[kCount], r[kCount], square[kCount], low[kCount], q[kCount];
  const auto each = [](const auto& step) HWY_ATTR {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kCount; ++i) step(i);
  };
  each([&](std::size_t i) HWY_ATTR { rounded[i] = hn::MulAdd(x[i], splat(1.44269504f), rounder); });
  each([&](std::size_t i) HWY_ATTR { q[i] = hn::Sub(rounded[i], rounder); });
  // ln 2 in two parts, the first with so few bits that its product with n is exact.
  each([&](std::size_t i) HWY_ATTR { r[i] = hn::NegMulAdd(q[i], splat(0.693359375f), x[i]); });
  each([&](std::size_t i) HWY_ATTR { r[i] = hn::NegMulAdd(q[i], splat(-2.12194440e-4f), r[i]); });
  each([&](std::size_t i) HWY_ATTR { square[i] = hn::Mul(r[i], r[i]); });
  each([&](std::size_t i) HWY_ATTR { low[i] = hn::MulAdd(splat(1.666657697e-1f), r[i], splat(0.5f)); });
  each([&](std::size_t i)
           HWY_ATTR { q[i] = hn::MulAdd(splat(8.363182805e-3f), r[i], splat(4.166655459e-2f)); });
  each([&](std::size_t i) HWY_ATTR { q[i] = hn::MulAdd(splat(1.392618828e-3f), square[i], q[i]); });
  each([&](std::size_t i) HWY_ATTR { q[i] = hn::MulAdd(q[i], square[i], low[i]); });
  each([&](std::size_t i) HWY_ATTR { q[i] = hn::Add(hn::MulAdd(square[i], q[i], r[i]), splat(1.0f)); });
  each([&](std::size_t i) HWY_ATTR {
    const auto exponent =
        hn::Add(hn::ShiftLeft<23>(hn::BitCast(integer, rounded[i])), hn::Set(integer, 127 << 23));
    x[i] = hn::IfThenZeroElse(hn::Lt(x[i], splat(-87.0f)), hn::Mul(q[i], hn::BitCast(kFloat, exponent)));
  });
}

HWY_INLINE Floats exp_bounded(Floats x) {
  Floats one[1] = {x};
  exp_bounded(one);
  return one[0];
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
