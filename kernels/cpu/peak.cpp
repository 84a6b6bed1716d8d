// As many multiply-adds as a core can do: nothing but registers.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/peak.cpp"

#include "kernels/cpu/simd_target.h"
#include "kernels/cpu_bf16.h"
#include "kernels/cpu_peak.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/bf16-inl.h"
#include "kernels/cpu/bf16_tiles-inl.h"

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

#if MINICHILLA_AVX512_BF16
/// As `repeated`, of tiles: twelve products a round, two to each of six sums.
FmaRun tile_multiply_adds(std::int64_t rounds, Floats pairs, Floats others) {
  constexpr std::size_t kTile = kTileSide * kTileSide;
  alignas(64) float tile[kTile];
  const auto spread = [&](Floats row) HWY_ATTR {
    for (std::size_t i = 0; i < kTile; i += kTileSide) hn::Store(row, kFloat, tile + i);
    return tile;
  };
  const Tiles tiles;
  load_tile<6>(spread(pairs), kTileSide);
  load_tile<7>(spread(others), kTileSide);
  spread(splat(1.0f));
  load_tile<0>(tile, kTileSide), load_tile<1>(tile, kTileSide), load_tile<2>(tile, kTileSide);
  load_tile<3>(tile, kTileSide), load_tile<4>(tile, kTileSide), load_tile<5>(tile, kTileSide);
  const auto multiply = []() HWY_ATTR {
    multiply_tiles<0, 6, 7>(), multiply_tiles<1, 6, 7>(), multiply_tiles<2, 6, 7>();
    multiply_tiles<3, 6, 7>(), multiply_tiles<4, 6, 7>(), multiply_tiles<5, 6, 7>();
  };
  for (std::int64_t round = 0; round < rounds; ++round) multiply(), multiply();
  store_tile<5>(tile, kTileSide);
  return {2.0 * 2 * kTileSide * kTile * 12 * static_cast<double>(rounds), tile[kTile - 1]};
}
#endif

FmaRun bf16_multiply_adds([[maybe_unused]] Bf16Products products, [[maybe_unused]] std::int64_t rounds) {
#if MINICHILLA_AVX512_BF16
  // Their sums stay what they are.
  const Floats pairs = bf16_pairs(splat(0.5f), splat(-0.5f)), ones = bf16_pairs(splat(1.0f), splat(1.0f));
  if (products == Bf16Products::tiles) return tile_multiply_adds(rounds, pairs, ones);
  if (products == Bf16Products::dot_products) {
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

FmaRun run_bf16_multiply_adds(Bf16Products products, std::int64_t rounds) {
  return HWY_DYNAMIC_DISPATCH(bf16_multiply_adds)(products, rounds);
}

}  // namespace minichilla
#endif
