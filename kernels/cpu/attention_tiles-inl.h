// What the forward and the backward pass of attention share: one head's operands repacked for vector access,
// and scores of a block of queries. Compiled once per instruction-set path.
#if defined(MINICHILLA_KERNELS_CPU_ATTENTION_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MINICHILLA_KERNELS_CPU_ATTENTION_TILES_INL_H_
#undef MINICHILLA_KERNELS_CPU_ATTENTION_TILES_INL_H_
#else
#define MINICHILLA_KERNELS_CPU_ATTENTION_TILES_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/attention_pattern.h"
#include "kernels/cpu/attention_head.h"
#include "kernels/cpu/product-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// Queries that are worked on together, since they share a range of keys: in whole vectors of keys a vector's
/// length of queries see no more of them than fewer would.
constexpr std::size_t kQueryBlock = std::max<std::size_t>(8, kLanes);
static_assert(kQueryBlock <= kWidestVector && kQueryTile % kQueryBlock == 0);

/// The keys that a block of queries may see, begun at a multiple of kQueryBlock, and `width` (a multiple of
/// kLanes) long: where the block's scores are kept. `keys` itself lies inside.
struct ScoreColumns {
  KeyRange keys;
  std::size_t first, width;
};

HWY_INLINE ScoreColumns score_columns(const AttentionPattern& pattern, int query_begin, int query_end) {
  const KeyRange keys = pattern.key_range(query_begin, query_end);
  const std::size_t first = static_cast<std::size_t>(keys.begin) / kQueryBlock * kQueryBlock;
  return {keys, first, round_up(static_cast<std::size_t>(keys.end) - first, kLanes)};
}

/// Rows of so many tokens are used where they are. More of them, which lie far apart and so compete for a few
/// sets of the cache, are brought together first. Processors with longer vectors have larger caches.
constexpr std::size_t kTokensInPlace = std::max<std::size_t>(64, 8 * kLanes);

/// Whether vectors of a head's rows, of so many tokens at about the same time, can be used where the rows
/// are. Else they are repacked.
HWY_INLINE bool used_in_place(std::size_t tokens, std::size_t width) {
  return tokens <= kTokensInPlace && width % kLanes == 0;
}

/// from (tokens, width), rows from_row apart, for reading vectors: in place or repacked in `copy`.
HWY_INLINE Panels rows_of_vectors(bool in_place, std::size_t tokens, std::size_t width, const float* from,
                                  std::size_t from_row, float* copy) {
  if (in_place) return {from, from_row};
  const std::size_t copy_row = round_up(width, kLanes);
  copy_rows(tokens, width, from, from_row, copy, copy_row);
  return {copy, copy_row};
}

/// Rows of scores whose exponentials are computed together.
constexpr std::size_t kRowsAtOnce = 4;

/// row[i] = −∞ for i in [from, to) outside [seen_begin, seen_end); from and to are multiples of kLanes.
HWY_INLINE void mask_row(float* row, std::size_t from, std::size_t to, std::size_t seen_begin,
                         std::size_t seen_end) {
  const hn::RebindToSigned<FloatTag> integer;
  const auto lane = hn::Iota(integer, 0), begin = hn::Set(integer, static_cast<std::int32_t>(seen_begin)),
             end = hn::Set(integer, static_cast<std::int32_t>(seen_end));
  for (std::size_t i = from; i < to; i += kLanes) {
    // Iota of a variable would go through memory.
    const auto key = hn::Add(lane, hn::Set(integer, static_cast<std::int32_t>(i)));
    const auto seen = hn::RebindMask(kFloat, hn::AndNot(hn::Lt(key, begin), hn::Lt(key, end)));
    hn::StoreU(hn::IfThenElse(seen, hn::LoadU(kFloat, row + i), splat(-HUGE_VALF)), kFloat, row + i);
  }
}

/// scores of the queries [begin, end), rows key_row apart, whose columns are `columns`: −∞ where a query sees
/// no key. In each row the same vectors are worked on, so that the processor can foresee the loops' ends.
HWY_INLINE void mask_scores(const AttentionPattern& pattern, int begin, int end, const ScoreColumns& columns,
                            float* scores, std::size_t key_row) {
  const auto column = [&](int key) { return static_cast<std::size_t>(key) - columns.first; };
  // Between these two all queries see all keys.
  const std::size_t left = round_up(column(pattern.key_range(end - 1, end).begin), kLanes);
  const std::size_t right = std::max(left, column(pattern.key_range(begin, begin + 1).end) / kLanes * kLanes);
  for (int query = begin; query < end; ++query, scores += key_row) {
    const KeyRange seen = pattern.key_range(query, query + 1);
    mask_row(scores, 0, left, column(seen.begin), column(seen.end));
    mask_row(scores, right, columns.width, column(seen.begin), column(seen.end));
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
