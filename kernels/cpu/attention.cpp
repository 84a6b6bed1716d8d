// Attention, forward: softmax(q·kᵀ/sqrt(D))·v. Blocks of queries with the keys that they may see; a block's
// scores are complete before its softmax, so no running maximum is needed, and its row of keys stays in
// cache.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/attention_tiles-inl.h"
// After foreach_target.h, too.
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// Of rows of scores, `stride` floats apart, each [0, width) with width a multiple of kLanes and −∞ where
/// nothing is seen: the exponentials of the difference to the row's maximum in place, maxima and sums of
/// exponentials in top and total (kRows).
template <std::size_t kRows>
HWY_INLINE void exponentials(float* rows, std::size_t stride, std::size_t width, float* top, float* total) {
  Floats most[kRows], sums[kRows];
  for (std::size_t r = 0; r < kRows; ++r) most[r] = splat(-HUGE_VALF), sums[r] = hn::Zero(kFloat);
  for (std::size_t i = 0; i < width; i += kLanes) {
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      most[r] = hn::Max(most[r], hn::LoadU(kFloat, rows + r * stride + i));
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    top[r] = max_lanes(most[r]);
    most[r] = splat(top[r]);
  }
  for (std::size_t i = 0; i < width; i += kLanes) {
    Floats e[kRows];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      e[r] = hn::Sub(hn::LoadU(kFloat, rows + r * stride + i), most[r]);
    }
    exp_bounded(e);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      hn::StoreU(e[r], kFloat, rows + r * stride + i);
      sums[r] = hn::Add(sums[r], e[r]);
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) total[r] = sum_lanes(sums[r]);
}

/// One head of one sequence: q, k, v are (T, D) with rows `row` apart, out (T, D) with rows out_row apart.
void attend_head(const AttentionPattern& pattern, int T, int D, const float* q, const float* k,
                 const float* v, std::size_t row, float* out, std::size_t out_row, float* log_sum_exp,
                 float* scratch) {
  const std::size_t tokens = static_cast<std::size_t>(T), width = static_cast<std::size_t>(D);
  const AttentionScratch layout(tokens, width);
  float* const keys_transposed = scratch;
  float* const values_copy = keys_transposed + layout.transposed;
  float* const scores = values_copy + layout.packed;
  transpose(tokens, width, k, row, 1 / std::sqrt(static_cast<float>(D)), keys_transposed, layout.key_row);
  const Panels values = rows_of_vectors(used_in_place(tokens, width), tokens, width, v, row, values_copy);

  for (int begin = 0; begin < T; begin += static_cast<int>(kQueryBlock)) {
    const int end = std::min(T, begin + static_cast<int>(kQueryBlock));
    const std::size_t rows = static_cast<std::size_t>(end - begin);
    const ScoreColumns columns = score_columns(pattern, begin, end);
    product(rows, columns.width, width, {q + static_cast<std::size_t>(begin) * row, row, 1},
            {keys_transposed + columns.first, layout.key_row}, Output::replace, scores, layout.key_row);
    mask_scores(pattern, begin, end, columns, scores, layout.key_row);
    float top[kQueryBlock], total[kQueryBlock], share[kQueryBlock];
    std::size_t done = 0;
    for (; done + kRowsAtOnce <= rows; done += kRowsAtOnce) {
      exponentials<kRowsAtOnce>(scores + done * layout.key_row, layout.key_row, columns.width, top + done,
                                total + done);
    }
    for (; done < rows; ++done) {
      exponentials<1>(scores + done * layout.key_row, layout.key_row, columns.width, top + done,
                      total + done);
    }
    const std::size_t key = static_cast<std::size_t>(columns.keys.begin);
    float* block_out = out + static_cast<std::size_t>(begin) * out_row;
    product(rows, width, static_cast<std::size_t>(columns.keys.end) - key,
            {scores + (key - columns.first), layout.key_row, 1}, values.from_row(key), Output::replace,
            block_out, out_row);
    for_each_vector(rows, [&](auto access, std::size_t i) HWY_ATTR {
      const Floats sum = access.load(total + i);
      access.store(hn::Div(splat(1), sum), share + i);
      access.store(hn::Add(access.load(top + i), hn::Log(kFloat, sum)), log_sum_exp + begin + i);
    });
    for (std::size_t i = 0; i < rows; ++i, block_out += out_row) {
      for_each_vector(width, [&](auto access, std::size_t d) HWY_ATTR {
        access.store(hn::Mul(splat(share[i]), access.load(block_out + d)), block_out + d);
      });
    }
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {

HWY_EXPORT(attend_head);

std::size_t CpuOperations::attention_scratch(const AttentionShape& shape) const {
  const AttentionScratch layout(static_cast<std::size_t>(shape.T), static_cast<std::size_t>(shape.D));
  return std::max(layout.forward(), layout.backward()) * sizeof(float);
}

void CpuOperations::attention(Lane&, const AttentionShape& shape, const float* qkv, float* out,
                              float* log_sum_exp, float* scratch) const {
  const std::size_t T = static_cast<std::size_t>(shape.T), D = static_cast<std::size_t>(shape.D);
  const std::size_t heads = static_cast<std::size_t>(shape.H), C = heads * D;
  for (std::size_t b = 0; b < static_cast<std::size_t>(shape.B); ++b) {
    for (std::size_t h = 0; h < heads; ++h) {
      const float* q = qkv + b * T * 3 * C + h * D;
      HWY_DYNAMIC_DISPATCH(attend_head)
      (shape.pattern, shape.T, shape.D, q, q + C, q + 2 * C, 3 * C, out + b * T * C + h * D, C,
       log_sum_exp + (b * heads + h) * T, scratch);
    }
  }
}

}  // namespace minichilla
#endif
