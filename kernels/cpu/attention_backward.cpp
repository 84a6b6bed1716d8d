// Attention, backward, as in FlashAttention-2 (Dao 2023): probabilities are computed again from the
// log-sum-exp that the forward pass kept, tile by tile, and never stored for the whole sequence. With P the
// probabilities, O = P·V:
//   dV = Pᵀ·dO,  dP = dO·Vᵀ,  dS = P ∘ (dP − δ)/sqrt(D) with δ = row sums of dO ∘ O,  dQ = dS·K,  dK = dSᵀ·Q.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/attention_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// The operands of HeadGradient as the products read them, and a tile of queries' probabilities and score
/// gradients.
struct PackedHead {
  PackedHead(const HeadGradient& head, float* scratch)
      : layout(static_cast<std::size_t>(head.T), static_cast<std::size_t>(head.D)),
        tokens(static_cast<std::size_t>(head.T)),
        width(static_cast<std::size_t>(head.D)),
        padded_width(round_up(width, kLanes)),
        in_place(used_in_place(std::min(tokens, static_cast<std::size_t>(head.pattern.window())), width)),
        scale(1 / std::sqrt(static_cast<float>(head.D))),
        keys_transposed(scratch),
        values_transposed(keys_transposed + layout.transposed),
        probabilities(values_transposed + layout.transposed),
        d_scores(probabilities + layout.tile) {
    float* const copies = d_scores + layout.tile;
    // The keys carry 1/sqrt(D) for the scores, exactly as in the forward pass.
    transpose(tokens, width, head.k, head.row, scale, keys_transposed, layout.key_row);
    transpose(tokens, width, head.v, head.row, 1, values_transposed, layout.key_row);
    // Keys are read again and again, a window of them for each block of queries.
    keys = rows_of_vectors(used_in_place(tokens, width), tokens, width, head.k, head.row, copies);
    queries = rows_of_vectors(in_place, tokens, width, head.q, head.row, copies + layout.packed);
    d_out = rows_of_vectors(in_place, tokens, width, head.d_out, head.out_row, copies + 2 * layout.packed);
    gradient_row = in_place ? head.row : padded_width;
    d_keys = in_place ? head.d_k : copies + 3 * layout.packed;
    d_values = in_place ? head.d_v : copies + 4 * layout.packed;
  }

  AttentionScratch layout;
  std::size_t tokens, width;
  std::size_t padded_width;  ///< whole vectors
  bool in_place;             ///< queries, d_out, d_keys and d_values
  float scale;
  float *keys_transposed, *values_transposed;  // (D, key_row)
  float *probabilities, *d_scores;             // (kQueryTile, key_row)
  Panels keys, queries, d_out;                 // (T, D)
  std::size_t gradient_row;
  float *d_keys, *d_values;  // (T, gradient_row)
};

/// Rows, `stride` floats apart, of [0, width) with width a multiple of kLanes: from scores (−∞ where nothing
/// is seen) to probabilities and from d_probabilities to d_scores; log_sum_exp, delta (kRows).
template <std::size_t kRows>
HWY_INLINE void score_gradients(float* scores, float* d_scores, std::size_t stride, std::size_t width,
                                const float* log_sum_exp, const float* delta, float scale) {
  const Floats factor = splat(scale);
  for (std::size_t i = 0; i < width; i += kLanes) {
    Floats p[kRows];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      p[r] = hn::Sub(hn::LoadU(kFloat, scores + r * stride + i), splat(log_sum_exp[r]));
    }
    exp_bounded(p);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      float* const d = d_scores + r * stride + i;
      hn::StoreU(p[r], kFloat, scores + r * stride + i);
      hn::StoreU(hn::Mul(hn::Mul(p[r], factor), hn::Sub(hn::LoadU(kFloat, d), splat(delta[r]))), kFloat, d);
    }
  }
}

/// Probabilities, score gradients and query gradients of the queries [begin, end), one block of a tile whose
/// rows start at tile_begin and whose columns are tile_columns.
HWY_INLINE void backward_block(const HeadGradient& head, const PackedHead& packed, int begin, int end,
                               int tile_begin, const ScoreColumns& tile_columns) {
  const std::size_t key_row = packed.layout.key_row, rows = static_cast<std::size_t>(end - begin);
  const ScoreColumns columns = score_columns(head.pattern, begin, end);
  const std::size_t shift = columns.first - tile_columns.first;
  float* probabilities = packed.probabilities + static_cast<std::size_t>(begin - tile_begin) * key_row;
  float* d_scores = packed.d_scores + static_cast<std::size_t>(begin - tile_begin) * key_row;
  const std::size_t first_query = static_cast<std::size_t>(begin);
  product(rows, columns.width, packed.width, {head.q + first_query * head.row, head.row, 1},
          {packed.keys_transposed + columns.first, key_row}, Output::replace, probabilities + shift, key_row);
  product(rows, columns.width, packed.width, {head.d_out + first_query * head.out_row, head.out_row, 1},
          {packed.values_transposed + columns.first, key_row}, Output::replace, d_scores + shift, key_row);
  mask_scores(head.pattern, begin, end, columns, probabilities + shift, key_row);
  float delta[kQueryBlock];
  for (std::size_t i = 0; i < rows; ++i) {
    const float* out = head.out + (first_query + i) * head.out_row;
    const float* d_out = head.d_out + (first_query + i) * head.out_row;
    delta[i] = sum_over(packed.width, [&](auto access, std::size_t d) HWY_ATTR {
      return hn::Mul(access.load(out + d), access.load(d_out + d));
    });
  }
  const float* const log_sum_exp = head.log_sum_exp + first_query;
  std::size_t done = 0;
  for (; done + kRowsAtOnce <= rows; done += kRowsAtOnce) {
    score_gradients<kRowsAtOnce>(probabilities + done * key_row + shift, d_scores + done * key_row + shift,
                                 key_row, columns.width, log_sum_exp + done, delta + done, packed.scale);
  }
  for (; done < rows; ++done) {
    score_gradients<1>(probabilities + done * key_row + shift, d_scores + done * key_row + shift, key_row,
                       columns.width, log_sum_exp + done, delta + done, packed.scale);
  }
  const std::size_t key = static_cast<std::size_t>(columns.keys.begin);
  product(rows, packed.width, static_cast<std::size_t>(columns.keys.end) - key,
          {d_scores + (key - tile_columns.first), key_row, 1}, packed.keys.from_row(key), Output::replace,
          head.d_q + first_query * head.row, head.row);
}

