// As many multiply-adds as a core can do: nothing but registers.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/peak.cpp"

#include "kernels/cpu/simd_target.h"
#include "kernels/cpu_peak.h"
#include "kernels/device.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// `rounds` rounds of sum = step(sum), each `kFlopsEach` operations in a lane.
template <int kFlopsEach, class Step>
HWY_INLINE FmaRun repeated(std::int64_t rounds, const Step& step) {
  // Two units with a latency of 4 or 5 cycles need 10 sums under way; AVX2 has 16 registers.
  constexpr int kSums = 12, kEach = 16;
  Floats sums[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sums[i] = splat(static_cast<float>(i));
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int repetition = 0; repetition < kEach; ++repetition) {
#pragma GCC unroll 12
      for (int i = 0; i < kSums; ++i) sums[i] = step(sums[i]);
    }
  }
  Floats total = sums[0];
#pragma GCC unroll 12
  for (int i = 1; i < kSums; ++i) total = hn::Add(total, sums[i]);
  return {1.0 * kFlopsEach * kSums * kEach * static_cast<double>(kLanes) * static_cast<double>(rounds),
          sum_lanes(total)};
}

FmaRun multiply_adds(std::int64_t rounds) {
  // Their limit is 1: neither infinite nor so small that a processor slows down.
  const Floats factor = splat(0.5f), term = splat(0.5f);
  return repeated<2>(rounds, [&](Floats sum) HWY_ATTR { return hn::MulAdd(sum, factor, term); });
}

FmaRun bf16_multiply_adds([[maybe_unused]] std::int64_t rounds) {
#if MINICHILLA_AVX512_BF16
  // Their sums stay what they are.
  const Floats pairs = bf16_pairs(splat(0.5f), splat(-0.5f)), ones = bf16_pairs(splat(1.0f), splat(1.0f));
  if (cpu_has_bf16_instruction()) {
    return repeated<4>(
        rounds, [&](Floats sum) HWY_ATTR { return Bf16InstructionFactors::add_product(pairs, ones, sum); });
  }
#endif
  return {0, 0};
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

HWY_EXPORT(multiply_adds);
HWY_EXPORT(bf16_multiply_adds);

}  // namespace

FmaRun run_multiply_adds(std::int64_t rounds) {
  return HWY_DYNAMIC_DISPATCH(multiply_adds)(rounds);
}

FmaRun run_bf16_multiply_adds(std::int64_t rounds) {
  return HWY_DYNAMIC_DISPATCH(bf16_multiply_adds)(rounds);
}

}  // namespace minichilla
#endif
