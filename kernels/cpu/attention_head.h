// One head of attention: its operands, and where scratch memory keeps what. Nothing here depends on the
// instruction-set path.
#pragma once

#include <cstddef>

#include "kernels/attention_pattern.h"

namespace minichilla {

/// One head of one sequence. All matrices are (T, D): q, k, v and their gradients with rows `row` apart, out
/// and d_out with rows out_row apart; log_sum_exp is (T).
struct HeadGradient {
  AttentionPattern pattern;
  int T, D;
  const float *q, *k, *v;
  std::size_t row;
  const float *out, *d_out;
  std::size_t out_row;
  const float* log_sum_exp;
  float *d_q, *d_k, *d_v;
};

/// Queries whose probabilities are held together for the gradients of keys and values to sum over.
constexpr std::size_t kQueryTile = 32;

/// Floats of the widest vector: rows are padded for it, and so many queries share a range of keys at most.
constexpr std::size_t kWidestVector = 16;

/// Offsets (floats) for T tokens of one head of width D.
struct AttentionScratch {
  AttentionScratch(std::size_t T, std::size_t D)
      : key_row((T + kWidestVector - 1) / kWidestVector * kWidestVector + kWidestVector),
        head_row((D + kWidestVector - 1) / kWidestVector * kWidestVector),
        transposed(D * key_row),
        packed(T * head_row),
        tile(kQueryTile * key_row) {}

  std::size_t key_row;   ///< row length of what has a column per key; one vector more than needed, since rows
                         ///< a power of two apart would compete for the same cache sets
  std::size_t head_row;  ///< row length, at most, of what has a row per token
  std::size_t transposed;  ///< (D, key_row)
  std::size_t packed;      ///< (T, head_row)
  std::size_t tile;        ///< (kQueryTile, key_row)

  /// keys transposed; values, where they are repacked; scores of a block
  std::size_t forward() const { return transposed + packed + kWidestVector * key_row; }
  /// keys and values transposed; probabilities and d_scores of a tile; where they are repacked keys, queries,
  /// d_out, d_keys and d_values
  std::size_t backward() const { return 2 * transposed + 5 * packed + 2 * tile; }
};

}  // namespace minichilla