/// Adds a finished tile of the queries [begin, end) to the gradients of the keys that they see: for each
/// block of keys those blocks of queries whose columns hold it. The first queries to see keys are those of
/// the same tokens, whose tile comes first: their sums are what the others are added to.
HWY_INLINE void add_key_gradients(const HeadGradient& head, const PackedHead& packed, int begin, int end,
                                  const ScoreColumns& columns) {
  const int step = static_cast<int>(kQueryBlock);
  for (int key = static_cast<int>(columns.first); key < columns.keys.end; key += step) {
    const int key_end = std::min(key + step, columns.keys.end);
    const KeyRange queries = head.pattern.query_range(key, key_end, head.T);
    const int from = std::max(begin, queries.begin / step * step),
              to = std::min(end, (queries.end + step - 1) / step * step);
    if (from >= to) continue;
    const std::size_t keys = static_cast<std::size_t>(key_end - key),
                      count = static_cast<std::size_t>(to - from);
    const std::size_t corner = static_cast<std::size_t>(from - begin) * packed.layout.key_row +
                               (static_cast<std::size_t>(key) - columns.first);
    const Output output = key >= begin ? Output::replace : Output::add;
    const std::size_t first_query = static_cast<std::size_t>(from);
    const std::size_t first_key = static_cast<std::size_t>(key) * packed.gradient_row;
    product(keys, packed.padded_width, count, {packed.probabilities + corner, 1, packed.layout.key_row},
            packed.d_out.from_row(first_query), output, packed.d_values + first_key, packed.gradient_row);
    product(keys, packed.padded_width, count, {packed.d_scores + corner, 1, packed.layout.key_row},
            packed.queries.from_row(first_query), output, packed.d_keys + first_key, packed.gradient_row);
  }
}

void attend_head_backward(const HeadGradient& head, float* scratch) {
  const PackedHead packed(head, scratch);
  for (int begin = 0; begin < head.T; begin += static_cast<int>(kQueryTile)) {
    const int end = std::min(head.T, begin + static_cast<int>(kQueryTile));
    const ScoreColumns columns = score_columns(head.pattern, begin, end);
    for (int block = begin; block < end; block += static_cast<int>(kQueryBlock)) {
      backward_block(head, packed, block, std::min(end, block + static_cast<int>(kQueryBlock)), begin,
                     columns);
    }
    add_key_gradients(head, packed, begin, end, columns);
  }
  if (packed.in_place) return;
  for (std::size_t t = 0; t < packed.tokens; ++t) {
    for_each_vector(packed.width, [&](auto access, std::size_t d) HWY_ATTR {
      access.store(hn::LoadU(kFloat, packed.d_keys + t * packed.gradient_row + d),
                   head.d_k + t * head.row + d);
      access.store(hn::LoadU(kFloat, packed.d_values + t * packed.gradient_row + d),
                   head.d_v + t * head.row + d);
    });
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

HWY_EXPORT(attend_head_backward);

}  // namespace

void CpuOperations::attention_backward(Lane&, const AttentionShape& shape, const float* qkv, const float* out,
                                       const float* log_sum_exp, const float* d_out, float* d_qkv,
                                       float* scratch) const {
  const std::size_t T = static_cast<std::size_t>(shape.T), D = static_cast<std::size_t>(shape.D);
  const std::size_t heads = static_cast<std::size_t>(shape.H), C = heads * D;
  for (std::size_t b = 0; b < static_cast<std::size_t>(shape.B); ++b) {
    for (std::size_t h = 0; h < heads; ++h) {
      const std::size_t in = b * T * 3 * C + h * D, from = b * T * C + h * D;
      HWY_DYNAMIC_DISPATCH(attend_head_backward)
      ({shape.pattern, shape.T, shape.D, qkv + in, qkv + in + C, qkv + in + 2 * C, 3 * C, out + from,
        d_out + from, C, log_sum_exp + (b * heads + h) * T, d_qkv + in, d_qkv + in + C, d_qkv + in + 2 * C},
       scratch);
    }
  }
}

}  // namespace minichilla
#endif
