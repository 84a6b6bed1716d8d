// What the forward and the backward pass of attention share: one head's operands repacked for vector access,
// and scores of a block of queries. Compiled once per instruction-set path.
#if defined(MINICHILLA_KERNELS_CPU_ATTENTION_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MINICHILLA_KERNELS_CPU_ATTENTION_TILES_INL_H_
#undef MINICHILLA_KERNELS_CPU_ATTENTION_TILES_INL_H_
#else
#define MINICHILLA_KERNELS_CPU_ATTENTION_TILES_INL_H_
#endif

#include <cmath>
#include <cstddef>

#include "kernels/attention_pattern.h"
#include "kernels/cpu/attention_head.h"
#include "kernels/cpu/product-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// The keys that a block of queries may see, begun at a multiple of kLanes and `width` (a multiple of kLanes)
/// long: where the block's scores are kept. `keys` itself lies inside.
struct ScoreColumns {
  KeyRange keys;
  std::size_t first, width;
};

HWY_INLINE ScoreColumns score_columns(const AttentionPattern& pattern, int query_begin, int query_end) {
  const KeyRange keys = pattern.key_range(query_begin, query_end);
  const std::size_t first = static_cast<std::size_t>(keys.begin) / kLanes * kLanes;
  return {keys, first, round_up(static_cast<std::size_t>(keys.end) - first, kLanes)};
}

/// row[0, begin) and row[end, width) = value; width is a multiple of kLanes.
HWY_INLINE void fill_outside(float* row, std::size_t begin, std::size_t end, std::size_t width, float value) {
  const Floats v = splat(value);
  std::size_t i = 0;
  for (; i + kLanes <= begin; i += kLanes) hn::StoreU(v, kFloat, row + i);
  if (i < begin) {
    hn::StoreU(hn::IfThenElse(hn::FirstN(kFloat, begin - i), v, hn::LoadU(kFloat, row + i)), kFloat, row + i);
  }
  i = end / kLanes * kLanes;
  if (i < end) {
    hn::StoreU(hn::IfThenElse(hn::FirstN(kFloat, end - i), hn::LoadU(kFloat, row + i), v), kFloat, row + i);
    i += kLanes;
  }
  for (; i < width; i += kLanes) hn::StoreU(v, kFloat, row + i);
}

/// Rows of scores whose exponentials are computed together.
constexpr std::size_t kRowsAtOnce = 4;

/// scores of the queries [begin, end), rows key_row apart, whose columns are `columns`: −∞ where a query sees
/// no key.
HWY_INLINE void mask_scores(const AttentionPattern& pattern, int begin, int end, const ScoreColumns& columns,
                            float* scores, std::size_t key_row) {
  for (int query = begin; query < end; ++query, scores += key_row) {
    const KeyRange seen = pattern.key_range(query, query + 1);
    fill_outside(scores, static_cast<std::size_t>(seen.begin) - columns.first,
                 static_cast<std::size_t>(seen.end) - columns.first, columns.width, -HUGE_VALF);
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
